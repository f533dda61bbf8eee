"""Records -> the files of a leaderboard."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from nlbench.contribution import InstalledFacts
from nlbench.errors import ConfigError, RefusedError, did_you_mean, refusals
from nlbench.files import write_atomic
from nlbench_leaderboard.formats.as_json import to_json
from nlbench_leaderboard.formats.latex import to_latex
from nlbench_leaderboard.formats.markdown import to_markdown
from nlbench_leaderboard.formats.tables import Table, tables_of, to_csv, to_parquet
from nlbench_leaderboard.page.board_page import to_html
from nlbench_leaderboard.page.run_page import FOLDER, page_names, run_pages
from nlbench_leaderboard.ranking.across import Across, compare_across
from nlbench_leaderboard.ranking.board import Board
from nlbench_leaderboard.sources.run_files import RunFiles

Format = Literal["html", "markdown", "json", "csv", "parquet", "latex"]
FORMATS: tuple[Format, ...] = get_args(Format)
_PAGE_NAME = re.compile(r"[0-9a-f]{12}(-\d+)?\.html")


@dataclass(frozen=True)
class Content:
    """What the files are made of.

    `problems` has one message per record that could not be read; it is shown on the page.
    `files` has what is stored beside a record, for the page of its run; `facts` what installed
    components say of themselves.
    """

    boards: Sequence[Board]
    problems: Sequence[str]
    across: Sequence[Across]
    files: RunFiles = field(default_factory=RunFiles)
    facts: InstalledFacts = field(default_factory=lambda: InstalledFacts({}, {}, {}))

    @cached_property
    def tables(self) -> dict[str, Table]:
        """The flat tables, made once for CSV and Parquet."""
        return tables_of(self.boards)


def content_of(
    boards: Sequence[Board],
    problems: Sequence[str] = (),
    files: RunFiles | None = None,
    facts: InstalledFacts | None = None,
) -> Content:
    """Return the boards with their comparison over all boards of a protocol."""
    facts = facts or InstalledFacts({}, {}, {})
    return Content(boards, problems, compare_across(boards), files or RunFiles(), facts)


def _stop(error: RefusedError) -> None:
    raise error


def build(
    content: Content,
    out_dir: Path,
    formats: Collection[Format] = FORMATS,
    with_runs: bool = True,
    on_refused: Callable[[RefusedError], None] = _stop,
) -> dict[Format, list[Path]]:
    """Write the leaderboard's files, each aside and then renamed.

    The files depend on the boards alone, not on the clock: the same boards give the same bytes.

    Args:
        content: Ranked boards.
        out_dir: Folder to write to; created if missing. Files with those names are replaced.
        formats: Which to write.
        with_runs: Whether the page gets a page per run beside it, in ``runs/``. Pages of runs that
            are not on the boards are removed.
        on_refused: Called with each file that the operating system does not take; the others are
            written all the same. Where left out, the first one is raised.

    Returns:
        The files of each format that were written; of the run pages, their folder.

    Raises:
        RefusedError: if a file cannot be written.
    """
    written: dict[Format, list[Path]] = {}
    for kind in FORMATS:
        if kind in formats:
            page = kind == "html"
            files = _html(content, formats, with_runs) if page else _WRITERS[kind](content)
            written[kind] = []
            for name, text in files.items():
                try:
                    write_atomic(out_dir / name, text)
                except RefusedError as error:
                    on_refused(error)
                else:
                    written[kind].append(out_dir / name)
    if "html" in written:
        written["html"] += _write_runs(content, out_dir, with_runs, on_refused)
    return written


def checked_formats(names: Sequence[str]) -> list[Format]:
    """Return the formats with these names, or all formats where no name is passed.

    Raises:
        ConfigError: if one is unknown.
    """
    for name in names:
        if name not in FORMATS:
            raise ConfigError(f"unknown format {name!r}. {did_you_mean(name, FORMATS)}")
    return [kind for kind in FORMATS if kind in names or not names]


def _html(content: Content, formats: Collection[Format], with_runs: bool) -> Mapping[str, str]:
    beside = [kind for kind in FORMATS if kind in formats]
    names = page_names(content.boards) if with_runs else {}
    page = to_html(
        content.boards,
        content.problems,
        content.across,
        beside,
        names,
        content.facts,
        content.files,
    )
    return {"index.html": page}


def _write_runs(
    content: Content,
    out_dir: Path,
    with_runs: bool,
    on_refused: Callable[[RefusedError], None],
) -> list[Path]:
    """Write a page per run, and remove those that no board links to any more."""
    folder = out_dir / FOLDER
    old = {path.name for path in folder.glob("*.html") if _PAGE_NAME.fullmatch(path.name)}
    if with_runs:
        with _small_collections():
            for name, text in run_pages(content.boards, content.files):
                old.discard(Path(name).name)
                try:
                    # Not synced to disk one by one: there may be thousands, and all can be built
                    # again.
                    write_atomic(out_dir / name, text, is_synced=False)
                except RefusedError as error:
                    on_refused(error)
    for name in old:
        try:
            with refusals(folder / name, "deleted"):
                (folder / name).unlink()
        except RefusedError as error:
            on_refused(error)
    return [folder] if with_runs else []


@contextmanager
def _small_collections() -> Iterator[None]:
    """Collect the cycles that templates leave, page by page, without walking all records for it."""
    was_on = gc.isenabled()
    gc.freeze()
    gc.enable()
    try:
        yield
    finally:
        gc.unfreeze()
        if not was_on:
            gc.disable()


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
