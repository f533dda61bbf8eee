"""The table of contents: the boards of a page by data set and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nlbench_leaderboard.ranking.board import Board


@dataclass(frozen=True)
class Entry:
    """A link to a board, named by what tells it from the others of its group."""

    id: str
    text: str


@dataclass(frozen=True)
class Group:
    """The boards of one data set and protocol."""

    title: str
    entries: tuple[Entry, ...]


def contents_of(boards: Sequence[Board]) -> tuple[Group, ...]:
    """Return the boards in groups, in the order of the page."""
    groups: dict[str, list[Entry]] = {}
    for board in boards:
        words = board.words
        title = " · ".join(part for part in (words.data, words.protocol) if part)
        text = " · ".join(part for part in (words.noise, words.extra) if part)
        groups.setdefault(title or board.title, []).append(Entry(board.id, text or board.title))
    return tuple(Group(title, tuple(entries)) for title, entries in groups.items())
