"""``nlbench check``: does a selector meet the contract?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.console import printable


def check(
    selector: Annotated[str, typer.Argument(help="Name of a selector, or a .py file.")],
    plugin: Annotated[
        list[Path] | None, typer.Option(help="Python file that defines an extra selector.")
    ] = None,
) -> None:
    """Check a selector against the contract: shapes, determinism, fairness, planted noise.

    The exit code is 4 if a check fails.

    Examples:

      nlbench check clipcleaner

      nlbench check my_idea.py
    """
    from nlbench.conformance import check_selector
    from nlbench.plugins import registry

    for file in plugin or []:
        registry.add_plugin_file(file)
    if selector.endswith(".py"):
        name = registry.add_plugin_file(Path(selector)).name
    else:
        name = registry.find("selectors", selector).name
    results = check_selector(registry.selector_class(name), name=name)
    colours = {
        "passed": typer.colors.GREEN, "failed": typer.colors.RED, "exempt": typer.colors.YELLOW
    }  # fmt: skip
    for result in results:
        typer.secho(f"{result.status:<7}", fg=colours[result.status], nl=False)
        typer.echo(f" {result.name.removeprefix('check_').replace('_', ' ')}")
        if result.message:
            typer.echo(f"        {printable(result.message)}")
    n_failed = sum(result.status == "failed" for result in results)
    typer.echo(f"{name}: {len(results) - n_failed} of {len(results)} checks passed.")
    if n_failed:
        raise typer.Exit(4)
