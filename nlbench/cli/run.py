"""``nlbench run``: one selector on one noisy data set."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from nlbench.cli.console import print_table, printable
from nlbench.cli.options import (
    EVERY,
    CheckpointEvery,
    DataDir,
    Deterministic,
    Device,
    MaxTime,
    Plugins,
    TrackingUri,
    most_seconds,
    seconds_of,
)

if TYPE_CHECKING:
    from nlbench.results.record import RunRecord
    from nlbench.results.store import RunStore
    from nlbench.runner.workplace import Progress


def run(
    selector: Annotated[
        str | None,
        typer.Option(
            help="Selector, loss or SELECTOR+TRAINER; NAME:key=value,... (default: clipcleaner)"
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Data set, or folder:PATH. (default: digits)")
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="Kind of label noise. (default: symmetric)")
    ] = None,
    noise_rate: Annotated[
        float | None, typer.Option(help="Noise rate in [0, 1). (default: 0.4)", show_default=False)
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, help="Seed for noise, initial weights and batch order (independent streams)."
        ),
    ] = 0,
    trainer: Annotated[
        str | None,
        typer.Option(help="Trainer; steps, network and augmentation stay. (default: the recipe's)"),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the trainer.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe: a name from `nlbench list recipes`, or a file.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for selector, trainer, protocol, noise or data."),
    ] = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    devices: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Share this run among N GPUs, or N processes on the CPU. (default: those that "
            "torchrun started, else 1)",
        ),
    ] = None,
    tracking_uri: TrackingUri = None,
    force: Annotated[bool, typer.Option("--force", help="Repeat a finished run.")] = False,
    deterministic: Deterministic = False,
    max_time: MaxTime = None,
    checkpoint_every: CheckpointEvery = EVERY,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the run record alone, as JSON.")
    ] = False,
) -> None:
    """Run one selector on one noisy data set and record it.

    Selects, trains, evaluates, records. A run that was killed goes on from its last checkpoint when
    the same command is given again. One that ends early, for --max-time, SIGTERM or SIGUSR1, has
    the exit code 75.

    Examples:

      nlbench run

      nlbench run --selector small-loss --noise asymmetric --noise-rate 0.4 --seed 1

      nlbench run --dataset folder:my-images --selector clip-knn --noise none

      nlbench run --selector clipcleaner --set temperature=0.01 --set trainer.lr=0.1

      nlbench run --plugin my_idea.py --selector my-idea --json > record.json

      nlbench run --recipe standard/cifar10 --max-time 50m

      nlbench run --recipe standard/cifar10 --devices 8
    """
    from nlbench.cli.console import quiet_stdout, run_progress, say_loading, silence

    say_loading()
    import nlbench
    from nlbench.config.setting_text import parse_setting
    from nlbench.errors import NlbenchError
    from nlbench.machine.joining import rank_here, require_devices, world_size
    from nlbench.results.store import RunStore
    from nlbench.runner.ends_of_ranks import end_noted
    from nlbench.runner.pausing import pausing_on_signals
    from nlbench.runner.process_per_device import run_in_processes

    max_time_s = most_seconds(max_time)
    checkpoint_every_s = seconds_of(checkpoint_every, "--checkpoint-every")
    require_devices(devices, device)
    if (devices or 1) > world_size():
        raise typer.Exit(run_in_processes(devices or 1, sys.argv[1:]))
    if rank_here():
        silence()
    try:
        with (
            run_progress() as shown, quiet_stdout(as_json), pausing_on_signals(rank_here() > 0),
            end_noted(),
        ):  # fmt: skip
            progress = _Noticed(shown)
            record = nlbench.run(
                selector, dataset, noise, noise_rate, seed, trainer=trainer, epochs=epochs,
                recipe=recipe, settings=dict(parse_setting(text) for text in settings or []),
                plugins=plugin or (), data_dir=data_dir, device=device, devices=devices,
                tracking_uri=tracking_uri, force=force, deterministic=deterministic,
                progress=progress,
                max_time_s=max_time_s, checkpoint_every_s=checkpoint_every_s,
            )  # fmt: skip
    except NlbenchError as error:
        if as_json and error.record is not None:
            typer.echo(error.record.to_json())  # a failed run's record is the answer too
        raise
    _print_result(record, RunStore(), as_json, done_before=not progress.began)


class _Noticed:
    """Progress that is passed on, and whether there was any: a finished run makes none."""

    def __init__(self, shown: Progress) -> None:
        self._shown, self.began = shown, False

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.began = True
        self._shown(stage, done, total)


def _print_result(record: RunRecord, store: RunStore, as_json: bool, done_before: bool) -> None:
    from rich.console import Console

    from nlbench.cli.result_table import result_table

    console = Console(stderr=as_json)
    print_table(result_table(record), stderr=as_json)
    if done_before:
        console.print("This run was finished before; --force repeats it.", style="dim")
    console.print("[bold]Record[/]   ", end="")
    console.print(
        str(store.folder(record.fingerprint) / "record.json"), markup=False, soft_wrap=True
    )
    place = store.mlflow_run(record.fingerprint)
    if place:
        console.print("[bold]MLflow[/]   ", end="")
        console.print(_mlflow_line(place), markup=False, soft_wrap=True)
    else:
        console.print("[bold]MLflow[/]   not logged there; `nlbench sync` does it")
    console.print("[bold]Repeat[/]   ", end="")
    console.print(printable(record.command), markup=False, soft_wrap=True)
    if as_json:
        typer.echo(record.to_json())


def _mlflow_line(place: dict[str, str]) -> str:
    if place.get("url"):
        return place["url"]
    from nlbench.tracking import run_link

    link = run_link(
        "http://127.0.0.1:5000", str(place.get("experiment_id")), str(place.get("run_id"))
    )
    return f"nlbench ui, then {link}"
