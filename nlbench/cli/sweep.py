"""``nlbench sweep``: a grid of runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlbench.cli.console import percent, printable

if TYPE_CHECKING:
    from nlbench.attempt import Progress
    from nlbench.config import RunConfig
    from nlbench.sweep import Cell, SweepPlan

    OnStart = Callable[[RunConfig], None]
    OnEnd = Callable[[int, Cell], None]


def sweep(
    file: Annotated[
        Path | None, typer.Argument(help="YAML file with the axes; flags go before it.")
    ] = None,
    selector: Annotated[
        list[str] | None, typer.Option(help="Selector, repeatable. (default: all)")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Data set, repeatable. (default: digits)")
    ] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(help="KIND:RATE, repeatable. (default: symmetric:0.4 and asymmetric:0.4)"),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Like 0-2 or 0,3,7. (default: 0-2)")] = None,
    trainer: Annotated[str | None, typer.Option(help="Trainer of all runs.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of all runs.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe of all runs: a name or file.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value for every run.")
    ] = None,
    plugin: Annotated[list[Path] | None, typer.Option(help="File with a further selector.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where data sets lie.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow store. (default: MLFLOW_TRACKING_URI, else local)")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run again what is finished.")] = False,
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="Same bits on a GPU every time; slower. CPUs do."),
    ] = False,
) -> None:
    """Run a grid: every selector x data set x noise x seed.

    Finished cells are skipped, killed and failed ones are done again, and the failure of one cell
    stops no other. The exit code is 1 if any cell failed.

    Examples:

      nlbench sweep

      nlbench sweep --selector clipcleaner --selector small-loss --noise symmetric:0.2 --seeds 0-4

      nlbench sweep --selector small-loss:divider=rate --noise pair:0.3 --plugin my_idea.py

      nlbench sweep grid.yaml --device cuda
    """
    started = time.perf_counter()  # before the heavy imports: they are part of the price
    from nlbench import registry
    from nlbench.device import resolve_device
    from nlbench.settings import parse_setting
    from nlbench.store import RunStore
    from nlbench.sweep import SweepPlan, load_plan, parse_seeds, run_sweep

    for path in plugin or []:
        registry.add_plugin_file(path)
    plan = load_plan(file) if file else SweepPlan()
    given: dict[str, Any] = {
        "selectors": tuple(selector or ()), "datasets": tuple(dataset or ()),
        "noises": tuple(noise or ()), "seeds": parse_seeds(seeds) if seeds else (),
        "trainer": trainer, "epochs": epochs, "recipe": recipe,
        "settings": dict(parse_setting(text) for text in settings or []),
    }  # fmt: skip
    plan = replace(plan, **{key: value for key, value in given.items() if value})
    configs, chosen, store = plan.configs(data_dir), resolve_device(device), RunStore()
    from nlbench.runner import open_tracker

    tracker = open_tracker(tracking_uri, store)
    _announce(plan, len(configs))
    cells: list[Cell] = []
    with _cell_progress(len(configs)) as (progress, starting, finished):
        for cell in run_sweep(
            configs, store, chosen, tracker, data_dir, force, progress, starting, deterministic
        ):
            cells.append(cell)
            finished(len(cells), cell)
    _summarise(cells, time.perf_counter() - started)


def _announce(plan: SweepPlan, n_cells: int) -> None:
    n_selectors = n_cells // (len(plan.datasets) * len(plan.noises) * len(plan.seeds))
    typer.echo(
        f"{n_cells} runs: {n_selectors} selectors x {len(plan.datasets)} data sets x "
        f"{len(plan.noises)} noises x {len(plan.seeds)} seeds",
        err=True,
    )


def _summarise(cells: list[Cell], total_s: float) -> None:
    from nlbench.sweep import seconds_by_stage

    counts = Counter(cell.status for cell in cells)
    typer.echo(", ".join(f"{n} {status}" for status, n in counts.items()), err=True)
    if any(cell.wall_s for cell in cells):
        stages = seconds_by_stage(cells, total_s)
        parts = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items())
        typer.echo(f"{total_s:.1f} s: {parts}", err=True)
    bad = [cell for cell in cells if cell.status in ("failed", "busy")]
    for cell in bad:
        title = printable(f"  {cell.status}: {_title(cell)}")
        typer.secho(title, fg=typer.colors.RED, err=True)
        typer.echo(f"    {printable(cell.message).partition(chr(10))[0]}", err=True)
    if bad:
        typer.echo("Repeat the same command to run them again.", err=True)
        raise typer.Exit(1)
    typer.echo("Next: nlbench leaderboard", err=True)


def _title(cell: Cell) -> str:
    config = cell.config
    rate = "" if config.noise.rate is None else f" {config.noise.rate:g}"
    variant = "".join(f" {k}={v}" for k, v in config.selector_variant.items())
    place = f"{config.dataset.name}  {config.noise.kind}{rate}  seed {config.seed}"
    return f"{config.selector.name}{variant}  {place}"


@contextmanager
def _cell_progress(n_cells: int) -> Iterator[tuple[Progress, OnStart, OnEnd]]:
    """Print a line for every finished cell, and on a terminal a bar for the running one."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        whole = bar.add_task("all runs", total=n_cells)
        one = bar.add_task("", total=1)

        def progress(stage: str, done: int, total: int) -> None:
            bar.update(one, completed=done, total=total)

        def starting(config: RunConfig) -> None:
            bar.reset(one, total=1, description=printable(config.selector.name))

        def finished(number: int, cell: Cell) -> None:
            bar.update(whole, completed=number)
            console.print(_line(number, n_cells, cell), markup=False, soft_wrap=True)

        yield progress, starting, finished


def _line(number: int, n_cells: int, cell: Cell) -> str:
    if cell.record is not None and cell.record.metrics is not None:
        accuracy = percent(cell.record.metrics.test.accuracy_last)
        again = " (before)" if cell.status == "already finished" else ""
        result = f"{accuracy:>8}  {cell.record.times.total_s:5.1f} s{again}"
    else:
        result = cell.status.upper()
    width = len(str(n_cells))
    return printable(f"[{number:>{width}}/{n_cells}] {_title(cell):<58} {result}")
