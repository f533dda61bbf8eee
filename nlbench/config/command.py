"""From a configuration back to the one command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlbench.config.run_config import RunConfig, standard_config, usual_trainer
from nlbench.config.setting_text import setting_text
from nlbench.files import readable


def reproduce_command(
    config: RunConfig, plugins: Sequence[str] = (), data_dir: Path | None = None
) -> str:
    """Return the one-line command that repeats a run: flags, and --set for what is not standard."""
    standard = standard_config(config.dataset.name)
    path = config.dataset.options.get("path")
    dataset = f"{config.dataset.name}:{path}" if path else config.dataset.name
    words = ["nlbench", "run", "--selector", config.method, "--dataset", dataset]
    words += ["--noise", config.noise.kind]
    if config.noise.rate is not None:
        words += ["--noise-rate", repr(config.noise.rate)]
    words += ["--seed", str(config.seed)]
    for plugin in plugins:
        words += ["--plugin", plugin]
    if data_dir is not None:
        words += ["--data-dir", str(data_dir)]
    changed = {
        "selector": config.selector_variant,
        "trainer": _difference(
            config.trainer.params, usual_trainer(config.dataset.name, config.trainer.name)
        ),
        "protocol": _difference(config.protocol.model_dump(), standard.protocol.model_dump()),
        "noise": config.noise.options,
        "data": _difference(config.dataset.options, {**standard.dataset.options, "path": path}),
    }
    for section, values in changed.items():
        for key, value in values.items():
            words += ["--set", f"{section}.{key}={setting_text(value)}"]
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Return a word for the shell; bytes that are not UTF-8 as ``$'...'``, which bash reads."""
    try:
        word.encode()
    except UnicodeEncodeError:
        escaped = word.replace("\\", "\\\\").replace("'", "\\'")
        return f"$'{readable(escaped)}'"
    return shlex.quote(word)


def _difference(values: Mapping[str, Any], standard: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k not in standard or standard[k] != v}
