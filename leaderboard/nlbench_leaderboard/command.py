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
    from nlbench.errors import RefusedError
    from nlbench.results.record import RunRecord
    from nlbench.results.store import RunStore
    from nlbench_leaderboard.build import Content, Format

_SHOWN = 5


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
        typer.Option(help="MLflow server to read the runs from, instead of the local records."),
    ] = None,
    contributed: Annotated[
        list[str] | None,
        typer.Option(
            "--records",
            metavar="PATH|URL",
            help="Folder or file written by `nlbench export`, whose runs are added; repeatable.",
            show_default=False,
        ),
    ] = None,
    only_records: Annotated[
        bool,
        typer.Option("--only-records", help="Rank the runs of --records alone, not your own."),
    ] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Format to write, repeatable: html, markdown, json, csv, parquet or latex. "
            "Default: all.",
            show_default=False,
        ),
    ] = None,
    run_pages: Annotated[
        bool,
        typer.Option("--run-pages/--no-run-pages", help="Write one more page for each run."),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the ranking as JSON and write no files.")
    ] = False,
) -> None:
    """Rank the recorded runs in a table and on a page.

    The page shows every seed and command.

    Examples:

      nlbench leaderboard

      nlbench leaderboard --out site --open

      nlbench leaderboard --out paper --format latex --format csv

      nlbench leaderboard --tracking-uri http://localhost:5000

      nlbench leaderboard --records leaderboard/records --out site

      nlbench leaderboard --records leaderboard/records --only-records --out site

      nlbench leaderboard --json | jq '.boards[].rows[] | select(.rank == 1).method'
    """
    from nlbench.errors import ConfigError

    if as_json and (out is not None or open_page or formats):
        raise ConfigError(
            "`--json` writes no files and cannot be combined with --out, --open or --format. "
            "Drop one or the other."
        )
    from nlbench.files.copies import local_folder
    from nlbench_leaderboard.build import checked_formats
    from nlbench_leaderboard.escape import clean

    local_folder(out, "--out")
    _check_only_records(only_records, contributed or [], tracking_uri)
    kinds = checked_formats(formats or [])
    if open_page and "html" not in kinds:
        raise ConfigError("`--open` needs the page: add `--format html`, or drop --open.")
    with _uncollected():
        content = _content(tracking_uri, contributed or [], only_records)
        for problem in content.problems:
            typer.echo(f"Left out: {clean(problem)}", err=True)
        if as_json:
            from nlbench_leaderboard.formats.as_json import to_json

            typer.echo(to_json(content.boards, content.problems, content.across), nl=False)
            return
        page = _show(content, kinds, out, run_pages)
    if open_page:
        import webbrowser

        webbrowser.open(page.as_uri())


def _check_only_records(only: bool, contributed: list[str], tracking_uri: str | None) -> None:
    from nlbench.errors import ConfigError

    if only and not contributed:
        raise ConfigError(
            "`--only-records` must come with --records, got none. Name the folder or file whose "
            "runs are ranked, as in `--records leaderboard/records --only-records`."
        )
    if only and tracking_uri is not None:
        raise ConfigError(
            "`--only-records` reads no server and cannot be combined with --tracking-uri. "
            "Drop one or the other."
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Switch the cyclic collector off: it would walk all records repeatedly and free nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _show(content: Content, formats: list[Format], out: Path | None, run_pages: bool) -> Path:
    """Write the files, print the table and where the first file is.

    Raises:
        RunError: if files could not be written; each of the first ones has its line before.
    """
    from rich.console import Console

    from nlbench.errors import RunError
    from nlbench.files import home_dir
    from nlbench_leaderboard.build import build
    from nlbench_leaderboard.escape import clean
    from nlbench_leaderboard.formats.terminal import summary_table

    folder = (out or home_dir() / "leaderboard").absolute()
    refused: list[RefusedError] = []
    written = build(content, folder, formats, run_pages, refused.append)
    Console().print(summary_table(content.boards, content.across))
    if refused:
        for error in refused[:_SHOWN]:
            typer.echo(f"Not written: {clean(str(error))}", err=True)
        raise RunError(
            f"{len(refused)} files of the leaderboard in '{folder}' could not be written, see "
            "above. Any others are there; repeat the command when the reason is gone."
        )
    first = written[formats[0]][0]
    # Not through rich: it would wrap a long path, which then cannot be clicked or copied.
    typer.echo(f"Leaderboard: {first}")
    return first


def _content(tracking_uri: str | None, paths: list[str], only_records: bool) -> Content:
    from nlbench.contribution import installed_facts_of, installed_versions_of
    from nlbench_leaderboard.build import content_of
    from nlbench_leaderboard.ranking.rank import rank_boards
    from nlbench_leaderboard.sources.run_files import RunFiles

    records, killed, problems, store = (
        ([], set(), [], None) if only_records else _read(tracking_uri)
    )
    local = records
    contributed: list[ContributedRun] = []
    if paths:
        from nlbench.contribution import backed_runs, merged, read_folder
        from nlbench.files.copies import local_copy

        for path in paths:
            runs, refused = read_folder(local_copy(path, "--records"))
            contributed += runs
            problems = [*problems, *refused]
        made_here = {record.fingerprint for record in local if record.metrics}
        contributed, left_out = backed_runs(contributed, made_here)
        problems = [*problems, *left_out]
        records = merged(records, [run.record for run in contributed])
    facts = installed_facts_of(records)
    names = {name: one.title for name, one in facts.data.items()}
    boards = rank_boards(records, killed, installed_versions_of(records), names)
    return content_of(boards, problems, RunFiles(store, local, contributed), facts)


def _read(
    tracking_uri: str | None,
) -> tuple[list[RunRecord], set[str], list[str], RunStore | None]:
    """Return records, fingerprints of runs whose process died, problems, and the local store.

    The store is None where the records come from a server.
    """
    from nlbench.contribution import trusted_records
    from nlbench.results.store import RunStore
    from nlbench.tracking import read_records, settle_left_open

    store = RunStore()
    settle_left_open(store, tracking_uri)
    if tracking_uri is not None:
        records, problems = read_records(tracking_uri)
        return records, set(), problems, None
    records, problems = trusted_records(store)
    unfinished = store.unfinished()
    killed = {run.record.fingerprint for run in unfinished if not run.alive}
    return [*records, *(run.record for run in unfinished)], killed, problems, store
