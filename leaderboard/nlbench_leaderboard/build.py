"""Records -> the files of a leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from nlbench.errors import ConfigError, did_you_mean
from nlbench.results import write_atomic
from nlbench_leaderboard.across import Across, compare_across
from nlbench_leaderboard.export import to_json
from nlbench_leaderboard.latex import to_latex
from nlbench_leaderboard.markdown import to_markdown
from nlbench_leaderboard.model import Board
from nlbench_leaderboard.page import to_html
from nlbench_leaderboard.tables import Table, tables_of, to_csv, to_parquet

Format = Literal["html", "markdown", "json", "csv", "parquet", "latex"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Content:
    """What the files are made of.

    `problems` holds one message per record that could not be read; it is shown on the page.
    """

    boards: Sequence[Board]
    problems: Sequence[str]
    across: Sequence[Across]

    @cached_property
    def tables(self) -> dict[str, Table]:
        """The flat tables, made once for CSV and Parquet."""
        return tables_of(self.boards)


def content_of(boards: Sequence[Board], problems: Sequence[str] = ()) -> Content:
    """Give the boards with what they say together."""
    return Content(boards, problems, compare_across(boards))


def build(
    content: Content, out_dir: Path, formats: Collection[Format] = FORMATS
) -> dict[Format, list[Path]]:
    """Write the leaderboard's files.

    The files depend on the records alone, not on the clock: the same records give the same bytes.

    Args:
        content: Ranked boards.
        out_dir: Folder to write to; it is made where missing, files of those names are replaced.
        formats: Which to write.

    Returns:
        The files of each format.
    """
    written: dict[Format, list[Path]] = {}
    for wanted in FORMATS:
        if wanted in formats:
            files = _WRITERS[wanted](content) if wanted != "html" else _html(content, formats)
            written[wanted] = [out_dir / name for name in files]
            for name, text in files.items():
                write_atomic(out_dir / name, text)
    return written


def checked_formats(names: Sequence[str]) -> list[Format]:
    """Give the formats of these names, all where none is named.

    Raises:
        ConfigError: if one is unknown.
    """
    for name in names:
        if name not in FORMATS:
            raise ConfigError(f"unknown format {name!r}. {did_you_mean(name, FORMATS)}")
    return [wanted for wanted in FORMATS if wanted in names or not names]


def _html(content: Content, formats: Collection[Format]) -> Mapping[str, str]:
    beside = [wanted for wanted in FORMATS if wanted in formats]
    return {"index.html": to_html(content.boards, content.problems, content.across, beside)}


def _csv(content: Content) -> Mapping[str, str]:
    return {f"{name}.csv": to_csv(table) for name, table in content.tables.items()}


def _parquet(content: Content) -> Mapping[str, bytes]:
    return {f"{name}.parquet": to_parquet(table) for name, table in content.tables.items()}


_WRITERS: dict[Format, Callable[[Content], Mapping[str, str] | Mapping[str, bytes]]] = {
    "markdown": lambda c: {"leaderboard.md": to_markdown(c.boards, c.problems, c.across)},
    "json": lambda c: {"leaderboard.json": to_json(c.boards, c.problems, c.across)},
    "csv": _csv,
    "parquet": _parquet,
    "latex": lambda c: {"leaderboard.tex": to_latex(c.boards)},
}
