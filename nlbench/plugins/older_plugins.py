"""What a plugin is told that was written for another contract than this one."""

from __future__ import annotations

from typing import Any

from nlbench import PLUGIN_API
from nlbench.errors import PluginError

# What plugins of contract 1 imported from modules that are not public, and where it is now.
_MOVED = {
    ("nlbench.training.loop", "Trainer"): "nlbench.LossTrainer, or nlbench.training.task.Trainer",
    ("nlbench.training.loop", "as_input"): "nlbench.training.evaluate.as_input",
    ("nlbench.selector.contract", "checked_answer"): "nlbench.selector.checked_answer",
}


def what_moved(error: BaseException) -> str:
    """Return where a name of nlbench is now that an import did not find, or nothing."""
    if not isinstance(error, ImportError) or not (error.name or "").startswith("nlbench"):
        return ""
    for (module, name), now in _MOVED.items():
        if error.name == module and f"'{name}'" in str(error):
            return f"Since plugin contract {PLUGIN_API}, {module}.{name} is {now}."
    return (
        f"This is plugin contract {PLUGIN_API}; only the names in nlbench, nlbench.scoring and "
        "nlbench.conformance keep their place: docs/plugins.md, What is stable."
    )


def refuse_newer(component: str, loaded: Any) -> None:
    """Refuse a plugin that says it needs a newer contract.

    Raises:
        PluginError: with the two numbers.
    """
    needed = getattr(loaded, "plugin_api", PLUGIN_API)
    if isinstance(needed, int) and needed > PLUGIN_API:
        raise PluginError(
            f"{component} needs plugin contract {needed}, this nlbench has {PLUGIN_API}. "
            "Update nlbench: `pip install -U nlbench`."
        )
