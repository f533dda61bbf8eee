"""Is the command of a record that of its configuration? People paste it into a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from nlbench.config.run_config import RunConfig
from nlbench.config.setting_text import parse_setting
from nlbench.errors import ConfigError
from nlbench.results.record import RunRecord

# How `reproduce_command` writes a path that is not UTF-8.
_BYTES = re.compile(r"\$'(?:[^'\\]|\\.)*'")
# Where data is on somebody's machine: in the command, not in the configuration.
_PLACES = ("data.path", "data.download")


def command_problems(record: RunRecord, config: RunConfig) -> Iterator[str]:
    """Yield what a record's command says that its configuration does not.

    Settings may be missing from it: those that were the defaults of the version that made it.
    """
    command = _BYTES.sub("PATH", record.command)
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if words[:2] != ["nlbench", "run"] or len(words) % 2 or shlex.join(words) != command:
        yield "command is not one `nlbench run` with options, each word quoted for the shell"
        return
    known = _values(record, config)
    settings = dict(_settings(config))
    for flag, value in zip(words[2::2], words[3::2], strict=True):
        if flag == "--set":
            yield from _setting_problems(value, settings)
        elif flag == "--plugin":
            if not value.endswith(".py"):
                yield f"command has the plugin {value!r:.60}, which is not a .py file"
        elif flag == "--dataset":
            if value.partition(":")[0] != config.dataset.name:
                yield f"command has {flag} {value!r:.60}, by `config` it is {config.dataset.name!r}"
        elif flag not in known:
            yield f"command has {flag!r:.60}, which repeats no run"
        elif known[flag] and value not in known[flag]:
            yield f"command has {flag} {value!r:.60}, by `config` it is {known[flag][0]!r:.60}"


def _values(record: RunRecord, config: RunConfig) -> Mapping[str, tuple[str, ...]]:
    """Return the values that an option may have; none where it may have any."""
    selector, trainer = config.selector.name, config.trainer.name
    methods = (f"{selector}+{trainer}", selector, trainer)
    named = record.method in methods
    return {
        "--selector": (record.method, *methods) if named else methods,
        "--noise": (config.noise.kind,),
        "--noise-rate": (repr(config.noise.rate),),
        "--seed": (str(config.seed),),
        "--data-dir": (),
    }


def _settings(config: RunConfig) -> Iterator[tuple[str, Any]]:
    sections = {
        "selector": config.selector.params,
        "trainer": config.trainer.params,
        "protocol": config.protocol.model_dump(),
        "noise": config.noise.options,
        "data": config.dataset.options,
    }
    for section, values in sections.items():
        for key, value in values.items():
            yield f"{section}.{key}", value


def _setting_problems(text: str, settings: Mapping[str, Any]) -> Iterator[str]:
    try:
        key, value = parse_setting(text)
    except ConfigError:
        yield f"command has --set {text!r:.60}, which is not a setting"
        return
    if key in _PLACES:
        return
    if key not in settings:
        yield f"command sets {key!r:.60}, which `config` does not have"
        return
    recorded = settings[key]
    if isinstance(recorded, str) and "sha256:" in recorded:
        return  # a file: the record has its content's hash, the command its place
    if value != recorded and _as_json(value) != _as_json(recorded):
        yield f"command sets {key} to {value!r:.60}, by `config` it is {recorded!r:.60}"


def _as_json(value: Any) -> Any:
    """Return tuples as the lists that JSON and YAML make of them."""
    return list(value) if isinstance(value, tuple) else value
