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
    checked_answer,
    opaque_ids,
)

__all__ = [
    "AnySelector",
    "BoundSelector",
    "Dynamics",
    "FeatureSource",
    "Knowledge",
    "OnlineSelector",
    "PromptSet",
    "Selection",
    "Selector",
    "TrainingData",
    "checked_answer",
    "opaque_ids",
]
