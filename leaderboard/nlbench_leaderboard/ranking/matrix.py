"""All methods on all boards of one protocol: how much of the gap each closes on each board.

The column over all boards is the mean gain over `none` divided by the mean room from `none` to the
oracle, both over the same boards. A mean of the boards' own ratios would be decided by the boards
with the least room. It is taken over the boards on which methods can be compared (the complete
block of `nlbench_leaderboard.ranking.across`); a method that is not complete on each of these is
listed below the others, with how many boards its number is of.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from nlbench_leaderboard.ranking.across import Across, Method, method_names, method_of
from nlbench_leaderboard.ranking.board import Board, Row


@dataclass(frozen=True)
class Overall:
    """What a method closes over several boards: its mean gain over `none`, of the mean room."""

    gain: float
    room: float
    n_boards: int

    @property
    def closed(self) -> float:
        """The gap closed over all of these boards."""
        return self.gain / self.room


@dataclass(frozen=True)
class Line:
    """One method: its row on each board, None where it has no run, and what it closes overall.

    `rank` is the average rank of `Across`, None where the method is not compared there.
    `knowledge` is what it uses beyond noisy labels, on any of the boards.
    """

    name: str
    cells: tuple[Row | None, ...]
    overall: Overall | None
    rank: float | None
    knowledge: tuple[str, ...]


@dataclass(frozen=True)
class Matrix:
    """Methods by boards, for the boards of one protocol.

    Attributes:
        boards: The columns.
        settings: The noise of each board in words, by the board's id, and in what it differs from
            a board like it.
        counted: Ids of the boards that the order of the methods is by.
        lines: The methods, the one that closes most first; where no board has a gap to close, by
            average rank.
    """

    protocol_id: str
    protocol_sha256: str
    boards: tuple[Board, ...]
    settings: Mapping[str, str]
    counted: tuple[str, ...]
    lines: tuple[Line, ...]


def matrices_of(boards: Sequence[Board], across: Sequence[Across]) -> tuple[Matrix, ...]:
    """Return a matrix for each protocol that has at least two boards with a current run."""
    by_protocol: dict[str, list[Board]] = {}
    for board in boards:
        if any(_is_shown(row) for row in board.rows):
            by_protocol.setdefault(board.protocol.sha256, []).append(board)
    compared = {one.protocol_sha256: one for one in across}
    return tuple(
        _matrix(some, compared.get(sha)) for sha, some in by_protocol.items() if len(some) > 1
    )


def _is_shown(row: Row) -> bool:
    return not row.older and not row.bound


def _matrix(boards: Sequence[Board], across: Across | None) -> Matrix:
    # A heading for each data set spans its boards, so these must stand together.
    boards = sorted(boards, key=lambda board: board.words.data)
    ranks = {one.name: one.rank for one in across.ranks} if across else {}
    within = across.boards if across and across.ranks else [board.id for board in boards]
    counted = tuple(b.id for b in boards if b.id in within and any(row.gap for row in b.rows))
    rows = _rows_of(boards)
    lines = [
        Line(name, cells, _overall(boards, cells, counted), ranks.get(name), _knowledge(cells))
        for name, cells in rows.items()
    ]
    return Matrix(
        protocol_id=boards[0].protocol.id,
        protocol_sha256=boards[0].protocol.sha256,
        boards=tuple(boards),
        settings={b.id: " · ".join(filter(None, (b.words.noise, b.words.extra))) for b in boards},
        counted=counted,
        lines=tuple(sorted(lines, key=lambda line: _place(line, len(counted)))),
    )


def _rows_of(boards: Sequence[Board]) -> dict[str, tuple[Row | None, ...]]:
    """Return the row of each method on each board, by the method's name."""
    names = method_names(boards)
    found: dict[str, dict[str, Row]] = {}
    for board in boards:
        for row in filter(_is_shown, board.rows):
            found.setdefault(_name(row, names), {}).setdefault(board.id, row)
    return {name: tuple(mine.get(b.id) for b in boards) for name, mine in found.items()}


def _name(row: Row, names: Mapping[Method, str]) -> str:
    known = names.get(method_of(row))
    if known is not None:
        return known
    # A run that failed early may not know its version: it belongs to the only one of its method.
    same = [name for (key, _), name in names.items() if key == row.key]
    return same[0] if len(same) == 1 else row.name


def _knowledge(cells: Sequence[Row | None]) -> tuple[str, ...]:
    return tuple(sorted({text for row in cells if row for text in row.knowledge}))


def _overall(
    boards: Sequence[Board], cells: Sequence[Row | None], counted: Collection[str]
) -> Overall | None:
    gaps = [row.gap for board, row in zip(boards, cells, strict=True)
            if board.id in counted and row and row.is_complete and row.gap]  # fmt: skip
    if not gaps:
        return None
    gain, room = (math.fsum(numbers) / len(gaps) for numbers in
                  ([gap.gain for gap in gaps], [gap.room for gap in gaps]))  # fmt: skip
    return Overall(gain, room, len(gaps))


def _place(line: Line, n_counted: int) -> tuple[bool, float, float, str]:
    """Return what sorts the methods: complete ones first, by gap, by rank, by name."""
    closed = line.overall.closed if line.overall else -math.inf
    is_complete = line.overall is not None and line.overall.n_boards == n_counted
    rank = math.inf if line.rank is None else line.rank
    return (not is_complete, -closed, rank, line.name)
