"""``nlbench list`` and ``nlbench show``: the components, and everything about one of them."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlbench.cli.console import print_table, printable, width_of_stdout
from nlbench.cli.lookup import record_by_prefix
from nlbench.cli.options import Plugins, add_plugins
from nlbench.errors import ConfigError, NlbenchError, did_you_mean

if TYPE_CHECKING:
    from nlbench.plugins.registry import Component, Kind
    from nlbench.results.record import RunRecord

LISTED = ("selectors", "datasets", "noises", "trainers", "encoders", "recipes")


def list_command(
    kind: Annotated[str | None, typer.Argument(help=", ".join(LISTED))] = None,
    plugin: Plugins = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the selectors, data sets, noises, recipes and more.

    Trainers and encoders are listed, too.

    Examples:

      nlbench list

      nlbench list selectors --json

      nlbench list noises --plugin my_noise.py
    """
    add_plugins(plugin)
    kinds = LISTED if kind is None else (_plural(kind, LISTED),)
    entries = [entry for k in kinds for entry in _entries(k)]
    if as_json:
        typer.echo(json.dumps(entries, indent=1))
        return
    for k in kinds:
        _print_kind(k, [entry for entry in entries if entry["kind"] == k])


def _entries(kind: str) -> list[dict[str, str]]:
    if kind == "recipes":
        from nlbench.config.recipe_files import recipe_names, recipe_summary

        rows = [(name, recipe_summary(name), "", "") for name in recipe_names()]
    else:
        from nlbench.plugins.registry import components

        every = components(kind)  # type: ignore[arg-type]
        rows = [(c.name, c.summary, c.owner, c.problem) for c in every.values()]
    keys = ("kind", "name", "summary", "owner", "problem")
    return [dict(zip(keys, (kind, *entry), strict=True)) for entry in rows]


def _print_kind(kind: str, entries: list[dict[str, str]]) -> None:
    """Print two columns; without rich, whose import takes a fifth of this command's time."""
    typer.secho(kind, bold=True)
    left = max([20, *(len(entry["name"]) for entry in entries)]) + 2
    room = max(20, width_of_stdout() - left)
    for entry in entries:
        problem = entry["problem"]
        text = printable(f"broken: {problem}" if problem else entry["summary"])
        first, *rest = wrap(text, room) or [""]
        name = f"{printable(entry['name']):<{left}}"
        typer.echo(typer.style(name, fg="cyan") + typer.style(first, fg="red" if problem else None))
        for line in rest:
            typer.echo(" " * left + typer.style(line, fg="red" if problem else None))


def show(
    kind: Annotated[
        str, typer.Argument(help="selector, dataset, noise, trainer, encoder, recipe or run.")
    ],
    name: Annotated[
        str, typer.Argument(help="Name; for a run its fingerprint or a unique prefix.")
    ],
    plugin: Plugins = None,
) -> None:
    """Show everything about one selector, data set, recipe or run.

    It takes noises, trainers and encoders, too.

    Examples:

      nlbench show selector clipcleaner

      nlbench show recipe standard/digits

      nlbench show run 1f3a9c

      nlbench show selector my-idea --plugin my_idea.py
    """
    add_plugins(plugin)
    plural = _plural(kind, (*LISTED, "runs"))
    if plural == "recipes":
        _show_recipe(name)
    elif plural == "runs":
        _show_run(name)
    else:
        _show_component(plural, name)  # type: ignore[arg-type]


def _plural(kind: str, kinds: tuple[str, ...]) -> str:
    plural = kind if kind.endswith("s") else f"{kind}s"
    if plural not in kinds:
        raise ConfigError(f"unknown kind {kind!r}. {did_you_mean(plural, kinds)}")
    return plural


def _show_recipe(name: str) -> None:
    from nlbench.cli.recipe_text import recipe_text

    typer.echo(printable(recipe_text(name)))


def _show_run(prefix: str) -> None:
    from nlbench.cli.result_table import result_table
    from nlbench.results.store import RunStore

    store = RunStore()
    records, problems = store.records()
    record = record_by_prefix(records, prefix, problems)
    print_table(result_table(record))
    typer.echo(f"fingerprint {record.fingerprint}\nnoise       {record.noise.sha256}")
    typer.echo(f"repeat      {printable(record.command)}")
    _print_suspects(record, store.folder(record.fingerprint))
    if record.error is not None:
        typer.echo(printable(record.error.traceback))


def _print_suspects(record: RunRecord, folder: Path) -> None:
    from nlbench.results.samples import least_trusted

    try:
        suspects = least_trusted(folder, n=10)
    except NlbenchError as error:  # the record is shown all the same
        typer.secho(printable(f"\n{error}"), fg=typer.colors.RED, err=True)
        return
    if suspects:
        typer.echo("\nleast trusted labels (selection.parquet beside the record has all)")
    for suspect in suspects:
        names = record.dataset.class_names
        label = names[suspect.label] if 0 <= suspect.label < len(names) else str(suspect.label)
        kept = "kept" if suspect.keep else "dropped"
        typer.echo(printable(f"  {suspect.score:10.4g}  {kept:<7}  {label:<16}  {suspect.id}"))


