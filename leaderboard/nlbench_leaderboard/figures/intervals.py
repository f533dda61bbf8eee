"""Where the marks of a board's interval plots go; the template only draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nlbench_leaderboard.ranking.board import Board, Row

WIDTH = 200
_PAD = 10


@dataclass(frozen=True)
class Axis:
    """The shared accuracy axis of a board: shares `low` to `high`, over `WIDTH` units."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def x(self, share: float) -> float:
        """Return the position of a share, kept inside the plot."""
        part = (share - self.low) / (self.high - self.low)
        return round(_PAD + (WIDTH - 2 * _PAD) * min(max(part, 0.0), 1.0), 2)

    def holds(self, share: float) -> bool:
        """Return whether a share lies on the axis; an interval that leaves it gets an arrow."""
        return self.low <= share <= self.high


def axis_of(board: Board) -> Axis | None:
    """Choose the axis of a board from its means and intervals, or None with nothing to show.

    One selector with a huge interval must not squeeze all others into a line, so an interval
    widens the axis by at most half the spread of the means.
    """
    summaries = [row.accuracy for row in board.rows if row.accuracy]
    if not summaries:
        return None
    means = [s.mean for s in summaries]
    room = max((max(means) - min(means)) / 2, 0.01)
    ends = [m for s in summaries for m in (s.interval or (s.mean, s.mean))]
    low = max(0.0, min(*means, max(min(ends), min(means) - room)))
    high = min(1.0, max(*means, min(max(ends), max(means) + room)))
    if high - low < 0.01:
        low, high = max(0.0, low - 0.01), min(1.0, high + 0.01)
    return Axis(low, high, _ticks(low, high))


def describe(row: Row) -> str:
    """Say in words what the plot of a row shows, for those who do not see it."""
    if row.accuracy is None:
        return "no result"
    text = f"mean {100 * row.accuracy.mean:.2f} percent"
    interval = row.accuracy.interval
    if interval is None:
        return f"{text}, single seed, no interval"
    return f"{text}, 95 percent interval {100 * interval[0]:.2f} to {100 * interval[1]:.2f}"


def _ticks(low: float, high: float) -> tuple[float, ...]:
    """Return three to six round values; counted in whole steps, so that no error adds up."""
    for step in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first <= 4:
            return tuple(i * step for i in range(first, last + 1))
    return (low, high)
