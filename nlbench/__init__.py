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
        BoundSelector,
        Dynamics,
        NoiseRate,
        OnlineSelector,
        Selection,
        Selector,
        TrainingData,
        knowledge_of_rate,
    )

__version__ = "0.1.0"

_HOME = {
    "BoundSelector": "selector.contract",
    "ConfigError": "errors",
    "DataError": "errors",
    "Dynamics": "selector.contract",
    "Knowledge": "selector.contract",
    "NlbenchError": "errors",
    "NoiseRate": "selector.contract",
    "NoisyLabels": "noise.corrupt",
    "OnlineSelector": "selector.contract",
    "PluginError": "errors",
    "PromptSet": "selector.contract",
    "RunError": "errors",
    "RunRecord": "results.record",
    "Selection": "selector.contract",
    "Selector": "selector.contract",
    "TrainingData": "selector.contract",
    "corrupt": "noise.corrupt",
    "evaluate_selection": "results.metrics",
    "get_selector": "plugins.registry",
    "knowledge_of_rate": "selector.contract",
    "run": "runner.run",
}

__all__ = [
    "BoundSelector",
    "ConfigError",
    "DataError",
    "Dynamics",
    "Knowledge",
    "NlbenchError",
    "NoiseRate",
    "NoisyLabels",
    "OnlineSelector",
    "PluginError",
    "PromptSet",
    "RunError",
    "RunRecord",
    "Selection",
    "Selector",
    "TrainingData",
    "corrupt",
    "evaluate_selection",
    "get_selector",
    "knowledge_of_rate",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"nlbench.{_HOME[name]}"), name)
    raise AttributeError(f"module 'nlbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
