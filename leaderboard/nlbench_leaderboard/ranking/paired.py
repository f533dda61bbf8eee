"""Two selectors over the same seeds: paired t-test and Wilcoxon's signed ranks, Holm-corrected.

A pair is compared only on the seeds where both have a finished run on the same noisy labels.
Numbers that were not measured, and tests that cannot be made, are None.

Sources: Holm, Scandinavian Journal of Statistics 6 (1979); Wilcoxon, Biometrics Bulletin 1 (1945).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nlbench_leaderboard.ranking.levels import levels
from nlbench_leaderboard.ranking.stats import t_quantile

ALPHA = 0.05
LEAST_N = 5
"""With fewer seeds, that a test finds nothing says nothing."""
LEAST_N_T = 2
LEAST_N_WILCOXON = 6
"""With n non-zero differences the smallest two-sided p is 2 / 2^n: 0.0625 for five of them."""

Cell = tuple[str, int]
"""The SHA-256 of the noisy labels, and the seed."""

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """What n shared seeds say about `first` minus `second`.

    Attributes:
        first, second: Names of the rows; `first` is higher on the board.
        n: Seeds that both have, with the same noisy labels.
        difference: Mean of the paired differences, None for n = 0.
        sd: Their sample SD, None below n = 2.
        half_width: Half the 95 % t-interval of the mean difference, not corrected.
        t_p, wilcoxon_p: Two-sided p; None where the test cannot be made.
        t_p_holm, wilcoxon_p_holm: The same, corrected over all pairs of the board that have one.
    """

    first: str
    second: str
    n: int
    difference: float | None
    sd: float | None
    half_width: float | None
    t_p: float | None
    wilcoxon_p: float | None
    t_p_holm: float | None = None
    wilcoxon_p_holm: float | None = None

    @property
    def never_differs(self) -> bool:
        """Whether the two have the same number on every one of at least two seeds."""
        return self.n >= LEAST_N_T and self.difference == 0 and self.sd == 0

    @property
    def significant(self) -> bool | None:
        """Whether the corrected t-test finds a difference at 5 %; None where there is none."""
        if self.never_differs:
            return False
        return None if self.t_p_holm is None else self.t_p_holm < ALPHA


def compare_all(rows: Sequence[tuple[str, Mapping[Cell, float]]]) -> tuple[Comparison, ...]:
    """Compare every pair of rows.

    Args:
        rows: In the order of the board, the name of each and its number in each cell.

    Returns:
        One comparison per pair, in the order of the rows.
    """
    pairs = list(itertools.combinations(rows, 2))
    deltas = [_deltas(a, b) for (_, a), (_, b) in pairs]
    t_ps = _t_tests(deltas)
    signed_ps = [wilcoxon_p(delta) for delta in deltas]
    corrected = zip(holm(t_ps), holm(signed_ps), strict=True)
    return tuple(
        Comparison(a, b, *_describe(delta), t_p, signed_p, *both)
        for ((a, _), (b, _)), delta, t_p, signed_p, both in zip(
            pairs, deltas, t_ps, signed_ps, corrected, strict=True
        )
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for having many of them, by Holm's step-down rule.

    Args:
        p_values: In any order; None is no test, counts for nothing and stays None.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    tests = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for step, (p, i) in enumerate(tests):
        highest = max(highest, min(1.0, (len(tests) - step) * p))
        corrected[i] = highest
    return corrected


def wilcoxon_p(differences: _Array) -> float | None:
    """Return the exact two-sided p of the signed-rank test, zeros dropped.

    scipy's exact distribution does not handle ties, which are common in accuracies, and its
    permutations grow as 2^n; here the distribution over all signs is counted, with mid-ranks.

    Returns:
        None below six non-zero differences: p < 0.05 could not be reached.
    """
    from scipy.stats import rankdata

    nonzero = differences[differences != 0]
    if len(nonzero) < LEAST_N_WILCOXON:
        return None
    # Mid-ranks are halves: doubled, they are whole numbers.
    ranks = np.rint(2 * rankdata(np.abs(nonzero))).astype(int)
    positive = int(ranks[nonzero > 0].sum())
    tail = _signs_at_most(tuple(sorted(ranks.tolist())), min(positive, int(ranks.sum()) - positive))
    return min(1.0, 2 * tail)


def least_n_wilcoxon(n_pairs: int) -> int:
    """Return the fewest seeds with which Wilcoxon's test can pass Holm's first step of `n_pairs`.

    >>> least_n_wilcoxon(1), least_n_wilcoxon(21)
    (6, 10)
    """
    n = LEAST_N_WILCOXON
    while max(n_pairs, 1) * 2.0 ** (1 - n) >= ALPHA:
        n += 1
    return n


def _deltas(first: Mapping[Cell, float], second: Mapping[Cell, float]) -> _Array:
    shared = sorted(first.keys() & second.keys())
    deltas = np.array([first[c] - second[c] for c in shared], dtype=np.float64)
    # Differences of equal counts are equal, and zero where the counts are.
    sizes = levels([0.0, *np.abs(deltas).tolist()])[1:]
    return np.copysign(sizes, deltas)


def _describe(delta: _Array) -> tuple[int, float | None, float | None, float | None]:
    n = len(delta)
    if n == 0:
        return 0, None, None, None
    mean = math.fsum(delta) / n
    if n < LEAST_N_T:
        return n, mean, None, None
    sd = _sd(delta)
    return n, mean, sd, t_quantile(n - 1) * sd / math.sqrt(n)


def _sd(delta: _Array) -> float:
    # All equal: rounding in their mean must not look like a spread.
    return 0.0 if np.ptp(delta) == 0 else float(np.std(delta, ddof=1))


def _t_tests(deltas: Sequence[_Array]) -> list[float | None]:
    """Test all pairs of one n at once; a difference that never varies has no t."""
    from scipy.stats import ttest_1samp

    p_values: list[float | None] = [None] * len(deltas)
    by_n: dict[int, list[int]] = {}
    for i, delta in enumerate(deltas):
        if len(delta) >= LEAST_N_T and _sd(delta) > 0:
            by_n.setdefault(len(delta), []).append(i)
    for members in by_n.values():
        tested = ttest_1samp(np.stack([deltas[i] for i in members]), 0.0, axis=1).pvalue
        for i, p in zip(members, tested, strict=True):
            p_values[i] = float(p)
    return p_values


@functools.lru_cache(maxsize=4096)
def _signs_at_most(ranks: tuple[int, ...], limit: int) -> float:
    """Return the share of all 2^n choices of signs whose positive ranks sum to at most `limit`."""
    counts = np.zeros(sum(ranks) + 1)
    counts[0] = 1.0
    for rank in ranks:
        counts[rank:] += counts[:-rank].copy()
        counts /= 2  # a share from the start: counts of 2^n signs would overflow
    return float(counts[: limit + 1].sum())
