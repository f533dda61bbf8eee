"""An exact share of every class: for noise that keeps its rate, and for stratified subsets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def exact_share_per_class(
    labels: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Mark an exact share of every class: largest-remainder rounding of share x class size.

    Args:
        labels: (N,) in [0, K).
        shares: (K,) in [0, 1].
        rng: Which samples of a class.

    Returns:
        (N,) bool; their number is the rounded total.
    """
    sizes = np.bincount(labels, minlength=len(shares))
    exact = sizes * shares
    counts = np.floor(exact + 1e-9).astype(np.int64)
    missing = round(float(exact.sum())) - int(counts.sum())
    by_remainder = np.argsort(-(exact - counts), kind="stable")
    counts[by_remainder[:missing]] += 1
    shuffled = rng.permutation(len(labels))
    # A stable sort of small integers is a radix sort: linear, one pass for any number of classes.
    small = np.uint16 if len(shares) <= 65536 else np.int64
    order = shuffled[np.argsort(labels[shuffled].astype(small), kind="stable")]
    rank_in_class = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    keep = np.zeros(len(labels), dtype=bool)
    keep[order[rank_in_class < np.repeat(counts, sizes)]] = True
    return keep
