"""``nlbench leaderboard``: rank the recorded runs and write the page."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nlbench.contribution import ContributedRun
    from nlbench.results.record import RunRecord
    from nlbench.results.store import RunStore
    from nlbench_leaderboard.build import Content, Format


def leaderboard(
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write to. Default: 'leaderboard' in NLBENCH_HOME.", show_default=False
        ),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = False,
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="Read the runs from this MLflow server instead of the local records."),
    ] = None,
    contributed: Annotated[
        Path | None,
        typer.Option(
            "--records",
            help="Merge in the runs from this folder of files, written by `nlbench export`.",
            show_default=False,
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Write only this: html, markdown, json, csv, parquet or latex; may be repeated. "
            "Default: all.",
            show_default=False,
        ),
    ] = None,
    run_pages: Annotated[
        bool,
        typer.Option("--run-pages/--no-run-pages", help="Write a page per run beside the page."),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the ranking as JSON; write no files.")
    ] = False,
) -> None:
    """Rank the recorded runs: a table here, and a page with every seed and command.

    Examples:

      nlbench leaderboard

      nlbench leaderboard --out site --open

      nlbench leaderboard --out paper --format latex --format csv

      nlbench leaderboard --tracking-uri http://localhost:5000

      nlbench leaderboard --records leaderboard/records --out site

      nlbench leaderboard --json | jq '.boards[].rows[] | select(.rank == 1).selector'
    """
    from nlbench.errors import ConfigError

    if as_json and (out is not None or open_page or formats):
        raise ConfigError(
            "`--json` must stand alone: it writes no files. Drop --out, --open and --format."
        )
    from nlbench_leaderboard.build import checked_formats

    wanted = checked_formats(formats or [])
    if open_page and "html" not in wanted:
        raise ConfigError("`--open` needs the page: add `--format html`, or drop --open.")
    with _uncollected():
        content = _content(tracking_uri, contributed)
        for problem in content.problems:
            typer.echo(f"Left out: {problem}", err=True)
        if as_json:
            from nlbench_leaderboard.formats.as_json import to_json

            typer.echo(to_json(content.boards, content.problems, content.across), nl=False)
            return
        page = _show(content, wanted, out, run_pages)
    if open_page:
        import webbrowser

        webbrowser.open(page.as_uri())


@contextmanager
def _uncollected() -> Iterator[None]:
    """Do without the cyclic collector: it walks all records again and again, and finds nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _show(content: Content, formats: list[Format], out: Path | None, run_pages: bool) -> Path:
    """Write the files, print the table and where the first file is."""
    from rich.console import Console

    from nlbench.files import home_dir
    from nlbench_leaderboard.build import build
    from nlbench_leaderboard.formats.terminal import summary_table

    folder = (out or home_dir() / "leaderboard").absolute()
    written = build(content, folder, formats, run_pages)
    Console().print(summary_table(content.boards, content.across))
    first = written[formats[0]][0]
    # Not through rich: it would wrap a long path, which then cannot be clicked or copied.
    typer.echo(f"Leaderboard: {first}")
    return first


def _content(tracking_uri: str | None, contributed: Path | None) -> Content:
    from nlbench_leaderboard.build import content_of
    from nlbench_leaderboard.ranking.rank import rank_boards
    from nlbench_leaderboard.sources.run_files import RunFiles

    records, killed, problems, store = _read(tracking_uri)
    local = records
    found: list[ContributedRun] = []
    if contributed is not None:
        from nlbench.contribution import merged, read_folder

        found, refused = read_folder(contributed)
        records = merged(records, [run.record for run in found])
        problems = [*problems, *refused]
    files = RunFiles(store, local, found)
    return content_of(rank_boards(records, killed), problems, files)


def _read(
    tracking_uri: str | None,
) -> tuple[list[RunRecord], set[str], list[str], RunStore | None]:
    """Return records, fingerprints of runs whose process died, what was left out, and where from.

    The store is None where the records are of a server.
    """
    if tracking_uri is not None:
        from nlbench.tracking import read_records

        records, problems = read_records(tracking_uri)
        return records, set(), problems, None
    from nlbench.results.store import RunStore

    store = RunStore()
    records, problems = store.records()
    unfinished = store.unfinished()
    killed = {run.record.fingerprint for run in unfinished if not run.alive}
    return [*records, *(run.record for run in unfinished)], killed, problems, store
