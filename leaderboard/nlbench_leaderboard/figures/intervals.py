"""The accuracy axis of a board's interval plots; the template draws on it."""

from __future__ import annotations

from nlbench_leaderboard.figures.scale import Scale, focus
from nlbench_leaderboard.ranking.board import Board, Row

WIDTH = 200
_PAD = 10


def axis_of(board: Board) -> Scale | None:
    """Return the axis of a board from its ranked rows, or None with nothing to show.

    A selector that collapsed or has a huge interval must not squeeze all others together: such a
    mean, and a bound that is far away, may lie outside, and an interval widens the axis by at most
    half of its length.
    """
    summaries = [(row, row.accuracy) for row in board.rows if row.accuracy]
    if not summaries:
        return None
    means = [s.mean for row, s in summaries if row.rank is not None]
    others = [s.mean for row, s in summaries if row.rank is None]
    low, high = focus(means or others, others)
    inside = [s for _, s in summaries if low <= s.mean <= high]
    ends = [m for s in inside for m in (s.interval or (s.mean, s.mean))]
    room = (high - low) / 2
    low, high = max(0.0, low - room, min(low, *ends)), min(1.0, high + room, max(high, *ends))
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