def _show_component(kind: Kind, name: str) -> None:
    from nlbench.plugins.registry import find

    component = find(kind, name)
    loaded = component.load()
    typer.secho(f"{component.name}", bold=True, nl=False)
    typer.echo(f"  ({kind[:-1]}, from {printable(component.owner)})")
    typer.echo(f"\n{printable(_documentation(component, loaded))}\n")
    for line in (*_facts(kind, loaded), *_settings(kind, loaded)):
        typer.echo(printable(line))


def _documentation(component: Component, loaded: Any) -> str:
    """Return the docstring of a component with an entry point of its own, else of its file."""
    import inspect
    import sys

    module = inspect.getdoc(sys.modules[loaded.__module__]) or ""
    own = inspect.getdoc(loaded) or ""
    if own.startswith(f"{loaded.__name__}("):  # a dataclass without one has its signature
        own = ""
    if component.kind == "trainers" and component.is_shipped:  # a file each: paper, deviations
        return f"{module}\n\n{own}"
    both = (own, module) if component.attribute else (module, own)
    return both[0] or both[1] or "No description."


def _facts(kind: Kind, loaded: Any) -> list[str]:
    if kind == "selectors":
        return _selector_facts(loaded)
    if kind == "trainers":
        return _trainer_facts(loaded)
    if kind == "datasets":
        lines = [
            f"origin      {loaded.origin}",
            f"licence     {loaded.licence or 'yours'}",
            f"size        {loaded.size}",
            f"how to get  {loaded.how_to_get}",
            f"download    {loaded.download_note}",
            f"where       {loaded.where}",
            f"recipe      {loaded.recipe}",
        ]
        return [line for line in lines if len(line.split(None, 1)) > 1]
    if kind == "noises":
        from nlbench.noise.class_maps import ASYMMETRIC_MAPS
        from nlbench.noise.corrupt import noise_options, noise_takes_rate

        options = noise_options(loaded)
        lines = [f"rate        {'in [0, 1)' if noise_takes_rate(loaded) else 'none'}"]
        lines += [f"options     {', '.join(options)}"] if options else []
        if "class_map" in options:
            lines += [
                f"  map {name:<9} {pairs if len(pairs) <= 10 else f'{len(pairs)} classes'}"
                for name, pairs in ASYMMETRIC_MAPS.items()
            ]
        return lines
    return []


def _selector_facts(cls: Any) -> list[str]:
    """Return what a selector knows, when it chooses, and what it costs to train with it."""
    from nlbench.selector import BatchSelector, OnlineSelector

    when = "once, before training"
    if issubclass(cls, OnlineSelector):
        when = "after every epoch"
    elif issubclass(cls, BatchSelector):
        when = "in every mini-batch"
    networks, rounds = getattr(cls, "n_networks", 1), getattr(cls, "rounds", 1)
    lines = [
        ("knowledge", ", ".join(cls.knowledge) or "noisy labels only"),
        ("chooses", when),
        ("looks at", ", ".join(getattr(cls, "observes", ()))),
        ("networks", str(networks) if networks > 1 else ""),
        ("trainings", f"up to {rounds}, the last is measured" if rounds > 1 else ""),
        ("trainer", cls.trainer),
        ("deviation", cls.deviation),
        ("bound", "yes: shown, not ranked" if cls.is_bound else ""),
    ]
    return [f"{name:<10}  {text}" for name, text in lines if text]


def _trainer_facts(cls: Any) -> list[str]:
    networks = getattr(cls, "n_networks", 1)
    lines = [
        ("method", "yes: alone, trained on everything, it is ranked" if cls.is_method else ""),
        ("networks", str(networks) if networks > 1 else ""),
        ("deviation", cls.deviation),
    ]
    return [f"{name:<10}  {text}" for name, text in lines if text]


def _settings(kind: Kind, loaded: Any) -> list[str]:
    from dataclasses import fields, is_dataclass

    from nlbench.plugins.registry import default_of

    if not isinstance(loaded, type) or not is_dataclass(loaded) or not fields(loaded):
        return []
    word = "hyper-parameters" if kind == "selectors" else "settings"
    rows = [(f.name, _type_text(f.type), repr(default_of(loaded, f.name))) for f in fields(loaded)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        f"  {name:<{widths[0]}}  {default:<{widths[2]}}  {annotation}".rstrip()
        for name, annotation, default in rows
    ]
    return [f"\n{word} (default, type):", *lines]


def _type_text(annotation: Any) -> str:
    """Return an annotation in short: Annotated[float, Field(gt=0)] is float (gt=0)."""
    import re

    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return re.sub(r"Annotated\[([^,\[\]]+), Field\(([^)]*)\)\]", r"\1 (\2)", text)
