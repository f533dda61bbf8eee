"""Whether a board can tell its methods apart at all, and by which rule it cannot.

Three rules, in this order; one is enough:

- *nothing to close*: knowing the clean labels does not help. The oracle's mean is not above that of
  `none`, or with at least five seeds the paired t-test does not find it above (p >= 0.05).
- *small room*: the room from `none` to the oracle is not larger than half the median width of the
  intervals of the differences to the best, which is about what two methods must differ by to be
  told apart.
- *at the top*: of at least five methods with every seed, four in five or more have a mean inside
  the 95 % interval of the best one's mean.

The last two need intervals worth the name: below five seeds they are wide whatever the board is.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from nlbench_leaderboard.ranking.board import Board, Row, Saturation
from nlbench_leaderboard.ranking.levels import TOLERANCE
from nlbench_leaderboard.ranking.paired import LEAST_N

LEAST_METHODS = 5
LEAST_SHARE = 0.8


def saturation(board: Board) -> Saturation | None:
    """Return by which rule a board is saturated, once its rows are compared; None where it is not.

    A board without a ranking is never called saturated.
    """
    methods = [row for row in board.rows if row.rank is not None and row.is_complete]
    if not methods:
        return None
    detectable = _detectable(methods)
    n_near = sum(_is_near(row, methods[0]) for row in methods)
    room = board.room.mean if board.room else None
    found = (room, detectable, n_near, len(methods))
    if board.no_gap == "nothing to close":
        return Saturation("nothing to close", *found)
    if methods[0].n < LEAST_N:
        return None
    if room is not None and detectable is not None and room <= detectable:
        return Saturation("small room", *found)
    if len(methods) >= LEAST_METHODS and n_near >= LEAST_SHARE * len(methods):
        return Saturation("at the top", *found)
    return None


def _detectable(methods: Sequence[Row]) -> float | None:
    """Return half the median width of the intervals of the differences to the best."""
    tested = (row.to_best for row in methods)
    halves = [(d.high - d.low) / 2 for d in tested
              if d and d.low is not None and d.high is not None]  # fmt: skip
    return statistics.median(halves) if halves else None


def _is_near(row: Row, best: Row) -> bool:
    if not row.accuracy or not best.accuracy or not best.accuracy.interval:
        return False
    return row.accuracy.mean >= best.accuracy.interval[0] - TOLERANCE
