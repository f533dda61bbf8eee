"""``nlbench sweep``: a grid of runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlbench.cli.console import counted, printable, say_loading
from nlbench.cli.options import (
    EVERY,
    CheckpointEvery,
    DataDir,
    Deterministic,
    Device,
    MaxTime,
    Plugins,
    TrackingUri,
    add_plugins,
    most_seconds,
    seconds_of,
)
from nlbench.cli.sweep_bars import cell_progress, reason_of, title_of
from nlbench.errors import PausedError

if TYPE_CHECKING:
    from nlbench.config.run_config import RunConfig
    from nlbench.config.sweep_plan import SweepPlan
    from nlbench.results.store import RunStore
    from nlbench.runner.cell import Cell
    from nlbench.runner.executors import Executor


def sweep(
    file: Annotated[
        Path | None,
        typer.Argument(help="YAML file with the axes; put options before the file name."),
    ] = None,
    selector: Annotated[
        list[str] | None,
        typer.Option(
            help="Selector, loss or SELECTOR+TRAINER; NAME:k=5,10 spans values. (default: all)"
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(help="Data set, repeatable. (default: the recipe's, else digits)"),
    ] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(
            help="KIND:RATE, repeatable. (default: the recipe's, else symmetric:0.4 and "
            "asymmetric:0.4)"
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Like 0-2 or 0,3,7. (default: 0-2)")] = None,
    trainer: Annotated[str | None, typer.Option(help="Trainer of all runs.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of all runs.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe of all runs: a name or file.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value for every run.")
    ] = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    tracking_uri: TrackingUri = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of parallel runs, one process each. (default: one per GPU here, else 1; "
            "of another executor as many as it has room for)",
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="Where runs go: local, ray or slurm; the last two are extras.")
    ] = "local",
    slurm_partition: Annotated[
        str | None, typer.Option(metavar="NAME", help="Partition of the jobs. (default: Slurm's)")
    ] = None,
    slurm_time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time limit of a job, as sbatch takes it; a longer run goes on in the next. "
            "(default: 60 minutes)",
        ),
    ] = None,
    slurm_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory of a job, like 16G.")
    ] = None,
    slurm_gpus: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="GPUs of a job. (default: none)")
    ] = None,
    slurm_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Any other long option of sbatch, repeatable."),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local for one that ends with "
            "the sweep. (default: auto)"
        ),
    ] = None,
    ray_cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs that a run on Ray declares. (default: 1)")
    ] = None,
    ray_gpus: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="GPUs that a run on Ray declares, such as 0.5. (default: 1 if there are any)",
        ),
    ] = None,
    selector_timeout: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Seconds that the selector of a run may take, with its embeddings."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Repeat finished runs.")] = False,
    deterministic: Deterministic = False,
    max_time: MaxTime = None,
    checkpoint_every: CheckpointEvery = EVERY,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only the I-th of N parts of the grid, I from 1 to N."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs and what is finished; run nothing.")
    ] = False,
) -> None:
    """Run a grid: every method x data set x noise x seed.

    Finished cells are skipped, killed and failed ones are done again, and the failure of one cell
    stops no other. Several sweeps at once with one home share the work, and each ends when all of
    its cells are finished. The exit code is 1 if any cell failed. A cell that was killed goes on
    from its last checkpoint. A sweep that ends early, for --max-time, SIGTERM or SIGUSR1, has the
    exit code 75: the same command goes on.

    Examples:

      nlbench sweep

      nlbench sweep --selector clipcleaner --selector small-loss --noise symmetric:0.2 --seeds 0-4

      nlbench sweep --selector small-loss:divider=rate --noise pair:0.3 --plugin my_idea.py

      nlbench sweep --selector clip-knn:k=5,10,20 --seeds 0-4

      nlbench sweep grid.yaml --device cuda

      nlbench sweep --jobs 2

      nlbench sweep grid.yaml --dry-run

      nlbench sweep grid.yaml --shard 2/8

      nlbench sweep grid.yaml --max-time 50m
    """
    started = time.perf_counter()  # before the heavy imports: they are part of the price
    say_loading()
    from nlbench.config.setting_text import parse_setting
    from nlbench.config.sweep_plan import SweepPlan, load_plan, parse_seeds, shard_of
    from nlbench.results.store import RunStore
    from nlbench.runner.executors import SweepOrder, driver_device, open_executor, require_executor
    from nlbench.runner.pausing import pausing_on_signals
    from nlbench.runner.sweep import run_sweep
    from nlbench.runner.workplace import Workplace, deadline_after, open_tracker

    require_executor(executor)
    options = _options_of(
        executor,
        ray={"address": ray_address, "cpus": ray_cpus, "gpus": ray_gpus},
        slurm={
            "partition": slurm_partition, "time": slurm_time, "memory": slurm_memory,
            "gpus": slurm_gpus, "option": slurm_option,
        },
    )  # fmt: skip
    max_time_s = most_seconds(max_time)
    checkpoint_every_s = seconds_of(checkpoint_every, "--checkpoint-every")
    add_plugins(plugin)
    plan = load_plan(file) if file else SweepPlan()
    axes: dict[str, Any] = {
        "selectors": tuple(selector or ()), "datasets": tuple(dataset or ()),
        "noises": tuple(noise or ()), "seeds": parse_seeds(seeds) if seeds else (),
        "trainer": trainer, "epochs": epochs, "recipe": recipe,
        "settings": dict(parse_setting(text) for text in settings or []),
    }  # fmt: skip
    plan = replace(plan, **{key: value for key, value in axes.items() if value})
    grid, store = plan.configs(data_dir), RunStore()
    configs = shard_of(grid, shard) if shard else grid
    _announce(plan, len(grid), jobs or 1)
    if shard:
        typer.echo(f"part {shard}: {counted(len(configs), 'run')} of these", err=True)
    if dry_run:
        _list(configs, store, force)
        return
    where = driver_device(executor, device)
    place = Workplace(
        store, where, None, data_dir, force, deterministic,
        checkpoint_every_s=checkpoint_every_s, deadline=deadline_after(max_time_s),
    )  # fmt: skip
    place = replace(place, tracker=open_tracker(tracking_uri, store))
    order = SweepOrder(place, device, jobs, selector_timeout, configs, options)
    opened = open_executor(executor, order)
    cells: list[Cell] = []
    at_once = 1
    with (
        _saying_how_to_go_on(opened, cells, len(configs)),
        pausing_on_signals(),
        cell_progress(len(configs)) as (starting, ended),
        closing(run_sweep(configs, place, starting, on_wait=_say_waiting, executor=opened)) as runs,
    ):
        for cell in runs:
            cells.append(cell)
            at_once = max(at_once, opened.capacity)
            ended(len(cells), cell)
    _summarise(cells, len(configs), time.perf_counter() - started, at_once)


def _options_of(executor: str, **by_executor: dict[str, Any]) -> dict[str, Any]:
    """Return the options of an executor that were given.

    Raises:
        ConfigError: if one of another executor was given.
    """
    from nlbench.errors import ConfigError

    given = {
        name: {key: value for key, value in options.items() if value not in (None, [])}
        for name, options in by_executor.items()
    }
    for name, options in given.items():
        if options and name != executor:
            raise ConfigError(
                f"--{name}-{min(options)} is for --executor {name}, got --executor {executor}. "
                f"Leave it out, or add --executor {name}."
            )
    return given.get(executor, {})


@contextmanager
def _saying_how_to_go_on(executor: Executor, cells: Sequence[Cell], n_cells: int) -> Iterator[None]:
    """After Ctrl-C, say how far it got and how it goes on; what was under way is cancelled."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(
            f"Stopped: {len(cells)} of {counted(n_cells, 'run')} ended, those under way were "
            f"cancelled. The same command goes on from here. {executor.how_to_go_on()}".rstrip(),
            err=True,
        )
        raise


