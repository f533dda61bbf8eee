"""Methods over several boards of one protocol: average ranks, Friedman, Nemenyi.

Sources: Friedman, JASA 32 (1937); Nemenyi, PhD thesis, Princeton (1963); both as Demsar,
"Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006), applies them.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from nlbench_leaderboard.ranking.board import RANKED_BY, Board, Row
from nlbench_leaderboard.ranking.grouping import RowKey, tag_rows
from nlbench_leaderboard.ranking.levels import levels
from nlbench_leaderboard.ranking.paired import ALPHA

_Array = npt.NDArray[np.float64]
_RELIABLE_BOARDS = 10
Method = tuple[RowKey, str]
"""A method on all boards: its key, and its selector's own version."""


@dataclass(frozen=True)
class AverageRank:
    """One method's place over the boards; 1 is best."""

    name: str
    rank: float


@dataclass(frozen=True)
class LeftOut:
    """A board (by id) or a method that does not count, with the reason."""

    kind: Literal["board", "method"]
    name: str
    reason: str


@dataclass(frozen=True)
class Across:
    """The methods compared over all boards of one protocol.

    Attributes:
        protocol_id, protocol_sha256: What the boards share.
        boards: Ids of the boards that count.
        ranks: Average ranks, best first.
        friedman, friedman_p: Statistic and p; None below three methods or two boards, or where
            all are equal everywhere.
        critical_difference: Nemenyi's at 5 %: closer average ranks are not significantly different.
        groups: Largest sets of neighbours without a significant difference, as names, best first.
        left_out: Boards and methods that do not count.
        notes: What a reader must know.
    """

    protocol_id: str
    protocol_sha256: str
    boards: tuple[str, ...]
    ranks: tuple[AverageRank, ...]
    friedman: float | None
    friedman_p: float | None
    critical_difference: float | None
    groups: tuple[tuple[str, ...], ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def compare_across(boards: Sequence[Board]) -> tuple[Across, ...]:
    """Compare methods over the boards of each protocol that has at least two with a ranking."""
    by_protocol: dict[str, list[Board]] = {}
    for board in boards:
        by_protocol.setdefault(board.protocol.sha256, []).append(board)
    groups = (([b for b in some if b.best], some) for some in by_protocol.values())
    return tuple(_across(ranked, some) for ranked, some in groups if len(ranked) > 1)


def complete_block(
    has: Mapping[str, Mapping[str, bool]],
) -> tuple[list[str], list[str], list[LeftOut]]:
    """Return boards and methods such that every method is complete on every board.

    As long as a cell is missing, the board or method with the largest share of missing cells is
    left out; of equals a method before a board, and the last by name. Results play no part.

    Args:
        has: Per board and selector, whether the method has every seed there.

    Returns:
        Boards and methods that stay, and what was left out, in that order, with the reason.
    """
    boards, left_out = list(has), list[LeftOut]()
    methods = sorted({name for row in has.values() for name in row})
    while True:
        lacking_s = {s: sum(not has[b].get(s, False) for b in boards) for s in methods}
        lacking_b = {b: sum(not has[b].get(s, False) for s in methods) for b in boards}
        if not any(lacking_s.values()):
            return boards, methods, left_out
        worst_s = max(methods, key=lambda s: (lacking_s[s], s))
        worst_b = max(boards, key=lambda b: (lacking_b[b], b))
        n_b, n_s = len(boards), len(methods)
        if lacking_s[worst_s] / n_b >= lacking_b[worst_b] / n_s:
            methods.remove(worst_s)
            reason = f"not complete on {lacking_s[worst_s]} of {n_b} boards"
            left_out.append(LeftOut("method", worst_s, reason))
        else:
            boards.remove(worst_b)
            reason = f"{lacking_b[worst_b]} of {n_s} methods are not complete on it"
            left_out.append(LeftOut("board", worst_b, reason))


def friedman(values: _Array) -> tuple[float | None, float | None]:
    """Return statistic and p of the Friedman test on (boards, methods) numbers."""
    from scipy.stats import friedmanchisquare

    n_boards, n_methods = values.shape
    if n_boards < 2 or n_methods < 3 or bool((values == values[:, :1]).all()):
        return None, None
    statistic, p = friedmanchisquare(*values.T)
    return float(statistic), float(p)


@functools.cache
def critical_difference(n_methods: int, n_boards: int) -> float:
    """Return Nemenyi's critical difference of average ranks at 5 %.

    >>> print(f"{critical_difference(5, 30):.4f}")
    1.1136
    """
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - ALPHA, n_methods, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(n_methods * (n_methods + 1) / (6 * n_boards))


def inseparable(ranks: Sequence[float], distance: float) -> list[tuple[int, int]]:
    """Return the largest runs [first, last] of sorted ranks that span less than a distance.

    >>> inseparable([1.0, 1.5, 2.4, 4.0], 1.0)
    [(0, 1), (1, 2)]
    """
    runs: list[tuple[int, int]] = []
    for first, low in enumerate(ranks):
        last = max(i for i, rank in enumerate(ranks) if rank - low < distance)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs


def _across(boards: Sequence[Board], every: Sequence[Board]) -> Across:
    names = method_names(boards)
    rows = {board.id: _named_rows(board, names) for board in boards}
    has = {b: {name: row.is_complete for name, row in mine.items()} for b, mine in rows.items()}
    kept, methods, left_out = complete_block(has)
    values = np.array([levels([_mean(rows[b][s]) for s in methods]) for b in kept])
    enough = len(kept) > 1 and len(methods) > 1
    statistic, p = friedman(values) if enough else (None, None)
    distance = critical_difference(len(methods), len(kept)) if enough else None
    ranks = _average_ranks(methods, values) if enough else ()
    groups = inseparable([r.rank for r in ranks], distance) if distance else []
    protocol = boards[0].protocol
    return Across(
        protocol_id=protocol.id,
        protocol_sha256=protocol.sha256,
        boards=tuple(kept),
        ranks=ranks,
        friedman=statistic,
        friedman_p=p,
        critical_difference=distance,
        groups=tuple(tuple(r.name for r in ranks[a : b + 1]) for a, b in groups),
        left_out=(*left_out, *_never_ranked(every, methods)),
        notes=_notes([b for b in boards if b.id in kept], len(methods)),
    )


def method_names(boards: Sequence[Board]) -> dict[Method, str]:
    """Name the ranked methods over all boards: by label, and by version where it has several."""
    rows = (row for board in boards for row in board.rows if row.rank is not None)
    methods = dict.fromkeys(map(method_of, rows))
    tags = tag_rows(key for key, _ in methods)
    n_versions = Counter(key for key, _ in methods)
    names = {}
    for key, version in methods:
        parts = [tags[key], version if n_versions[key] > 1 else ""]
        tag = ", ".join(part for part in parts if part)
        names[key, version] = f"{key.label} [{tag}]" if tag else key.label
    return names


def method_of(row: Row) -> Method:
    """Return what is the same for all rows of one method, whatever their board."""
    return row.key, row.selector_version


def _named_rows(board: Board, names: Mapping[Method, str]) -> dict[str, Row]:
    return {names[method_of(row)]: row for row in board.rows if row.rank is not None}


def _mean(row: Row) -> float:
    return row.stats[RANKED_BY].mean


def _average_ranks(methods: Sequence[str], values: _Array) -> tuple[AverageRank, ...]:
    from scipy.stats import rankdata

    means = rankdata(-values, axis=1).mean(axis=0)
    ranked = (AverageRank(s, float(r)) for s, r in zip(methods, means, strict=True))
    return tuple(sorted(ranked, key=lambda r: (r.rank, r.name)))


def _never_ranked(boards: Sequence[Board], compared: Sequence[str]) -> list[LeftOut]:
    """Name the boards and methods that have nothing but runs of older versions."""
    reason = "all of its runs are from older versions"
    old = [board for board in boards if all(row.older for row in board.rows)]
    others = [board for board in boards if any(not row.older for row in board.rows)]
    rest = [row for board in others for row in board.rows]
    labels = {row.label for row in rest if row.older and not row.bound}
    current = {row.label for row in rest if not row.older}
    return [
        *(LeftOut("board", board.id, reason) for board in old),
        *(LeftOut("method", label, reason) for label in sorted(labels - current - set(compared))),
    ]


def _notes(boards: Sequence[Board], n_methods: int) -> tuple[str, ...]:
    if len(boards) < 2 or n_methods < 2:
        return ("Not compared: fewer than two boards or methods are complete.",)
    notes = []
    if n_methods == 2:
        notes.append("The Friedman test needs three methods.")
    if len(boards) <= _RELIABLE_BOARDS:
        notes.append(
            f"With {_RELIABLE_BOARDS} boards or fewer (here {len(boards)}) the Friedman p is "
            "approximate."
        )
    if len({board.dataset.name for board in boards}) < len(boards):
        notes.append(
            "Boards of one data set share its images and are not independent: as statements about "
            "other data, p and critical difference are too small."
        )
    return tuple(notes)
