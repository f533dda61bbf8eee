"""The contract of a selector: what it may see and what it answers. Selectors are elsewhere."""

from __future__ import annotations

from nlbench.selector.contract import (
    SELECTOR_KINDS,
    AnySelector,
    BatchSelector,
    BoundSelector,
    OnlineSelector,
    ProbabilitySelector,
    Selector,
)
from nlbench.selector.dynamics import Batch, Dynamics, Observation
from nlbench.selector.prompt_model import PromptModel, PromptTokens
from nlbench.selector.selection import Selection, checked_answer, without_gradients
from nlbench.selector.training_data import (
    FeatureSource,
    Knowledge,
    NoiseRate,
    PromptSet,
    TrainingData,
    ViewKind,
    knowledge_of_rate,
    opaque_ids,
)

__all__ = [
    "SELECTOR_KINDS",
    "AnySelector",
    "Batch",
    "BatchSelector",
    "BoundSelector",
    "Dynamics",
    "FeatureSource",
    "Knowledge",
    "NoiseRate",
    "Observation",
    "OnlineSelector",
    "ProbabilitySelector",
    "PromptModel",
    "PromptSet",
    "PromptTokens",
    "Selection",
    "Selector",
    "TrainingData",
    "ViewKind",
    "checked_answer",
    "knowledge_of_rate",
    "opaque_ids",
    "without_gradients",
]
