"""The command line, a file per command; what they do is in the other rooms."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from nlbench.cli.catalog import list_command, show
from nlbench.cli.check import check
from nlbench.cli.clean import clean
from nlbench.cli.compare import compare
from nlbench.cli.console import guarded, make_output_robust
from nlbench.cli.data import data
from nlbench.cli.doctor import doctor
from nlbench.cli.embed import embed
from nlbench.cli.export import export
from nlbench.cli.import_runs import import_runs
from nlbench.cli.new import new
from nlbench.cli.run import run
from nlbench.cli.stores import cache, sync, ui
from nlbench.cli.sweep import sweep
from nlbench.cli.verify import verify
from nlbench.cli.watch import run_watched
from nlbench.errors import PluginError, text_of
from nlbench.plugins.entry_points import installed, is_own
from nlbench.plugins.outsiders import outsiders

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

app = typer.Typer(
    name="nlbench",
    help=(
        "Which way of finding the clean labels in a noisy data set should I trust?\n\n"
        "Start with: nlbench run, then nlbench leaderboard"
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # half of the time of `nlbench --help`
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


def _outside_command(point: EntryPoint) -> Callable[..., Any]:
    try:
        command: Callable[..., Any] = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too
        message = (
            f"command {point.name!r} ({point.value}) cannot be imported: "
            f"{type(error).__name__}: {text_of(error)}. "
            "Repair or uninstall the package that brings it."
        )

        def command() -> None:
            """Broken: cannot be imported."""
            raise PluginError(message)

    return command


app.command()(guarded(run))
app.command()(guarded(sweep))
app.command()(guarded(embed))
app.command()(guarded(clean))
app.command(name="list")(guarded(list_command))
app.command()(guarded(show))
app.command()(guarded(new))
app.command()(guarded(check))
# Commands from outside the core, the leaderboard among them: the core does not import it.
_commands = installed("nlbench.commands")
for _point in filter(is_own, _commands):
    app.command(name=_point.name)(guarded(_outside_command(_point)))
app.command()(guarded(export))
app.command(name="import")(guarded(import_runs))
app.command()(guarded(verify))
app.command()(guarded(compare))
app.command()(guarded(ui))
app.command()(guarded(sync))
app.command()(guarded(doctor))
app.add_typer(cache, name="cache")
app.add_typer(data, name="data")


def main() -> None:
    """Run the command line, watched where there are plugins that could end its process."""
    make_output_robust()
    owners = outsiders(sys.argv[1:])
    if owners and sys.platform == "linux":
        run_watched(_with_outside_commands, owners)
    else:
        _with_outside_commands()


def _with_outside_commands() -> None:
    # Imported only now: what other packages bring may end the process.
    for point in _commands:
        if not is_own(point):
            app.command(name=point.name)(guarded(_outside_command(point)))
    app()
