"""How every row of a board compares with the best one and with `none`.

The best row is the ranked one with every seed and the highest mean; rows with the same mean are
best as well. Another row with every seed is *worse* where the paired t-test against the best,
Holm-corrected over the comparisons with the best, has p < 0.05, and *not separable* where it has
not and there are at least five seeds. With fewer seeds the corrected test misses large differences,
so that "not significant" says nothing: *not tested*.

In the same way, corrected over the comparisons with `none`, a row is *better* or *worse* than it.
Where the test finds neither, a row whose mean is not above that of `none` is *no better*, and one
whose mean is above it is *not separable*.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from nlbench_leaderboard.ranking.board import Board, NoGap, NoneVerdict, Row, Verdict
from nlbench_leaderboard.ranking.gap import gap_closed
from nlbench_leaderboard.ranking.levels import TOLERANCE
from nlbench_leaderboard.ranking.paired import ALPHA, LEAST_N, Comparison, compare_all
from nlbench_leaderboard.ranking.saturation import saturation
from nlbench_leaderboard.ranking.versus import Difference, against


def compare_rows(rows: Sequence[Row]) -> tuple[Comparison, ...]:
    """Compare all pairs of ranked rows, and these with the lower reference, by last accuracy."""
    mine = [r for r in rows if r.accuracy and not r.older and r.bound != "upper"]
    return compare_all([(row.name, row.accuracies()) for row in mine])


def judge(board: Board) -> Board:
    """Return the board with each row compared with the best and with `none`."""
    none, oracle = board.bound("lower"), board.bound("upper")
    pairs = (*board.comparisons, *_of_the_oracle(board, oracle))
    to_best = _differences(board, pairs, board.best)
    to_none = _differences(board, pairs, none)
    room = to_none.get(oracle.name) if oracle else None
    no_gap = _no_gap(none, oracle, room)
    judged = dataclasses.replace(board, room=room, no_gap=no_gap)
    rows = tuple(_judged(judged, row, to_best, to_none) for row in board.rows)
    judged = dataclasses.replace(judged, rows=rows)
    return dataclasses.replace(judged, saturation=saturation(judged))


def _of_the_oracle(board: Board, oracle: Row | None) -> list[Comparison]:
    """Compare the oracle with the best and with `none`: two tests that correct no others."""
    others = (row for row in (board.best, board.bound("lower")) if row and oracle)
    return [
        pair
        for other in others
        for pair in compare_all([(r.name, r.accuracies()) for r in (oracle, other) if r])
    ]


def _differences(
    board: Board, pairs: Sequence[Comparison], base: Row | None
) -> dict[str, Difference]:
    """Return the difference of every row to one; tested are the ranked rows with every seed."""
    if base is None:
        return {}
    tested = {r.name for r in board.rows if r.rank is not None and r.is_complete}
    found = against(base.name, pairs, tested if base.is_complete else ())
    oracle = board.bound("upper")
    if oracle and base.bound == "lower":
        alone = against(base.name, pairs, {oracle.name})
        found |= {name: d for name, d in alone.items() if name == oracle.name}
    return found


def _judged(
    board: Board,
    row: Row,
    to_best: Mapping[str, Difference],
    to_none: Mapping[str, Difference],
) -> Row:
    cells = [bound.accuracies() for which in ("lower", "upper") if (bound := board.bound(which))]
    has_gap = not board.no_gap and row.rank is not None
    return dataclasses.replace(
        row,
        to_best=to_best.get(row.name),
        to_none=to_none.get(row.name),
        verdict=_verdict(board, row, to_best.get(row.name)),
        none_verdict=_none_verdict(row, to_none.get(row.name)),
        gap=gap_closed(row.accuracies(), *cells) if has_gap else None,
    )


def _no_gap(none: Row | None, oracle: Row | None, room: Difference | None) -> NoGap:
    if none is None:
        return "no none"
    if oracle is None:
        return "no oracle"
    if room is None or room.mean <= TOLERANCE:
        return "nothing to close"
    unclear = room.n >= LEAST_N and room.p is not None and room.p >= ALPHA
    return "nothing to close" if unclear else ""


def _verdict(board: Board, row: Row, to_best: Difference | None) -> Verdict:
    best = board.best
    if best is None or not best.is_complete or row.rank is None or not row.is_complete:
        return ""
    if row.rank == best.rank:
        return "best" if _n_ranked(board) > 1 else ""
    if to_best is None or to_best.p is None:
        return "not tested"
    if to_best.is_significant:
        return "worse"
    return "not separable" if to_best.n >= LEAST_N else "not tested"


def _n_ranked(board: Board) -> int:
    return sum(row.rank is not None for row in board.rows)


def _none_verdict(row: Row, to_none: Difference | None) -> NoneVerdict:
    if to_none is None or row.rank is None or not row.is_complete:
        return ""
    if to_none.is_significant:
        return "better" if to_none.mean > 0 else "worse"
    is_same = abs(to_none.mean) <= TOLERANCE
    if to_none.n < LEAST_N or (to_none.p is None and not is_same):
        return "not tested"
    return "not separable" if to_none.mean > TOLERANCE else "no better"
