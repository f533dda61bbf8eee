"""Which versions a run would have with the code that is installed here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import ValidationError

from nlbench.config.code_versions import code_versions
from nlbench.config.run_config import ProtocolConfig, recorded_config
from nlbench.errors import NlbenchError
from nlbench.plugins.versions import Version
from nlbench.results.record import RunRecord


class _Components(NamedTuple):
    """What decides the versions; `selector_names` are hyper-parameters that may name an encoder."""

    dataset: str
    noise: str
    selector: str
    selector_names: tuple[tuple[str, str], ...]
    trainer: str
    network: str
    protocol: ProtocolConfig


def installed_versions(record: RunRecord) -> dict[str, Version] | None:
    """Return the versions by part that a run would have today; compare with `record.versions`.

    Returns:
        None where a component of the run is not installed here, or where the record has no
        configuration that can be read.
    """
    components = _components(record)
    return None if components is None else _versions(components)


def installed_versions_of(records: Iterable[RunRecord]) -> dict[str, dict[str, Version]]:
    """Return the same for many records, by fingerprint; without those that have none."""
    # Most runs of a board share their components: each combination is looked up once.
    by_components: dict[_Components | None, dict[str, Version] | None] = {None: None}
    by_fingerprint = {}
    for record in records:
        components = _components(record)
        if components not in by_components:
            by_components[components] = None if components is None else _versions(components)
        versions = by_components[components]
        if versions is not None:
            by_fingerprint[record.fingerprint] = versions
    return by_fingerprint


def _components(record: RunRecord) -> _Components | None:
    try:
        config = recorded_config(record.config)
    except ValidationError:
        return None
    return _Components(
        config.dataset.name,
        config.noise.kind,
        config.selector.name,
        tuple((k, v) for k, v in config.selector.params.items() if isinstance(v, str)),
        config.trainer.name,
        str(config.trainer.params.get("network")),
        _without_own_prompts(config.protocol),
    )


def _without_own_prompts(protocol: ProtocolConfig) -> ProtocolConfig:
    """Name a file where the run had prompts of its own: a record has only the hash of theirs."""
    is_own = protocol.prompts.startswith("sha256:")
    return protocol.model_copy(update={"prompts": "own.yaml"}) if is_own else protocol


def _versions(components: _Components) -> dict[str, Version] | None:
    names = {
        "dataset": components.dataset,
        "noise": {"kind": components.noise},
        "selector": {"name": components.selector},
        "trainer": {"name": components.trainer, "network": components.network},
    }
    try:
        return code_versions(names, dict(components.selector_names), components.protocol)
    except NlbenchError:
        return None
