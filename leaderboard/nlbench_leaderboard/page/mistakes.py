"""The mistakes of a run, counted: wrong labels that were kept, misclassified test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nlbench.results.record import RunRecord

if TYPE_CHECKING:
    from nlbench.contribution import Evidence

N_PAIRS = 10
MAX_CLASSES = 20
"""With at most this many classes a matrix or a list of classes is shown in full."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """How often `n` of `of` samples of class `first` were mistaken for class `second`."""

    first: int
    second: int
    n: int
    of: int


@dataclass(frozen=True)
class ClassResult:
    """One class: wrong labels in it, how many of its right ones were kept, test accuracy."""

    index: int
    noise_rate: float | None
    recall: float | None
    accuracy: float | None


def kept_pairs(evidence: Evidence, n_classes: int) -> list[Pair] | None:
    """Return the pairs (clean, noisy) of wrong labels that were kept, most frequent first.

    `of` counts the wrong labels of that pair, kept or not. None where the clean labels are unknown.

    Raises:
        ValueError: if the arrays do not match each other or the classes.
    """
    if evidence.clean_label is None:
        return None
    wrong = _counted(evidence.clean_label, evidence.noisy_label, n_classes)
    if len(evidence.keep) != len(evidence.noisy_label):
        raise ValueError("keep and the labels differ in length")
    keep = evidence.keep
    kept = _counted(evidence.clean_label[keep], evidence.noisy_label[keep], n_classes)
    return off_diagonal(kept, wrong)


def prediction_matrix(evidence: Evidence, n_classes: int) -> Counts | None:
    """Return (K, K) counts, row = class of the test image, column = predicted; None without them.

    Raises:
        ValueError: if the arrays do not match each other or the classes.
    """
    if evidence.test_label is None or evidence.predicted is None:
        return None
    return _counted(evidence.test_label, evidence.predicted, n_classes)


def off_diagonal(counts: Counts, whole: Counts | None = None) -> list[Pair]:
    """Return the pairs of unequal classes that occur, most frequent first.

    Args:
        counts: (K, K).
        whole: (K, K) what `of` is taken from; the sum of the row where left out.
    """
    rows, columns = np.nonzero(counts)
    of = np.broadcast_to(counts.sum(1, keepdims=True), counts.shape) if whole is None else whole
    pairs = [
        Pair(int(i), int(j), int(counts[i, j]), int(of[i, j]))
        for i, j in zip(rows, columns, strict=True)
        if i != j
    ]
    return sorted(pairs, key=lambda pair: (-pair.n, pair.first, pair.second))


def worst_classes(record: RunRecord) -> list[ClassResult]:
    """Return the classes by test accuracy, worst first; ten of them where there are many."""
    metrics, n = record.metrics, record.dataset.n_classes
    if metrics is None:
        return []
    accuracy, recall = metrics.test.accuracy_per_class, metrics.selection.recall_per_class
    rates = record.noise.realized_rate_per_class
    results = [ClassResult(i, _at(rates, i), _at(recall, i), _at(accuracy, i)) for i in range(n)]
    measured = [c for c in results if c.recall is not None or c.accuracy is not None]

    def badness(result: ClassResult) -> tuple[float, float]:
        values = (result.accuracy, result.recall)
        low, then = (2.0 if value is None else value for value in values)
        return low, then

    worst = sorted(measured, key=badness)
    return worst if n <= MAX_CLASSES else worst[:N_PAIRS]


def _at(values: Sequence[float | None], index: int) -> float | None:
    return values[index] if index < len(values) else None


def _counted(first: Counts, second: Counts, n_classes: int) -> Counts:
    if len(first) != len(second):
        raise ValueError("two arrays of labels differ in length")
    for labels in (first, second):
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
            raise ValueError(f"a label is outside of [0, {n_classes})")
    cells = np.bincount(first * n_classes + second, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes)
