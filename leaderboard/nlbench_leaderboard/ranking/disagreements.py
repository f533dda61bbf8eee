"""Records of one run that differ in their numbers: the same code, settings and seed, two results.

A fingerprint holds everything that determines a result, so such records are news: either something
that nobody recorded matters (the CPU, a library's version), or one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nlbench.results.record import Metrics, RunRecord, Times
from nlbench_leaderboard.ranking.board import COLUMNS, Disagreement, RecordedValue

ROUNDING = 1e-6
"""Sums over samples may differ by this between machines; `nlbench compare` calls it rounding."""


def disagreements(rows: Mapping[str, Sequence[RunRecord]]) -> tuple[Disagreement, ...]:
    """Find the runs of a board that have records with different numbers.

    Args:
        rows: The records of each row by its name, oldest first.

    Returns:
        One entry per run, by row and seed.
    """
    entries = []
    for name, records in rows.items():
        same: dict[str, list[RunRecord]] = {}
        for record in records:
            if record.metrics is not None and record.status == "finished":
                same.setdefault(record.fingerprint, []).append(record)
        entries += [entry for twins in same.values()
                    if len(twins) > 1 and (entry := _disagreement(name, twins))]  # fmt: skip
    return tuple(sorted(entries, key=lambda entry: (entry.row, entry.seed, entry.fingerprint)))


def _disagreement(row: str, records: Sequence[RunRecord]) -> Disagreement | None:
    numbers = [dict(_numbers(record.metrics)) for record in records if record.metrics]
    different = [name for name in numbers[0] if _differs([one.get(name) for one in numbers])]
    if not different:
        return None
    title = different[0]
    return Disagreement(
        row=row,
        seed=records[0].seed,
        fingerprint=records[0].fingerprint,
        number=title,
        n_numbers=len(different),
        records=tuple(
            _recorded_value(record, one.get(title))
            for record, one in zip(records, numbers, strict=True)
        ),
    )


def _numbers(metrics: Metrics) -> Iterator[tuple[str, float | None]]:
    """Return every number that a run measured, the most important first."""
    for column in COLUMNS:
        if column.unit == "share":
            yield column.title, column.read(metrics, Times())
    yield "Recall of the worst class", metrics.selection.worst_class_recall
    lists = {
        "Test accuracy of class": metrics.test.accuracy_per_class,
        "Recall of class": metrics.selection.recall_per_class,
    }
    for title, values in lists.items():
        for index, value in enumerate(values):
            yield f"{title} {index}", value
    for name, share in metrics.test.other_tests.items():
        yield f"Test accuracy on {name}", share


def _differs(values: Sequence[float | None]) -> bool:
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return bool(numbers)
    return max(numbers) - min(numbers) > ROUNDING


def _recorded_value(record: RunRecord, value: float | None) -> RecordedValue:
    packages = record.environment.get("packages")
    torch = packages.get("torch") if isinstance(packages, Mapping) else None
    places = [str(record.environment[key]) for key in ("cpu", "device")
              if record.environment.get(key)]  # fmt: skip
    return RecordedValue(
        value=value,
        torch=str(torch or "not recorded"),
        machine=", ".join(places) or "not recorded",
        finished_at=record.finished_at,
    )
