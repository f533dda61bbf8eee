"""Every row of a board against one of its rows: mean difference, Holm's p, a matching interval.

The correction is over the comparisons with that one row only: corrected over all pairs of a board
of thirty methods (435), five seeds would find hardly any difference.

Holm's test is step-down: of m comparisons the one with the smallest p is tested at 5 % / m, the
next at 5 % / (m - 1), and so on; the first that fails stops it, and all that follow fail too. The
interval of a comparison is the t-interval at the level at which it was tested, or for the stopped
ones at which the test stopped. It therefore leaves 0 out exactly where Holm's test finds a
difference, and each by itself covers its true difference at least as often as a 95 % interval. It
does not promise that all intervals of a board cover theirs at once.

Source: Holm, Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from nlbench_leaderboard.ranking.levels import TOLERANCE
from nlbench_leaderboard.ranking.paired import ALPHA, Comparison, holm
from nlbench_leaderboard.ranking.stats import t_quantile


@dataclass(frozen=True)
class Difference:
    """A row's accuracy minus that of another row, over the seeds that both have.

    Attributes:
        n: How many seeds.
        mean: Mean of the paired differences, a share.
        low, high: The interval that matches Holm's test; None where nothing was tested.
        p: Two-sided p of the paired t-test, Holm-corrected; None where nothing was tested.
    """

    n: int
    mean: float
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the corrected test finds a difference at 5 %."""
        return self.p is not None and self.p < ALPHA


def against(
    base: str, comparisons: Iterable[Comparison], tested: Collection[str]
) -> dict[str, Difference]:
    """Compare rows with one row.

    Args:
        base: Name of the row that the others are compared with.
        comparisons: Pairs of a board; those without `base` are passed over.
        tested: Names of the rows whose comparison is tested, and that the correction is for. The
            others get their mean difference only.

    Returns:
        By the name of the other row, its difference to `base`; rows without a shared seed have
        none.
    """
    mine = {c.first: c for c in comparisons if c.second == base}
    mine |= {c.second: _turned(c) for c in comparisons if c.first == base}
    names = [name for name in mine if name in tested]
    corrected = dict(zip(names, holm([mine[name].t_p for name in names]), strict=True))
    levels = dict(zip(names, holm_levels([mine[name].t_p for name in names]), strict=True))
    return {
        name: _difference(c, corrected.get(name), levels.get(name))
        for name, c in mine.items()
        if c.difference is not None
    }


def holm_levels(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the level at which Holm's step-down test looks at each p-value.

    >>> [level and round(level, 4) for level in holm_levels([0.001, 0.04, None, 0.03])]
    [0.0167, 0.025, None, 0.025]
    """
    tests = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    found: list[float | None] = [None] * len(p_values)
    level = 0.0
    goes_on = True
    for step, (p, i) in enumerate(tests):
        if goes_on:
            level = ALPHA / (len(tests) - step)
            goes_on = p < level
        found[i] = level
    return found


def _turned(c: Comparison) -> Comparison:
    difference = None if c.difference is None else -c.difference
    return Comparison(c.second, c.first, c.n, difference, c.sd, c.half_width, c.t_p, c.wilcoxon_p)


def _difference(c: Comparison, p: float | None, level: float | None) -> Difference:
    # Means that are equal but for rounding are equal; and no negative zero.
    mean = c.difference if c.difference and abs(c.difference) > TOLERANCE else 0.0
    if p is None or level is None or c.sd is None:
        return Difference(c.n, mean)
    half = t_quantile(c.n - 1, level) * c.sd / math.sqrt(c.n)
    return Difference(c.n, mean, mean - half, mean + half, p)
