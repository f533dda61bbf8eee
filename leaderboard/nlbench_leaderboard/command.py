"""``nlbench leaderboard``: rank the recorded runs and write the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nlbench.results import RunRecord


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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the ranking as JSON; write no files.")
    ] = False,
) -> None:
    """Rank the recorded runs: a table here, and a page with every seed and command.

    Examples:

      nlbench leaderboard

      nlbench leaderboard --out site --open

      nlbench leaderboard --tracking-uri http://localhost:5000

      nlbench leaderboard --records leaderboard/records --out site

      nlbench leaderboard --json | jq '.boards[].rows[] | select(.rank == 1).selector'
    """
    if as_json and (out is not None or open_page):
        from nlbench.errors import ConfigError

        raise ConfigError("`--json` must stand alone: it writes no files. Drop --out and --open.")
    records, problems = _read(tracking_uri)
    if contributed is not None:
        from nlbench.contribution import merged, read_folder

        found, refused = read_folder(contributed)
        records, problems = merged(records, found), [*problems, *refused]
    for problem in problems:
        typer.echo(f"Left out: {problem}", err=True)
    if as_json:
        from nlbench_leaderboard.export import to_json
        from nlbench_leaderboard.rank import rank_boards

        typer.echo(to_json(rank_boards(records), problems), nl=False)
        return
    page = _show(records, problems, out)
    if open_page:
        import webbrowser

        webbrowser.open(page.as_uri())


def _show(records: list[RunRecord], problems: list[str], out: Path | None) -> Path:
    from rich.console import Console

    from nlbench.store import home_dir
    from nlbench_leaderboard.build import build
    from nlbench_leaderboard.rank import rank_boards
    from nlbench_leaderboard.text import summary_table

    page = build(records, (out or home_dir() / "leaderboard").absolute(), problems).html
    Console().print(summary_table(rank_boards(records)))
    # Not through rich: it would wrap a long path, which then cannot be clicked or copied.
    typer.echo(f"Leaderboard: {page}")
    return page


def _read(tracking_uri: str | None) -> tuple[list[RunRecord], list[str]]:
    if tracking_uri is None:
        from nlbench.store import RunStore

        return RunStore().records()
    from nlbench.tracking import read_records

    return read_records(tracking_uri)
