"""Two records, or two sets of records, side by side: what differs, and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from nlbench.errors import DataError
from nlbench.results.record import RunRecord

PARTS = (
    "status", "configuration", "versions", "environment", "data", "noise", "metrics", "curves",
    "score histogram",
)  # fmt: skip
RESULT_PARTS = ("status", "noise", "metrics", "curves", "score histogram")


@dataclass(frozen=True)
class Difference:
    """One value that two records do not share.

    Attributes:
        part: One of `PARTS`.
        name: Dotted path of the value in its part; the name of a curve.
        first: The value in the first record, None where it has none; of a curve at `epoch`.
        second: The same of the second record.
        delta: Second minus first where both are numbers; of a curve the one that is largest.
        epoch: The first epoch, from 1, at which a curve differs.
    """

    part: str
    name: str
    first: Any
    second: Any
    delta: float | None = None
    epoch: int | None = None


@dataclass(frozen=True)
class Pairing:
    """One fingerprint in two sets of records.

    Attributes:
        outcome: Whether the results (not times, not environments) are equal, or one is missing.
        record: The record, of the first set where both have it.
        differences: Of the results; empty where they are equal or one is missing.
    """

    outcome: Literal["equal", "differs", "only in the first", "only in the second"]
    record: RunRecord
    differences: tuple[Difference, ...] = ()


def record_differences(first: RunRecord, second: RunRecord) -> list[Difference]:
    """Return everything in which two records differ but times and fingerprint, part by part."""
    contents = zip(_contents(first), _contents(second), strict=True)
    plain = [
        Difference(part, name, one, two, _delta(one, two))
        for (part, values), (_, others) in contents
        for name, one, two in _unequal(values, others)
    ]
    return sorted(
        [*plain, *_curve_differences(first.curves, second.curves)],
        key=lambda difference: PARTS.index(difference.part),
    )


def result_differences(first: RunRecord, second: RunRecord) -> list[Difference]:
    """Return in what the results of two records differ: noise, metrics, curves, scores."""
    return [d for d in record_differences(first, second) if d.part in RESULT_PARTS]


def pair_up(first: Sequence[RunRecord], second: Sequence[RunRecord]) -> list[Pairing]:
    """Compare two sets of records by fingerprint.

    Raises:
        DataError: if one set has two records of one fingerprint.
    """
    ours, theirs = _by_fingerprint(first), _by_fingerprint(second)
    return [_pairing(ours.get(name), theirs.get(name)) for name in sorted({*ours, *theirs})]


def first_epoch(differences: Sequence[Difference]) -> int | None:
    """Return the first epoch at which any curve differs, None where all are equal."""
    return min((d.epoch for d in differences if d.epoch is not None), default=None)


def metric_delta(differences: Sequence[Difference], name: str) -> float:
    """Return by how much a metric differs, 0 where it does not."""
    return next((d.delta or 0.0 for d in differences if (d.part, d.name) == ("metrics", name)), 0.0)


def _pairing(first: RunRecord | None, second: RunRecord | None) -> Pairing:
    if first is None:
        assert second is not None  # noqa: S101 - the fingerprint is of one of them
        return Pairing("only in the second", second)
    if second is None:
        return Pairing("only in the first", first)
    differences = tuple(result_differences(first, second))
    return Pairing("differs" if differences else "equal", first, differences)


def _by_fingerprint(records: Sequence[RunRecord]) -> dict[str, RunRecord]:
    unique: dict[str, RunRecord] = {}
    for record in records:
        if record.fingerprint in unique:
            raise DataError(
                f"run {record.fingerprint[:12]} is twice in one file. `nlbench verify` names all "
                "such runs; export them into files of their own."
            )
        unique[record.fingerprint] = record
    return unique


def _contents(record: RunRecord) -> list[tuple[str, dict[str, Any]]]:
    config = {key: value for key, value in record.config.items() if key != "versions"}
    data = record.dataset.model_dump()
    metrics = record.metrics.model_dump() if record.metrics else {}
    error = {"error": f"{record.error.type}: {record.error.message}"} if record.error else {}
    return [
        ("status", {"status": record.status, **error}),
        ("configuration", _leaves(config)),
        ("versions", dict(record.versions)),
        ("environment", _leaves(record.environment)),
        ("data", _leaves(data)),
        ("noise", {"sha256": record.noise.sha256, "realized_rate": record.noise.realized_rate}),
        ("metrics", _leaves(metrics, into_lists=True)),
        ("score histogram", _leaves(record.score_histogram, into_lists=True)),
    ]


def _unequal(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys([*first, *second]):
        if name not in first or name not in second or first[name] != second[name]:
            yield name, first.get(name), second.get(name)


def _curve_differences(
    first: Mapping[str, Sequence[float | None]], second: Mapping[str, Sequence[float | None]]
) -> Iterator[Difference]:
    for name in dict.fromkeys([*first, *second]):
        pairs = list(zip_longest(first.get(name, ()), second.get(name, ())))
        epochs = [epoch for epoch, (one, two) in enumerate(pairs, start=1) if one != two]
        if epochs:
            one, two = pairs[epochs[0] - 1]
            deltas = [_delta(*pair) for pair in pairs]
            largest = max((d for d in deltas if d is not None), key=abs, default=None)
            yield Difference("curves", name, one, two, largest, epochs[0])


def _leaves(value: Any, into_lists: bool = False, name: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        items = [(str(key), part) for key, part in value.items()]
    elif into_lists and isinstance(value, list) and value:
        items = [(str(i), part) for i, part in enumerate(value)]
    else:
        return {name: value} if name else {}
    return {
        key: leaf
        for last, part in items
        for key, leaf in _leaves(part, into_lists, f"{name}.{last}" if name else last).items()
    }


def _delta(first: Any, second: Any) -> float | None:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (first, second))
    return second - first if numbers else None
