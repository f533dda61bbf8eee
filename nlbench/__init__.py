"""nlbench: the fair benchmark for finding clean labels in noisy data.

The public names below are loaded on first use, so that ``import nlbench`` costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlbench.data.image_data import Dataset, ImageData
    from nlbench.data.images import TensorImages
    from nlbench.encoders.base import Encoder
    from nlbench.errors import ConfigError, DataError, NlbenchError, PluginError, RunError
    from nlbench.noise.corrupt import NoisyLabels, corrupt
    from nlbench.plugins.registry import get_selector
    from nlbench.results.metrics import evaluate_selection
    from nlbench.results.record import RunRecord
    from nlbench.runner.run import run
    from nlbench.selector import (
        BoundSelector,
        Dynamics,
        OnlineSelector,
        Selection,
        Selector,
        TrainingData,
    )

__version__ = "0.1.0"

_HOME = {
    "BoundSelector": "selector.contract",
    "ConfigError": "errors",
    "DataError": "errors",
    "Dataset": "data.image_data",
    "Dynamics": "selector.contract",
    "Encoder": "encoders.base",
    "ImageData": "data.image_data",
    "Knowledge": "selector.contract",
    "NlbenchError": "errors",
    "NoisyLabels": "noise.corrupt",
    "OnlineSelector": "selector.contract",
    "PluginError": "errors",
    "PromptSet": "selector.contract",
    "RunError": "errors",
    "RunRecord": "results.record",
    "Selection": "selector.contract",
    "Selector": "selector.contract",
    "TensorImages": "data.images",
    "TrainingData": "selector.contract",
    "corrupt": "noise.corrupt",
    "evaluate_selection": "results.metrics",
    "get_selector": "plugins.registry",
    "run": "runner.run",
}

__all__ = [
    "BoundSelector",
    "ConfigError",
    "DataError",
    "Dataset",
    "Dynamics",
    "Encoder",
    "ImageData",
    "Knowledge",
    "NlbenchError",
    "NoisyLabels",
    "OnlineSelector",
    "PluginError",
    "PromptSet",
    "RunError",
    "RunRecord",
    "Selection",
    "Selector",
    "TensorImages",
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