def _announce(plan: SweepPlan, n_cells: int, jobs: int) -> None:
    datasets, noises = (set(axis) for axis in zip(*plan.boards, strict=True))
    axes = (
        counted(n_cells // (len(plan.boards) * len(plan.seeds)), "method"),
        counted(len(datasets), "data set"),
        counted(len(noises), "noise"),
        counted(len(plan.seeds), "seed"),
    )
    at_once = f", {jobs} at once" if jobs > 1 else ""
    typer.echo(f"{counted(n_cells, 'run')}: {' x '.join(axes)}{at_once}", err=True)


def _say_waiting(configs: Sequence[RunConfig]) -> None:
    are = "is" if len(configs) == 1 else "are"
    typer.echo(
        f"{counted(len(configs), 'run')} {are} under way in another process; waiting for it. "
        "What it finishes counts here, what it leaves is done here.",
        err=True,
    )


def _list(configs: Sequence[RunConfig], store: RunStore, force: bool) -> None:
    from nlbench.runner.outlook import outlook

    states = outlook(configs, store)
    for config, state in zip(configs, states, strict=True):
        typer.echo(printable(f"{state:<12}  {config.fingerprint[:12]}  {title_of(config)}"))
    counts = Counter(states)
    n_left = len(configs) if force else len(configs) - counts["finished"]
    parts = ", ".join(f"{n} {state}" for state, n in counts.items()) or "no runs"
    typer.echo(f"{parts}. Without --dry-run {counted(n_left, 'run')} would be done.", err=True)


def _summarise(cells: list[Cell], n_asked: int, total_s: float, jobs: int) -> None:
    counts: Counter[str] = Counter(cell.status for cell in cells)
    if len(cells) < n_asked:
        counts["not begun"] = n_asked - len(cells)
    parts = ", ".join(f"{n} {status}" for status, n in counts.items())
    typer.echo(parts or "nothing to run", err=True)
    if any(cell.wall_s for cell in cells):
        # Of runs side by side the stages together take longer than the clock says.
        shared_s = run_seconds(cells) if jobs > 1 else total_s
        stages = seconds_by_stage(cells, shared_s)
        parts = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items())
        whole = f"{total_s:.1f} s" + (
            f" with {jobs} jobs, whose runs took {shared_s:.1f} s" if jobs > 1 else ""
        )
        typer.echo(f"{whole}: {parts}", err=True)
    bad = [cell for cell in cells if cell.status == "failed"]
    for cell in bad:
        title = printable(f"  {cell.status}: {title_of(cell.config)}")
        typer.secho(title, fg=typer.colors.RED, err=True)
        for text in reason_of(cell):
            typer.echo(f"    {text}", err=True)
    if counts["paused"] or counts["not begun"]:
        typer.echo("The sweep ends early. The same command goes on.", err=True)
        raise typer.Exit(PausedError.exit_code)
    if bad:
        typer.echo("Repeat the same command to run them again.", err=True)
        raise typer.Exit(1)
    typer.echo("Next: nlbench leaderboard", err=True)


def seconds_by_stage(cells: Iterable[Cell], total_s: float) -> dict[str, float]:
    """Return where the seconds of a sweep went.

    Args:
        cells: How its cells ended; only those that were finished now count.
        total_s: From the command to the end; of several processes at once `run_seconds`.

    Returns:
        Seconds of ``train``, ``select``, ``embed``, ``data``, ``log`` (record, figures, MLflow)
        and ``rest`` (what is left of `total_s`: evaluation, and outside of the runs imports,
        opening the stores, failed cells); they sum to `total_s`.
    """
    ran = [(cell.record.times, cell.wall_s) for cell in cells if cell.record and cell.wall_s]
    stages = {
        stage: sum(getattr(times, f"{stage}_s") for times, _ in ran)
        for stage in ("train", "select", "embed", "data")
    }
    stages["log"] = sum(wall_s - times.total_s for times, wall_s in ran)
    return {**stages, "rest": total_s - sum(stages.values())}


def run_seconds(cells: Iterable[Cell]) -> float:
    """Return the seconds of all runs that were finished now, one after the other."""
    return sum(cell.wall_s for cell in cells)
