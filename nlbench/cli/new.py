"""``nlbench new``: a working component to start from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nlbench.cli.console import printable
from nlbench.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from nlbench.cli.new_files import New


def new(
    kind: Annotated[
        str,
        typer.Argument(help="selector, trainer, noise, dataset or encoder.", show_default=False),
    ],
    name: Annotated[str, typer.Argument(help="Its name: my-idea.", show_default=False)],
    online: Annotated[
        bool, typer.Option("--online", help="A selector that chooses after every epoch.")
    ] = False,
    batch: Annotated[
        bool, typer.Option("--batch", help="A selector that chooses in every mini-batch.")
    ] = False,
    package: Annotated[
        bool, typer.Option("--package", help="A package with tests, instead of one file.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write into. (default: this one)")
    ] = None,
) -> None:
    """Write a working plugin to start from.

    One file, or a package with tests.

    What is written passes `nlbench check` as it is: change it step by step.

    Examples:

      nlbench new selector my-idea

      nlbench new selector my-idea --online --package

      nlbench new selector my-idea --batch

      nlbench new trainer my-loss

      nlbench new noise my-noise --out plugins
    """
    from nlbench.cli.new_files import New, refuse_name, write_file, write_package
    from nlbench.plugins.kinds import kind_named

    _refuse_kind(kind)
    if online and batch:
        raise ConfigError(
            "a selector chooses after epochs or in batches: give --online or --batch, not both."
        )
    asked = New(kind_named(kind), name, "online" if online else "batch" if batch else "once")
    if asked.when != "once" and asked.kind != "selectors":
        raise ConfigError(f"--{asked.when} is for selectors, got {kind!r}. Leave it out.")
    refuse_name(asked)
    folder = (out or Path()).expanduser()
    path = (write_package if package else write_file)(asked, folder)
    typer.echo(f"Written: {printable(str(path))}\n\nNext:")
    for line in _next_steps(asked, path, package):
        typer.echo(f"  {printable(line)}")


def _refuse_kind(kind: str) -> None:
    from nlbench.cli.new_files import OFFERED
    from nlbench.plugins.kinds import singular

    names = [singular(each) for each in OFFERED]
    if kind not in (*names, *OFFERED):
        raise ConfigError(f"there is no template for {kind!r}. {did_you_mean(kind, names)}")


def _next_steps(asked: New, path: Path, package: bool) -> list[str]:
    place = shlex.quote(str(path))
    if package:
        return [
            f"pip install -e {place}",
            f"pytest {place}",
            f"nlbench check {asked.name}",
            asked.run,
        ]
    return [f"nlbench check {place}", f"{asked.run} --plugin {place}"]
