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
    dataset: str
    noise: str
    selector: str
    selector_encoder: str
    trainer: str
    image_text_encoder: str
    image_encoder: str


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
        str(config.selector.params.get("encoder")),
        config.trainer.name,
        config.protocol.image_text_encoder,
        config.protocol.image_encoder,
    )


def _versions(components: _Components) -> dict[str, Version] | None:
    names = {
        "dataset": components.dataset,
        "noise": {"kind": components.noise},
        "selector": {"name": components.selector},
        "trainer": {"name": components.trainer},
    }
    protocol = ProtocolConfig(
        image_text_encoder=components.image_text_encoder, image_encoder=components.image_encoder
    )
    try:
        return code_versions(names, {"encoder": components.selector_encoder}, protocol)
    except NlbenchError:
        return None
