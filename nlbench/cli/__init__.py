"""The command line. Each subcommand has its file; heavy imports happen inside the commands."""

from __future__ import annotations

from importlib.metadata import entry_points

import typer

from nlbench.cli.catalog import list_command, show
from nlbench.cli.check import check
from nlbench.cli.console import guarded
from nlbench.cli.doctor import doctor
from nlbench.cli.run import run
from nlbench.cli.stores import cache, sync, ui
from nlbench.cli.sweep import sweep

app = typer.Typer(
    name="nlbench",
    help=(
        "Which way of finding the clean labels in a noisy data set should I trust?\n\n"
        "Start with: nlbench run, then nlbench leaderboard"
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(asked: bool) -> None:
    if asked:
        from nlbench import __version__

        typer.echo(f"nlbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_version, is_eager=True
    ),
) -> None:
    pass


app.command()(guarded(run))
app.command()(guarded(sweep))
app.command(name="list")(guarded(list_command))
app.command()(guarded(show))
app.command()(guarded(check))
# Commands from outside the core, the leaderboard among them: the core does not import it.
for _point in entry_points(group="nlbench.commands"):
    app.command(name=_point.name)(guarded(_point.load()))
app.command()(guarded(ui))
app.command()(guarded(sync))
app.command()(guarded(doctor))
app.add_typer(cache, name="cache")


def main() -> None:
    """Run the command line."""
    app()
