"""The contract of a selector: what it may see and what it answers. Selectors are elsewhere."""

from __future__ import annotations

from nlbench.selector.contract import (
    AnySelector,
    BoundSelector,
    Dynamics,
    FeatureSource,
    Knowledge,
    OnlineSelector,
    PromptSet,
    Selection,
    Selector,
    TrainingData,
    ViewKind,
    checked_answer,
    opaque_ids,
)
from nlbench.selector.prompt_model import PromptModel, PromptTokens

__all__ = [
    "AnySelector",
    "BoundSelector",
    "Dynamics",
    "FeatureSource",
    "Knowledge",
    "OnlineSelector",
    "PromptModel",
    "PromptSet",
    "PromptTokens",
    "Selection",
    "Selector",
    "TrainingData",
    "ViewKind",
    "checked_answer",
    "opaque_ids",
]
