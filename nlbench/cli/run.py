"""``nlbench run``: one selector on one noisy data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nlbench.cli.console import printable

if TYPE_CHECKING:
    from nlbench.results.record import RunRecord
    from nlbench.results.store import RunStore


def run(
    selector: Annotated[
        str | None, typer.Option(help="Selector, or NAME:key=value,... (default: clipcleaner)")
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
        int, typer.Option(min=0, help="Of noise, weights and order, each by itself.")
    ] = 0,
    trainer: Annotated[str | None, typer.Option(help="Trainer. (default: cross-entropy)")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the trainer.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe: a name from `nlbench list recipes`, or a file.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for selector, trainer, protocol, noise or data."),
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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the run record alone, as JSON.")
    ] = False,
) -> None:
    """Run one selector on one noisy data set: select, train, evaluate, record.

    Examples:

      nlbench run

      nlbench run --selector small-loss --noise asymmetric --noise-rate 0.4 --seed 1

      nlbench run --dataset folder:my-images --selector clip-knn --noise none

      nlbench run --selector clipcleaner --set temperature=0.01 --set trainer.lr=0.1

      nlbench run --plugin my_idea.py --selector my-idea --json > record.json
    """
    from nlbench.cli.console import run_progress
    from nlbench.config.resolve import resolve
    from nlbench.config.setting_text import parse_setting
    from nlbench.errors import NlbenchError
    from nlbench.machine import resolve_device
    from nlbench.plugins import registry
    from nlbench.results.store import RunStore
    from nlbench.runner.run import finished_record, open_tracker, run_config

    for file in plugin or []:
        registry.add_plugin_file(file)
    config = resolve(
        selector=selector, dataset=dataset, noise=noise, noise_rate=noise_rate, seed=seed,
        trainer=trainer, epochs=epochs, recipe=recipe, data_dir=data_dir,
        settings=dict(parse_setting(text) for text in settings or []),
    )  # fmt: skip
    chosen, store = resolve_device(device), RunStore()
    record = None if force else finished_record(store, config)
    done_before = record is not None
    if record is None:
        before = _stored(store, config.fingerprint)
        try:
            tracker = open_tracker(tracking_uri, store)
            with run_progress() as progress:
                record = run_config(
                    config, store, chosen, tracker, data_dir, progress, force, deterministic
                )
        except NlbenchError:
            after = _stored(store, config.fingerprint)
            if as_json and after is not None and after != before:
                typer.echo(after.to_json())  # a failed run's record is the answer too
            raise
    _print_result(record, store, as_json, done_before)


def _stored(store: RunStore, fingerprint: str) -> RunRecord | None:
    from nlbench.errors import DataError

    try:
        return store.read(fingerprint)
    except DataError:  # damaged: --force is about to replace it
        return None


def _print_result(record: RunRecord, store: RunStore, as_json: bool, done_before: bool) -> None:
    from rich.console import Console

    from nlbench.cli.result_table import result_table

    console = Console(stderr=as_json)
    console.print(result_table(record))
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
    page = f"#/experiments/{place.get('experiment_id')}/runs/{place.get('run_id')}"
    return f"nlbench ui, then http://127.0.0.1:5000/{page}"
