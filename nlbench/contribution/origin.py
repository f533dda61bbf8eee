"""What only the data and the code at hand can tell: the noisy labels, and the selector's claims."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nlbench.config.run_config import RunConfig, recorded_config
from nlbench.contribution.evidence import Evidence
from nlbench.errors import NlbenchError
from nlbench.plugins import registry
from nlbench.plugins.registry import make_component
from nlbench.plugins.versions import version_of
from nlbench.results.record import RunRecord

# Options of noises that may name a file of whoever made the record: never opened from here.
_FILE_OPTIONS = ("matrix", "labels", "label_file")


class NotAtHandError(Exception):
    """The check needs something that is not here; the text says what."""


def version_text(version: int | str | None) -> str:
    """Return a version of a component in words."""
    if version is None:
        return "of no named version"
    text = str(version)
    return f"code {text[5:17]}" if text.startswith("code:") else f"version {text:.40}"


def claim_differences(record: RunRecord) -> Iterator[str]:
    """Compare what a record says about its selector with the selector installed here.

    Raises:
        NotAtHandError: if this very source of the selector is not installed.
    """
    stated = record.selector
    try:
        config = recorded_config(record.config)
        component = registry.find("selectors", stated.name)
        selector = registry.get_selector(stated.name, **stated.params)
    except NlbenchError:
        raise NotAtHandError("the selector is not installed here") from None
    here, there = version_of(component), record.versions.get("selector")
    if here != there:
        raise NotAtHandError(
            f"selector {stated.name!r:.60} is {version_text(here)} here, {version_text(there)} in "
            "the record"
        )
    if selector.is_bound != stated.is_bound:
        yield f"selector.is_bound is {stated.is_bound}, its source says {selector.is_bound}"
    if list(selector.knowledge_used()) != stated.knowledge:
        yield f"selector.knowledge is {stated.knowledge}, its source says otherwise"
    if config.selector_variant != stated.variant:
        yield "selector.variant is not what differs from the selector's defaults"
    if _protocol_id(config) not in (None, record.protocol.id):
        yield f"protocol.id is {record.protocol.id!r}, it should be {_protocol_id(config)!r}"


def label_differences(
    record: RunRecord, evidence: Evidence | None, data_dir: Path | None
) -> Iterator[str]:
    """Make the noisy labels again from the data at hand and compare them.

    Args:
        record: What is checked; its identity was checked already.
        evidence: Its samples, compared with the data too.
        data_dir: Folder that contains the data sets.

    Raises:
        NotAtHandError: if the data is not here, or the run used files of its own.
    """
    from nlbench.runner.inputs import load_data, noisy_labels_of

    config = _without_own_files(record)
    try:
        registry.find("noises", config.noise.kind).load()
    except NlbenchError:
        kind = config.noise.kind
        raise NotAtHandError(f"no noise {kind!r:.60} is installed here") from None
    options = tuple(sorted(config.dataset.options.items()))
    try:
        data = load_data(config.dataset.name, options, data_dir, str(data_dir))
        if data.fingerprint != record.dataset.fingerprint:
            raise NotAtHandError("the data here is not the data of the run")
        noisy = noisy_labels_of(config, data, data_dir)
    except NlbenchError as error:
        raise NotAtHandError(f"data not here ({error})") from None
    if noisy.sha256 != record.noise.sha256:
        yield f"noise.sha256 is {record.noise.sha256[:12]}, the labels give {noisy.sha256[:12]}"
    rates = np.nan_to_num(noisy.realized_rate_per_class)
    pairs: dict[str, tuple[Any, Any]] = {
        "nominal_rate": (record.noise.nominal_rate, noisy.nominal_rate),
        "realized_rate": (record.noise.realized_rate, noisy.realized_rate),
        "realized_rate_per_class": (record.noise.realized_rate_per_class, rates),
        "transition_matrix": (record.noise.transition_matrix or [], noisy.transition_matrix),
    }
    for name, (stated, made) in pairs.items():
        if not _equal(stated, made):
            yield f"noise.{name} is not that of the labels"
    if evidence is not None:
        truth = data.train_labels if data.labels_are_clean else None
        yield from _strangers(evidence, noisy.labels, truth, data.test_labels)


def _strangers(evidence: Evidence, noisy: Any, truth: Any, test: Any) -> Iterator[str]:
    at = evidence.index
    pairs: dict[str, tuple[Any, Any]] = {
        "noisy_label": (evidence.noisy_label, noisy[at]),
        "clean_label": (evidence.clean_label, None if truth is None else truth[at]),
    }
    if evidence.test_label is not None:
        pairs["test_label"] = (evidence.test_label, test)
    for name, (stated, real) in pairs.items():
        if (stated is None) != (real is None) or not np.array_equal(stated, real):
            yield f"{name} is not that of the data"


def _without_own_files(record: RunRecord) -> RunConfig:
    config = recorded_config(record.config)
    try:
        source = make_component("datasets", config.dataset.name, config.dataset.options)
    except NlbenchError:
        raise NotAtHandError(f"there is no data set {config.dataset.name!r:.60} here") from None
    named = [config.noise.options.get(option) for option in _FILE_OPTIONS]
    if source.takes_path or any(isinstance(value, str) for value in named):
        raise NotAtHandError("the run used files of its own")
    if config.dataset.options.get("download"):
        options = {**config.dataset.options, "download": False}
        config = config.model_copy(
            update={"dataset": config.dataset.model_copy(update={"options": options})}
        )
    return config


def _protocol_id(config: RunConfig) -> str | None:
    try:
        return config.protocol_id
    except NlbenchError:
        return None


def _equal(stated: Any, made: Any) -> bool:
    if stated is None or made is None:
        return stated is made
    first, second = np.asarray(stated, dtype=float), np.asarray(made, dtype=float)
    if first.size == 0 and second.size == 0:
        return True
    return first.shape == second.shape and bool(np.allclose(first, second, rtol=0, atol=1e-9))
