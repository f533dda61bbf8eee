"""nlbench: the fair benchmark for finding clean labels in noisy data.

The public names below are loaded on first use, so that ``import nlbench`` costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlbench.errors import ConfigError, DataError, NlbenchError, PluginError, RunError
    from nlbench.noise.corrupt import NoisyLabels, corrupt
    from nlbench.plugins.registry import get_selector
    from nlbench.results.metrics import evaluate_selection
    from nlbench.results.record import RunRecord
    from nlbench.runner.run import run
    from nlbench.selector import (
        Batch,
        BatchSelector,
        BoundSelector,
        Dynamics,
        OnlineSelector,
        PromptModel,
        PromptTokens,
        Selection,
        Selector,
        TrainingData,
    )
    from nlbench.training.loss_trainer import LossTrainer
    from nlbench.training.task import TrainingBatch

__version__ = "0.1.0"

# The contract that plugins are written for; raised when a plugin must change: docs/plugins.md.
PLUGIN_API = 2

_HOME = {
    "Batch": "selector",
    "BatchSelector": "selector",
    "BoundSelector": "selector",
    "ConfigError": "errors",
    "DataError": "errors",
    "Dynamics": "selector",
    "Knowledge": "selector",
    "LossTrainer": "training.loss_trainer",
    "NlbenchError": "errors",
    "NoisyLabels": "noise.corrupt",
    "OnlineSelector": "selector",
    "PluginError": "errors",
    "PromptModel": "selector",
    "PromptSet": "selector",
    "PromptTokens": "selector",
    "RunError": "errors",
    "RunRecord": "results.record",
    "Selection": "selector",
    "Selector": "selector",
    "TrainingBatch": "training.task",
    "TrainingData": "selector",
    "corrupt": "noise.corrupt",
    "evaluate_selection": "results.metrics",
    "get_selector": "plugins.registry",
    "run": "runner.run",
}

__all__ = [
    "PLUGIN_API",
    "Batch",
    "BatchSelector",
    "BoundSelector",
    "ConfigError",
    "DataError",
    "Dynamics",
    "Knowledge",
    "LossTrainer",
    "NlbenchError",
    "NoisyLabels",
    "OnlineSelector",
    "PluginError",
    "PromptModel",
    "PromptSet",
    "PromptTokens",
    "RunError",
    "RunRecord",
    "Selection",
    "Selector",
    "TrainingBatch",
    "TrainingData",
    "corrupt",
    "evaluate_selection",
    "get_selector",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"nlbench.{_HOME[name]}"), name)
    raise AttributeError(f"module 'nlbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
