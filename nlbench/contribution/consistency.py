"""Can all numbers of a record be true at once? Yields what contradicts; needs no data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from nlbench.results.record import Metrics, RunRecord, SelectionMetrics

TOLERANCE = 1e-9
# Clocks are read one after the other.
_CLOCK_S = 0.05
# Clocks of two machines, and nobody's next week: a newer record replaces an older one.
_CLOCKS_DIFFER = timedelta(hours=1)


def contradictions(record: RunRecord) -> Iterator[str]:
    """Compare the numbers of a record with each other."""
    yield from _state(record)
    yield from _noise(record)
    yield from _times(record)
    if record.metrics is not None:
        yield from _selection(record, record.metrics.selection)
        yield from _test(record, record.metrics)
        yield from _histogram(record)


def n_seen(record: RunRecord) -> int:
    """Return how many training samples the selector saw: all but those held out."""
    held_out = record.protocol.settings.get("n_val", 0)
    return record.dataset.n_train - (held_out if isinstance(held_out, int) else 0)


def close(first: float, second: float) -> bool:
    """Return whether two numbers differ by no more than the order of a sum explains."""
    return math.isclose(first, second, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _state(record: RunRecord) -> Iterator[str]:
    finished = record.status == "finished"
    if record.status == "running":
        yield "the run has not ended"
    if finished != (record.metrics is not None):
        yield f"status is {record.status!r}, metrics are {'present' if not finished else 'missing'}"
    if (record.status == "failed") != (record.error is not None):
        yield f"status is {record.status!r}, an error is {'missing' if not finished else 'present'}"
    sizes = (record.dataset.n_train, record.dataset.n_test, n_seen(record))
    if min(sizes) < 1 or record.dataset.n_classes < 2:
        yield "the data set needs training and test samples of at least two classes"
    names = record.dataset.class_names
    if names and len(names) != record.dataset.n_classes:
        yield f"{len(names)} class names for {record.dataset.n_classes} classes"


def _noise(record: RunRecord) -> Iterator[str]:
    noise, k = record.noise, record.dataset.n_classes
    matrix = noise.transition_matrix
    if matrix and (len(matrix) != k or any(len(row) != k for row in matrix)):
        yield f"noise.transition_matrix is not {k} x {k}"
    elif any(min(row) < 0 or not math.isclose(sum(row), 1, abs_tol=1e-6) for row in matrix):
        yield "a row of noise.transition_matrix does not sum to 1"
    rates = noise.realized_rate_per_class
    if noise.realized_rate is not None:
        yield from _mean_of("noise.realized_rate", noise.realized_rate, rates, k)
        yield from _whole("noise.realized_rate", noise.realized_rate, record.dataset.n_train)


def _times(record: RunRecord) -> Iterator[str]:
    times = record.times.model_dump()
    for name, value in times.items():
        if not (math.isfinite(value) and value >= 0):
            yield f"times.{name} is {value}"
    phases = sum(times[name] for name in ("data_s", "embed_s", "select_s", "train_s"))
    if phases > times["total_s"] + _CLOCK_S:
        yield f"the phases took {phases:.2f} s, the whole run {times['total_s']:.2f} s"
    try:
        began, ended = map(datetime.fromisoformat, (record.started_at, record.finished_at))
        if began > ended:
            yield "the run ended before it began"
        if ended > datetime.now(timezone.utc) + _CLOCKS_DIFFER:
            yield f"the run ended in the future, {record.finished_at:.40}"
    except (ValueError, TypeError, OverflowError):
        yield "started_at and finished_at are not two ISO times"


def _selection(record: RunRecord, stated: SelectionMetrics) -> Iterator[str]:
    n = n_seen(record)
    yield from _whole("kept_fraction", stated.kept_fraction, n)
    p, r, f1, before = stated.precision, stated.recall, stated.f1, stated.noise_rate_before
    if p is None or r is None or f1 is None or before is None:
        if any(value is not None for value in (p, r, f1, before)):
            yield "of precision, recall, f1 and noise_rate_before some are missing"
        return
    yield from _whole("noise_rate_before", before, n)
    if not close(f1, 2 * p * r / (p + r) if p + r else 0.0):
        yield f"f1 is {f1}, precision {p} and recall {r} give another"
    if not math.isclose(p * stated.kept_fraction, r * (1 - before), abs_tol=1e-6):
        yield "precision x kept_fraction and recall x share of clean labels differ"
    # Of the noisy samples of the whole split, the held-out part has the rest.
    if record.noise.realized_rate is not None:
        n_noisy = record.noise.realized_rate * record.dataset.n_train - before * n
        if not -1e-6 <= n_noisy <= record.dataset.n_train - n + 1e-6:
            yield "noise_rate_before contradicts noise.realized_rate"
    recalls = [value for value in stated.recall_per_class if value is not None]
    # Older records say 0 where there is no class to say it of.
    least = (min(recalls),) if recalls else (None, 0.0)
    if stated.worst_class_recall not in least:
        yield "worst_class_recall is not the least of recall_per_class"
    if recalls:
        yield from _mean_of("recall", r, recalls, len(recalls))


def _test(record: RunRecord, metrics: Metrics) -> Iterator[str]:
    test, n = metrics.test, record.dataset.n_test
    curve = [value for value in record.curves.get("test_accuracy", []) if value is not None]
    if not curve:
        yield "curves.test_accuracy is missing"
        return
    stated = {
        "accuracy_last": (test.accuracy_last, curve[-1]),
        "accuracy_best_oracle": (test.accuracy_best_oracle, max(curve)),
        "epoch_best_oracle": (test.epoch_best_oracle, curve.index(max(curve)) + 1),
    }
    for name, (value, from_curve) in stated.items():
        if not close(value, from_curve):
            yield f"{name} is {value}, curves.test_accuracy gives {from_curve}"
    for value in curve:
        yield from _whole("curves.test_accuracy", value, n)
    yield from _noisy_validation(record, metrics)
    per_class = [value for value in test.accuracy_per_class if value is not None]
    if len(test.accuracy_per_class) != record.dataset.n_classes:
        yield f"accuracy_per_class has {len(test.accuracy_per_class)} values"
    elif per_class:
        yield from _mean_of("accuracy_last", test.accuracy_last, per_class, len(per_class))
    trainer = record.config.get("trainer")
    params = trainer.get("params") if isinstance(trainer, dict) else None
    epochs = params.get("epochs") if isinstance(params, dict) else None
    if isinstance(epochs, int) and len(record.curves["test_accuracy"]) != epochs:
        yield f"curves.test_accuracy has {len(record.curves['test_accuracy'])} of {epochs} epochs"


def _noisy_validation(record: RunRecord, metrics: Metrics) -> Iterator[str]:
    test, curves = metrics.test, record.curves
    if (test.accuracy_noisy_val is None) != (test.epoch_noisy_val is None):
        yield "of accuracy_noisy_val and epoch_noisy_val one is missing"
    if test.accuracy_noisy_val is None or test.epoch_noisy_val is None:
        return
    curve = [-1.0 if v is None else v for v in curves.get("noisy_val_accuracy", [])]
    epoch = curve.index(max(curve)) + 1 if curve else 0
    if test.epoch_noisy_val != epoch:
        yield f"epoch_noisy_val is {test.epoch_noisy_val}, curves.noisy_val_accuracy gives {epoch}"
        return
    accuracy = curves["test_accuracy"][epoch - 1] if epoch <= len(curves["test_accuracy"]) else None
    if accuracy is None or not close(test.accuracy_noisy_val, accuracy):
        yield f"accuracy_noisy_val is {test.accuracy_noisy_val}, the curve has {accuracy} there"


def _histogram(record: RunRecord) -> Iterator[str]:
    groups = dict(record.score_histogram)
    edges = groups.pop("edges", [])
    if not groups:
        return
    if any(len(counts) != len(edges) - 1 for counts in groups.values()):
        yield "score_histogram needs one edge more than counts"
    total = sum(map(sum, groups.values()))
    if total != n_seen(record):
        yield f"score_histogram counts {total:g} samples, the selector saw {n_seen(record)}"


def _whole(name: str, share: float, n: int) -> Iterator[str]:
    """A share of n samples is a whole number of them."""
    if n > 0 and abs(share * n - round(share * n)) > 1e-6:
        yield f"{name} is {share}, which is not a multiple of 1/{n}"


def _mean_of(name: str, value: float, parts: Sequence[Any], n: int) -> Iterator[str]:
    """A weighted mean is between the least and the greatest of its parts."""
    if len(parts) != n:
        yield f"{name} has {len(parts)} parts, not {n}"
    elif parts and not min(parts) - TOLERANCE <= value <= max(parts) + TOLERANCE:
        yield f"{name} is {value}, its classes are in [{min(parts)}, {max(parts)}]"
