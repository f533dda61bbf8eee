"""The accuracy axis of a board's interval plots; the template draws on it."""

from __future__ import annotations

from nlbench_leaderboard.figures.scale import Scale
from nlbench_leaderboard.ranking.board import Board, Row

WIDTH = 200
_PAD = 10


def axis_of(board: Board) -> Scale | None:
    """Return the axis of a board from its means and intervals, or None with nothing to show.

    One selector with a huge interval must not squeeze all others together, so an interval
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
    return Scale(low, high, _PAD, WIDTH - _PAD, most=5)


def describe(row: Row) -> str:
    """Return what the plot of a row shows, in words for screen readers."""
    if row.accuracy is None:
        return "no result"
    text = f"mean {100 * row.accuracy.mean:.2f} percent"
    interval = row.accuracy.interval
    if interval is None:
        return f"{text}, single seed, no interval"
    return f"{text}, 95 percent interval {100 * interval[0]:.2f} to {100 * interval[1]:.2f}"
