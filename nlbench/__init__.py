"""nlbench: the fair benchmark for finding clean labels in noisy data.

The public names below are loaded on first use, so that ``import nlbench`` costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlbench.errors import ConfigError, DataError, NlbenchError, PluginError, RunError
    from nlbench.metrics import evaluate_selection
    from nlbench.noise import NoisyLabels, corrupt
    from nlbench.registry import get_selector
    from nlbench.results import RunRecord
    from nlbench.runner import run
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
    "BoundSelector": "selector",
    "ConfigError": "errors",
    "DataError": "errors",
    "Dynamics": "selector",
    "NlbenchError": "errors",
    "NoisyLabels": "noise",
    "OnlineSelector": "selector",
    "PluginError": "errors",
    "RunError": "errors",
    "RunRecord": "results",
    "Selection": "selector",
    "Selector": "selector",
    "TrainingData": "selector",
    "corrupt": "noise",
    "evaluate_selection": "metrics",
    "get_selector": "registry",
    "run": "runner",
}

__all__ = [
    "BoundSelector",
    "ConfigError",
    "DataError",
    "Dynamics",
    "NlbenchError",
    "NoisyLabels",
    "OnlineSelector",
    "PluginError",
    "RunError",
    "RunRecord",
    "Selection",
    "Selector",
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
