"""The files that a run's settings name, and the same run with its files elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nlbench.config.run_config import RunConfig

_OF_FOLDERS = "local-dir:"


def with_files_moved(config: RunConfig, move: Callable[[str], str]) -> RunConfig:
    """Return the same run, whose fingerprint counts files by content, with other paths to them.

    Args:
        config: The run.
        move: From a path, as it was typed, to the path that takes its place; called once for every
            file or model folder that a setting names.
    """
    moved: dict[str, dict[str, Any]] = {}
    for key in config.files:
        section, name = key.split(".")
        value = _settings(config, section).get(name)
        if isinstance(value, str):  # else the data set's own file, which is with its data
            moved.setdefault(section, {})[name] = moved_name(value, move)
    parts = {section: _changed(config, section, values) for section, values in moved.items()}
    return config.model_copy(update=parts)


def moved_name(value: str, move: Callable[[str], str]) -> str:
    """Move what is behind "local-dir:" where that is there, as in "frozen:local-dir:model"."""
    head, folders, path = value.rpartition(_OF_FOLDERS)
    return f"{head}{folders}{move(path)}"


def _settings(config: RunConfig, section: str) -> Mapping[str, Any]:
    homes: dict[str, Mapping[str, Any]] = {
        "noise": config.noise.options,
        "protocol": config.protocol.model_dump(),
        "selector": config.selector.params,
        "trainer": config.trainer.params,
    }
    return homes[section]


def _changed(config: RunConfig, section: str, values: Mapping[str, Any]) -> Any:
    part = getattr(config, section)
    if section == "protocol":
        return part.model_copy(update=dict(values))
    name = "options" if section == "noise" else "params"
    return part.model_copy(update={name: {**getattr(part, name), **values}})
