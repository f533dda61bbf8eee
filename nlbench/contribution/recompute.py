"""Metrics measured again from a run's evidence; yields what differs from its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlbench.contribution.consistency import close, n_seen
from nlbench.contribution.evidence import Evidence
from nlbench.contribution.packing import Array
from nlbench.results.metrics import accuracy_per_class, evaluate_selection, score_histogram
from nlbench.results.record import RunRecord


@dataclass(frozen=True)
class _Answer:
    keep: Array
    score: Array
    labels: Array | None


def selection_differences(record: RunRecord, evidence: Evidence) -> Iterator[str]:
    """Measure the selection again: every field of ``metrics.selection``, and the histogram."""
    wrong = list(_misfits(record, evidence))
    if wrong or record.metrics is None:
        yield from wrong
        return
    answer = _Answer(evidence.keep, evidence.score, evidence.corrected_label)
    measured = evaluate_selection(answer, evidence.noisy_label, evidence.clean_label)
    stated = record.metrics.selection.model_dump()
    yield from _compared("metrics.selection", stated, {"recall_per_class": [], **measured})
    truth = evidence.clean_label
    is_clean = None if truth is None else truth == evidence.noisy_label
    counted = score_histogram(evidence.score, is_clean)
    yield from _compared("score_histogram", record.score_histogram, counted)


def test_differences(record: RunRecord, evidence: Evidence) -> Iterator[str]:
    """Measure the predictions again: the accuracies of ``metrics.test``."""
    labels, predicted = evidence.test_label, evidence.predicted
    if record.metrics is None or labels is None or predicted is None:
        return
    k, by_val = record.dataset.n_classes, evidence.predicted_noisy_val
    if not all(_fits(a, record.dataset.n_test, k) for a in (labels, predicted)):
        yield f"predictions must be {record.dataset.n_test} classes in [0, {k})"
        return
    test = record.metrics.test
    measured: dict[str, Any] = {
        "accuracy_last": float((predicted == labels).mean()),
        "accuracy_per_class": accuracy_per_class(predicted, labels, k),
    }
    if by_val is not None and len(by_val) == len(labels):
        measured["accuracy_noisy_val"] = float((by_val == labels).mean())
    elif test.accuracy_noisy_val is not None:
        yield "accuracy_noisy_val has no predictions"
    stated = test.model_dump()
    yield from _compared("metrics.test", {name: stated[name] for name in measured}, measured)


def _misfits(record: RunRecord, evidence: Evidence) -> Iterator[str]:
    n, k = n_seen(record), record.dataset.n_classes
    for name in ("noisy_label", "clean_label", "corrected_label"):
        values = getattr(evidence, name)
        if values is not None and not _fits(values, n, k):
            yield f"{name} must be {n} classes in [0, {k})"
    if not _fits(evidence.index, n, record.dataset.n_train) or (np.diff(evidence.index) < 1).any():
        yield f"index must be {n} ascending positions in [0, {record.dataset.n_train})"
    if evidence.keep.dtype != np.bool_ or len(evidence.keep) != n:
        yield f"keep must be {n} decisions"
    if evidence.score.dtype.kind != "f" or len(evidence.score) != n:
        yield f"score must be {n} numbers"


def _fits(values: Array, n: int, limit: int) -> bool:
    return (
        values.dtype.kind == "i"
        and len(values) == n > 0
        and bool(values.min() >= 0)
        and bool(values.max() < limit)
    )


def _compared(where: str, stated: Mapping[str, Any], measured: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*stated, *measured}):
        first, second = stated.get(name), measured.get(name)
        if not _equal(first, second):
            yield f"{where}.{name} is {_short(first)}, its samples give {_short(second)}"


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_equal, first, second))
    if isinstance(first, float | int) and isinstance(second, float | int):
        return close(first, second)
    return bool(first == second)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
