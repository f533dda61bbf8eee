"""``nlbench check``: does a component meet its contract?"""

from __future__ import annotations

import json
import shlex
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlbench.cli.console import printable, quiet_stdout, say_loading
from nlbench.cli.options import DataDir, Plugins, add_plugins
from nlbench.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from nlbench.conformance import CheckResult
    from nlbench.plugins.registry import Component

_WIDEST = 100  # columns; longer lines are hard to read
_INDENT = " " * 10
_FAILED, _MISSING = 4, 3  # exit codes


def check(
    name: Annotated[
        str, typer.Argument(help="Name of a component, or a .py file.", show_default=False)
    ],
    kind: Annotated[
        str | None, typer.Option(help="selector, noise, dataset or encoder. (default: found)")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Run this check alone, repeatable: two-classes.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, an option of a noise or data set.")
    ] = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Check a plugin or built-in component against its contract.

    Shapes, determinism, fairness, planted noise.

    The exit code is 4 if a check fails, and 3 if the data or weights are not on this machine.

    Examples:

      nlbench check clipcleaner

      nlbench check my_idea.py

      nlbench check my_idea.py --only two-classes

      nlbench check asymmetric --set "class_map={0: 1, 1: 0}"

      nlbench check cifar10 --data-dir ~/data
    """
    say_loading()
    from nlbench.config.setting_text import parse_setting
    from nlbench.conformance import check_component
    from nlbench.plugins.kinds import singular

    add_plugins(plugin)
    component, argument = _found(name, kind)
    words = _words(name, kind, settings, plugin, data_dir)
    with quiet_stdout(as_json):
        results = check_component(
            component.kind,
            component.load(),
            component.name,
            only=only,
            argument=argument,
            settings=dict(parse_setting(text) for text in settings or []),
            data_dir=data_dir,
            reproduce=lambda each: f"{words} --only {_typed(each)}",
        )
    if as_json:
        about = {"kind": singular(component.kind), "component": component.name}
        typer.echo(json.dumps([{**about, **_as_json(result)} for result in results], indent=1))
    else:
        _print(results, f"{singular(component.kind)} {component.name}")
    _leave(results)


def _found(name: str, kind: str | None) -> tuple[Component, str]:
    """Return the component of a name or file, and what stands behind the colon of its name."""
    from nlbench.plugins.kinds import kind_named, singular
    from nlbench.plugins.registry import KINDS, add_plugin_file, components, find

    asked = None if kind is None else kind_named(kind)
    if name.endswith(".py"):
        component = add_plugin_file(Path(name))
        if asked not in (None, component.kind):
            raise ConfigError(
                f"'{name}' defines a {singular(component.kind)}, not a {kind}. Leave --kind out."
            )
        return component, ""
    plain, _, argument = name.partition(":")
    if asked is not None:
        return find(asked, plain), argument
    having = [each for each in KINDS if plain in components(each)]
    if not having:
        every = [n for each in KINDS for n, c in components(each).items() if not c.problem]
        hint = did_you_mean(plain, every)
        hint = hint if hint.startswith("Did") else "See `nlbench list`."
        raise ConfigError(f"no component is called {plain!r}. {hint} A file ends in .py.")
    if len(having) > 1:
        others = ", ".join(f"--kind {singular(each)}" for each in having[1:])
        typer.echo(f"{plain} is a {singular(having[0])} here; for another kind: {others}", err=True)
    return find(having[0], plain), argument


def _words(
    name: str,
    kind: str | None,
    settings: Sequence[str] | None,
    plugin: Sequence[Path] | None,
    data_dir: Path | None,
) -> str:
    """Return the command as it was typed, up to `--only`."""
    words = ["nlbench", "check", name]
    words += ["--kind", kind] if kind else []
    for option, values in (("--set", settings), ("--plugin", plugin)):
        for value in values or ():
            words += [option, str(value)]
    words += ["--data-dir", str(data_dir)] if data_dir else []
    return shlex.join(words)


def _typed(check_name: str) -> str:
    return check_name.removeprefix("check_").replace("_", "-")


def _as_json(result: CheckResult) -> dict[str, Any]:
    return {"check" if key == "name" else key: value for key, value in asdict(result).items()}


_COLOURS = {
    "passed": typer.colors.GREEN,
    "failed": typer.colors.RED,
    "exempt": typer.colors.YELLOW,
    "unchecked": typer.colors.YELLOW,
}


def _print(results: Sequence[CheckResult], title: str) -> None:
    for result in results:
        typer.secho(f"{result.status:<9}", fg=_COLOURS[result.status], nl=False)
        typer.echo(f" {_typed(result.name)}")
        for heading, text in result.lines():
            typer.echo(_paragraph(heading, printable(text)))
    typer.echo(f"{title}: {_summary(results)}")


def _summary(results: Sequence[CheckResult]) -> str:
    counts = Counter(result.status for result in results)
    if counts["unchecked"] == len(results):
        return "cannot be checked here."
    others = [f"{n} {status}" for status, n in counts.items() if status != "passed"]
    passed = f"{counts['passed']} of {len(results)} checks passed"
    return ", ".join([passed, *others]) + "."


def _paragraph(heading: str, text: str) -> str:
    """Return a text beside its heading, as wide as the terminal; lines of code stay whole."""
    import shutil

    columns = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
    first = f"{_INDENT}{heading:<10} "
    rest = " " * len(first)
    if heading == "reproduce":
        return first + f"\n{rest}".join(text.splitlines())
    parts = [
        textwrap.fill(
            line,
            width=columns,
            initial_indent=first if i == 0 else rest,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for i, line in enumerate(text.splitlines() or [""])
    ]
    return "\n".join(parts)


def _leave(results: Sequence[CheckResult]) -> None:
    statuses = {result.status for result in results}
    if "failed" in statuses:
        raise typer.Exit(_FAILED)
    if "unchecked" in statuses:
        raise typer.Exit(_MISSING)
