"""The numbers behind the figures: pure functions from records to curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nlbench.results.record import RunRecord
from nlbench_leaderboard.ranking.board import Row
from nlbench_leaderboard.ranking.levels import TOLERANCE

_Array = npt.NDArray[np.float64]

RECALLS: _Array = np.round(np.arange(0.02, 1.001, 0.02), 2)
N_BINS = 40
COST_COLUMNS = ("embed_time_s", "select_time_s", "train_time_s")


def finished(row: Row) -> list[RunRecord]:
    """Return the records of a row that count."""
    return [run.record for run in row.runs if run.status == "finished"]


def precision_at_recalls(record: RunRecord) -> _Array | None:
    """Return the precision at each of `RECALLS` when samples are kept from the highest score down.

    The record has the scores as a histogram; within a bin, clean and noisy samples are assumed to
    be mixed evenly, which is how to interpolate counts between two thresholds (Davis and Goadrich,
    ICML 2006, section 4).

    Returns:
        (len(RECALLS),), or None where the record has no counts of clean and noisy samples.
    """
    histogram = record.score_histogram
    clean, noisy = histogram.get("clean"), histogram.get("noisy")
    if not clean or not noisy or sum(clean) == 0:
        return None
    kept_clean = np.concatenate([[0.0], np.cumsum(clean[::-1])])
    kept_noisy = np.concatenate([[0.0], np.cumsum(noisy[::-1])])
    # A little less, so that of several thresholds with one recall the best one is taken.
    true = RECALLS * kept_clean[-1] * (1 - 1e-9)
    false = np.interp(true, kept_clean, kept_noisy)
    return np.asarray(true / (true + false))


def mean_curve(curves: Sequence[_Array | None]) -> _Array | None:
    """Return the mean over seeds; None unless every seed has a curve."""
    complete = [curve for curve in curves if curve is not None]
    if not complete or len(complete) < len(curves):
        return None
    return np.asarray(np.mean(complete, axis=0))


def mean_histogram(records: Sequence[RunRecord]) -> tuple[_Array, _Array, _Array] | None:
    """Return the mean of the score histograms of several seeds.

    Each seed has its own edges. Their counts are moved to `N_BINS` common bins, a count spread
    evenly over its bin.

    Returns:
        Edges (N_BINS + 1,), clean and noisy samples per bin (N_BINS,), or None where a record has
        no such counts.
    """
    histograms = [r.score_histogram for r in records]
    if not histograms or not all(h.get("clean") and h.get("noisy") for h in histograms):
        return None
    low, high = min(h["edges"][0] for h in histograms), max(h["edges"][-1] for h in histograms)
    edges = np.linspace(low, high, N_BINS + 1)
    clean, noisy = (
        np.mean([_rebinned(h["edges"], h[kind], edges) for h in histograms], axis=0)
        for kind in ("clean", "noisy")
    )
    return edges, clean, noisy


def quantiles(edges: _Array, counts: _Array, shares: Sequence[float]) -> list[float] | None:
    """Return the scores below which these shares of the samples are; None without samples."""
    total = np.concatenate([[0.0], np.cumsum(counts)])
    if total[-1] <= 0:
        return None
    return [float(np.interp(share * total[-1], total, edges)) for share in shares]


def learning_curve(records: Sequence[RunRecord]) -> tuple[_Array, _Array, _Array] | None:
    """Return mean, lowest and highest test accuracy over seeds after each epoch.

    Returns:
        Three arrays (n_epochs,), or None where a record lacks the curve or a value.
    """
    curves = [r.curves.get("test_accuracy") or [None] for r in records]
    if not curves or any(value is None for curve in curves for value in curve):
        return None
    n_epochs = min(map(len, curves))
    values = np.array([curve[:n_epochs] for curve in curves], dtype=np.float64)
    return values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def thinned(n: int, most: int = 60) -> list[int]:
    """Return at most so many indices below n, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, most))})


def cost(row: Row) -> float | None:
    """Return the mean seconds of embedding, selection and training; None if one is missing."""
    parts = [row.stats.get(key) for key in COST_COLUMNS]
    seconds = [part.mean for part in parts if part is not None]
    return sum(seconds) if len(seconds) == len(COST_COLUMNS) and sum(seconds) > 0 else None


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the (cost, accuracy) that no other beats in both, cheapest first.

    >>> pareto_front([(1.0, 0.8), (2.0, 0.7), (3.0, 0.9)])
    [0, 2]
    """
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1] + TOLERANCE:
            front.append(i)
    return front


def _rebinned(edges: Sequence[float], counts: Sequence[float], new_edges: _Array) -> _Array:
    total = np.concatenate([[0.0], np.cumsum(counts)])
    return np.diff(np.interp(new_edges, edges, total))
