"""nlbench: the fair benchmark for finding clean labels in noisy data.

The public names below are loaded on first use, so that ``import nlbench`` costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlbench.audit.audit import Audit
    from nlbench.audit.clean import clean
    from nlbench.data.image_data import Dataset, ImageData
    from nlbench.data.images import TensorImages
    from nlbench.encoders.base import Encoder
    from nlbench.errors import ConfigError, DataError, NlbenchError, PluginError, RunError
    from nlbench.noise.corrupt import NoisyLabels, corrupt
    from nlbench.plugins.registry import get_selector
    from nlbench.results.frame import load_records
    from nlbench.results.metrics import evaluate_selection
    from nlbench.results.record import RunRecord
    from nlbench.runner.embedding import embed
    from nlbench.runner.run import run
    from nlbench.selector import (
        Batch,
        BatchSelector,
        BoundSelector,
        Dynamics,
        NoiseRate,
        Observation,
        OnlineSelector,
        ProbabilitySelector,
        PromptModel,
        PromptTokens,
        Selection,
        Selector,
        TrainingData,
        knowledge_of_rate,
    )
    from nlbench.training.loss_trainer import LossTrainer
    from nlbench.training.task import TrainingBatch

__version__ = "0.1.0"

# The contract that plugins are written for; raised when a plugin must change: docs/plugins.md.
PLUGIN_API = 2

_HOME = {
    "Audit": "audit.audit",
    "clean": "audit.clean",
    "embed": "runner.embedding",
    "Batch": "selector",
    "BatchSelector": "selector",
    "BoundSelector": "selector",
    "ConfigError": "errors",
    "DataError": "errors",
    "Dynamics": "selector",
    "Knowledge": "selector",
    "LossTrainer": "training.loss_trainer",
    "Dataset": "data.image_data",
    "Encoder": "encoders.base",
    "ImageData": "data.image_data",
    "NlbenchError": "errors",
    "NoiseRate": "selector",
    "NoisyLabels": "noise.corrupt",
    "Observation": "selector",
    "OnlineSelector": "selector",
    "PluginError": "errors",
    "ProbabilitySelector": "selector",
    "PromptModel": "selector",
    "PromptSet": "selector",
    "PromptTokens": "selector",
    "RunError": "errors",
    "RunRecord": "results.record",
    "Selection": "selector",
    "Selector": "selector",
    "TrainingBatch": "training.task",
    "TrainingData": "selector",
    "TensorImages": "data.images",
    "corrupt": "noise.corrupt",
    "evaluate_selection": "results.metrics",
    "get_selector": "plugins.registry",
    "knowledge_of_rate": "selector",
    "load_records": "results.frame",
    "run": "runner.run",
}

__all__ = [
    "PLUGIN_API",
    "Audit",
    "Batch",
    "BatchSelector",
    "BoundSelector",
    "ConfigError",
    "DataError",
    "Dataset",
    "Dynamics",
    "Encoder",
    "ImageData",
    "Knowledge",
    "LossTrainer",
    "NlbenchError",
    "NoiseRate",
    "NoisyLabels",
    "Observation",
    "OnlineSelector",
    "PluginError",
    "ProbabilitySelector",
    "PromptModel",
    "PromptSet",
    "PromptTokens",
    "RunError",
    "RunRecord",
    "Selection",
    "Selector",
    "TensorImages",
    "TrainingBatch",
    "TrainingData",
    "clean",
    "corrupt",
    "embed",
    "evaluate_selection",
    "get_selector",
    "knowledge_of_rate",
    "load_records",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"nlbench.{_HOME[name]}"), name)
    raise AttributeError(f"module 'nlbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
