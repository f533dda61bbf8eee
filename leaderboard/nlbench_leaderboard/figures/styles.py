"""Which rows a figure draws in colour, and in which: one look per method on the whole page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nlbench_leaderboard.figures.chart import MOST_SERIES, N_COLOURS, OTHER
from nlbench_leaderboard.ranking.board import RANKED_BY, Board, Row
from nlbench_leaderboard.ranking.grouping import RowKey
from nlbench_leaderboard.ranking.levels import levels

Places = Mapping[RowKey, int]
MOST_LINES = 40
"""More lines than this only make the drawing larger."""


class Drawn(NamedTuple):
    """The rows of a figure: bounds, those in colour, those in grey, and how many there are."""

    bounds: tuple[Row, ...]
    best: tuple[Row, ...]
    others: tuple[Row, ...]
    n_all: int

    @property
    def named(self) -> tuple[Row, ...]:
        """The rows that have their name in the drawing."""
        return (*self.bounds, *self.best)

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows that are drawn, the best ones first."""
        return (*self.named, *self.others)

    @property
    def note(self) -> str:
        """What is said of rows that are grey or left out; nothing where all are in colour."""
        n = len(self.best) + len(self.others)
        if n == len(self.best) == self.n_all:
            return ""
        grey = "The others are grey: their names are under the pointer and in the table."
        if n == self.n_all:
            return f" The best {len(self.best)} are in colour. {grey}"
        return (
            f" {n} of {self.n_all} methods are drawn, the best {len(self.best)} in colour. {grey}"
        )

    def style(self, row: Row, places: Places) -> int | str:
        """Return the style of a row in this figure."""
        if row.bound:
            return row.bound
        return places[row.key] if row in self.best else OTHER


def drawn(rows: Sequence[Row]) -> Drawn:
    """Return what is drawn of these rows, which are in order of rank."""
    methods = [row for row in rows if not row.bound]
    return Drawn(
        tuple(row for row in rows if row.bound),
        tuple(methods[:MOST_SERIES]),
        tuple(methods[MOST_SERIES:MOST_LINES]),
        len(methods),
    )


def current(board: Board) -> list[Row]:
    """Return the rows of a board that no newer version replaces, in order of rank."""
    return [row for row in board.rows if not row.older]


def style_places(boards: Sequence[Board]) -> dict[RowKey, int]:
    """Return a number for each selector of a page: its look in every figure.

    Numbers are unique, and two selectors that one board draws in colour have different colours as
    long as eight are enough for all boards together; beyond that dashes and markers differ.
    """
    beside = _drawn_beside(boards)
    order = _best_first(boards)
    free = list(range(len(order) + 5 * N_COLOURS))
    places: dict[RowKey, int] = {}
    for key in order:
        used = {places[other] % N_COLOURS for other in beside.get(key, ()) if other in places}
        place = next((number for number in free if number % N_COLOURS not in used), free[0])
        free.remove(place)
        places[key] = place
    return places


def _drawn_beside(boards: Sequence[Board]) -> dict[RowKey, set[RowKey]]:
    beside: dict[RowKey, set[RowKey]] = {}
    for board in boards:
        keys = {row.key for row in drawn([r for r in current(board) if r.accuracy]).best}
        for key in keys:
            beside.setdefault(key, set()).update(keys - {key})
    return beside


def _best_first(boards: Sequence[Board]) -> list[RowKey]:
    accuracies: dict[RowKey, list[float]] = {}
    for board in boards:
        for row in board.rows:
            if row.accuracy and not row.bound:
                accuracies.setdefault(row.key, []).append(row.stats[RANKED_BY].mean)
    keys = list(accuracies)
    means = dict(zip(keys, levels([float(np.mean(accuracies[k])) for k in keys]), strict=True))
    # Those that some board draws in colour choose first.
    beside = _drawn_beside(boards)
    return sorted(keys, key=lambda k: (k not in beside, -len(accuracies[k]), -means[k], k))
