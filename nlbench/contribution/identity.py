"""Is a record the record of its configuration? Yields what does not match."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from nlbench.config.run_config import RunConfig, recorded_config, versioned_sha256
from nlbench.contribution.command_words import command_problems
from nlbench.results.record import RunRecord


def mismatches(record: RunRecord) -> Iterator[str]:
    """Compare fingerprint, protocol, selector, noise and seed with the record's `config`."""
    if not re.fullmatch("[0-9a-f]{64}", record.fingerprint):
        yield "the fingerprint is not 64 hexadecimal digits"
        return
    try:
        config = recorded_config(record.config)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        yield f"`config` is not the configuration of a run: {where}: {first['msg']}"
        return
    version = record.protocol.version
    computed = versioned_sha256(record.config, version)
    if computed != record.fingerprint:
        yield f"`config` has the fingerprint {computed[:12]}, the record {record.fingerprint[:12]}"
    yield from _differences(record, config, version)
    if record.command:
        yield from command_problems(record, config)


def _differences(record: RunRecord, config: RunConfig, version: int) -> Iterator[str]:
    settings = config.protocol_settings
    claimed = {k: v for k, v in record.protocol.settings.items() if k != "n_val"}
    pairs: dict[str, tuple[Any, Any]] = {
        "seed": (record.seed, config.seed),
        "dataset.name": (record.dataset.name, config.dataset.name),
        "noise.kind": (record.noise.kind, config.noise.kind),
        "noise.params": (record.noise.params, config.canonical()["noise"]["options"]),
        "selector.name": (record.selector.name, config.selector.name),
        "selector.params": _without_files(record.selector.params, config.selector.params),
        "versions": (record.versions, config.versions),
        "protocol.settings": (claimed, settings),
        "protocol.sha256": (record.protocol.sha256, versioned_sha256(settings, version)),
    }
    if config.noise.rate is not None:
        pairs["noise.nominal_rate"] = (record.noise.nominal_rate, config.noise.rate)
    for name, (stated, configured) in pairs.items():
        if stated != configured:
            yield f"{name} is {_short(stated)}, by `config` it is {_short(configured)}"
    variant, params = record.selector.variant, record.selector.params
    if any(key not in params or params[key] != value for key, value in variant.items()):
        yield "selector.variant is not a part of selector.params"
    if not re.fullmatch("[0-9a-f]{64}", record.noise.sha256):
        yield "noise.sha256 is not 64 hexadecimal digits"


def _without_files(stated: dict[str, Any], configured: dict[str, Any]) -> tuple[Any, Any]:
    """Leave out what names a file: the record has its path, the configuration its content."""
    files = {k for k, v in configured.items() if isinstance(v, str) and v.startswith("sha256:")}
    return (
        {k: v for k, v in stated.items() if k not in files},
        {k: v for k, v in configured.items() if k not in files},
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
