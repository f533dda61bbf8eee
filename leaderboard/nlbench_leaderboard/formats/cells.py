"""The cells of the matrix of methods by boards, as every format shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nlbench_leaderboard.formats.numbers import (
    difference_text,
    percent,
    versus_best_text,
    versus_none_text,
)
from nlbench_leaderboard.ranking.board import Board, Row
from nlbench_leaderboard.ranking.matrix import Matrix, Overall

Kind = Literal["absent", "undone", "part", "plain", "muted", "open", "below", "shown"]
Mark = Literal["", "best", "close"]
_STEPS = 5
_NO_GAP = {"no oracle": "no oracle", "no none": "no reference", "nothing to close": "no gap"}


@dataclass(frozen=True)
class Cell:
    """One method on one board, in text.

    Attributes:
        kind: `absent` has no run and `undone` no finished one; `part` lacks seeds; `plain` is an
            accuracy without a gap to close. The others have a gap: `muted` cannot be told apart
            from `none`, `open` was not tested, `below` is worse than `none`, `shown` is better.
        mark: Whether it is the best of its board, or not separable from that.
        text: The gap closed without its unit, or the word for a run.
        second: The accuracy in percent, or the seeds it rests on.
        step: Which fifth of the gap, 1 to 5; above it is 5 as well.
        details: All of it in words.
    """

    kind: Kind
    mark: Mark
    text: str
    second: str
    step: int
    details: str


def cell_of(row: Row | None, board: Board) -> Cell:
    """Return how a method is shown on a board."""
    if row is None:
        return Cell("absent", "", "–", "", 0, "not run")
    if row.accuracy is None:
        return Cell("undone", "", row.status, "", 0, row.status)
    accuracy = percent(row.accuracy.mean, 1)
    closed = gap_text(row.gap.closed) if row.gap else ""
    details = _details(row)
    if not row.is_complete:
        seeds = f"{row.n} of {row.n_expected} seeds"
        return Cell("part", "", f"({closed or accuracy})", seeds, 0, details)
    mark = _mark(row)
    if not row.gap or board.no_gap:
        return Cell("plain", mark, "", accuracy, 0, details)
    step = min(_STEPS, max(1, 1 + int(_STEPS * row.gap.closed)))
    return Cell(_kind(row), mark, closed, accuracy, step, details)


def heading_of(board: Board) -> str:
    """Return what is said below the heading of a board: its seeds, and whether it lacks a gap."""
    n = len(board.seeds)
    lacks = f", {_NO_GAP[board.no_gap]}" if board.no_gap else ""
    return f"n={n}{lacks}"


def overall_text(overall: Overall | None, matrix: Matrix) -> tuple[str, str]:
    """Return what a method closes over all boards, and of how many where it is not all of them."""
    if overall is None:
        return "–", ""
    is_part = overall.n_boards < len(matrix.counted)
    part = f"{overall.n_boards} of {len(matrix.counted)}" if is_part else ""
    return gap_text(overall.closed), part


def gap_text(closed: float) -> str:
    """Return a share of the gap in percent without its unit.

    >>> gap_text(0.634), gap_text(-5.155), gap_text(-0.001)
    ('63', '−516', '0')
    """
    return f"{round(100 * closed) + 0:d}".replace("-", "−")


def _mark(row: Row) -> Mark:
    if row.verdict == "best":
        return "best"
    return "close" if row.verdict == "not separable" else ""


def _kind(row: Row) -> Kind:
    if row.none_verdict in ("not separable", "no better"):
        return "muted"
    if row.none_verdict == "worse":
        return "below"
    return "shown" if row.none_verdict == "better" else "open"


def _details(row: Row) -> str:
    """Return the numbers of a cell in words: for a tooltip, and for who cannot see colours."""
    accuracy = "" if row.accuracy is None else f"accuracy {percent(row.accuracy.mean)} %"
    gap = ""
    if row.gap:
        gap = f"closes {gap_text(row.gap.closed)} % of the gap"
        if row.gap.low is not None and row.gap.high is not None:
            gap += f" (95 % interval {gap_text(row.gap.low)} to {gap_text(row.gap.high)})"
    best = versus_best_text(row)
    if row.to_best and best != "best":
        best = f"to the best {difference_text(row.to_best)} points{f', {best}' if best else ''}"
    return "; ".join(filter(None, (accuracy, gap, best, versus_none_text(row))))
