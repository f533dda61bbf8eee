"""What the page adds to the boards: figures, deep links, commands, the choices of its filter."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nlbench_leaderboard.figures.chart import Figure
from nlbench_leaderboard.figures.lines import learning_figure, recall_figure
from nlbench_leaderboard.figures.noise_rates import noise_figure, noise_groups
from nlbench_leaderboard.figures.points import cost_figure, histogram_figures, rank_figure
from nlbench_leaderboard.figures.styles import style_places
from nlbench_leaderboard.ranking.across import Across
from nlbench_leaderboard.ranking.again import sweep_command
from nlbench_leaderboard.ranking.board import Board
from nlbench_leaderboard.ranking.grouping import RowKey


@dataclass(frozen=True)
class BoardView:
    """The figures of one board, the deep link of each row, and the command that repeats it.

    `row_ids` goes by the name of the row; `again` is empty where no one command repeats all runs.
    """

    figures: tuple[Figure, ...]
    row_ids: Mapping[str, str]
    again: str


@dataclass(frozen=True)
class Views:
    """Everything that is drawn: per board by its id, against noise rates, and per protocol.

    `knowledge` is what the filter offers: from the word in a link to the text.
    """

    boards: Mapping[str, BoardView]
    noise: tuple[Figure, ...]
    ranks: tuple[Figure | None, ...]
    knowledge: Mapping[str, str]


def views_of(boards: Sequence[Board], across: Sequence[Across]) -> Views:
    """Draw the figures of a page."""
    places = style_places(boards)
    noise = (noise_figure(group, places) for group in noise_groups(boards))
    return Views(
        boards={board.id: _board(board, places) for board in boards},
        noise=tuple(figure for figure in noise if figure),
        ranks=tuple(rank_figure(one) for one in across),
        knowledge=_knowledge(boards),
    )


def knowledge_word(text: str) -> str:
    """Return the word for a kind of knowledge in a link.

    >>> knowledge_word("image-text pre-training")
    'image-text-pre-training'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or _digest(text)


def _board(board: Board, places: Mapping[RowKey, int]) -> BoardView:
    figures = (
        learning_figure(board, places),
        recall_figure(board, places),
        cost_figure(board, places),
        histogram_figures(board),
    )
    return BoardView(
        figures=tuple(figure for figure in figures if figure),
        row_ids=_row_ids(board),
        again=sweep_command(run.record for row in board.main_rows for run in row.runs) or "",
    )


def _knowledge(boards: Sequence[Board]) -> dict[str, str]:
    texts = sorted({text for board in boards for row in board.rows for text in row.knowledge})
    return {knowledge_word(text): text for text in texts}


def _row_ids(board: Board) -> dict[str, str]:
    """Return each row an id that only depends on its own name, so that a link lasts.

    A name that a link cannot spell, such as one with hyper-parameters, ends in a digest.
    """
    ids = {}
    for row in board.rows:
        plain = re.sub(r"[^a-z0-9.]+", "-", row.name.lower()).strip("-.")[:60]
        slug = plain if plain == row.name else f"{plain or 'row'}-{_digest(row.name)}"
        ids[row.name] = f"{board.id}--{slug}"
    return ids


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]
