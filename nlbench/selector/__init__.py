"""The contract of a selector: what it may see and what it answers. Selectors are elsewhere."""

from __future__ import annotations

from nlbench.selector.contract import (
    AnySelector,
    BoundSelector,
    Dynamics,
    FeatureSource,
    Knowledge,
    NoiseRate,
    OnlineSelector,
    PromptSet,
    Selection,
    Selector,
    TrainingData,
    checked_answer,
    knowledge_of_rate,
    opaque_ids,
)

__all__ = [
    "AnySelector",
    "BoundSelector",
    "Dynamics",
    "FeatureSource",
    "Knowledge",
    "NoiseRate",
    "OnlineSelector",
    "PromptSet",
    "Selection",
    "Selector",
    "TrainingData",
    "checked_answer",
    "knowledge_of_rate",
    "opaque_ids",
]
