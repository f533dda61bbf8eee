"""``nlbench embed``: the embeddings of a whole data set, ahead of all runs."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated

import typer

from nlbench.cli.console import counted, printable, quiet_stdout, say_loading
from nlbench.cli.executor_options import (
    ExecutorName,
    RayAddress,
    RayCpus,
    RayGpus,
    SlurmGpus,
    SlurmMemory,
    SlurmOption,
    SlurmPartition,
    SlurmTime,
    options_of,
    saying_how_to_go_on,
)
from nlbench.cli.options import DataDir, Device, MaxTime, Plugins, add_plugins, most_seconds
from nlbench.cli.sweep_bars import work_progress
from nlbench.errors import PausedError

if TYPE_CHECKING:
    from nlbench.encoders.manifest import Manifest
    from nlbench.runner.embedding import EmbedOrder
    from nlbench.runner.part_work import PartOutcome, PartWork


def embed(
    dataset: Annotated[
        str | None, typer.Option(help="Data set. (default: the recipe's, else digits)")
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="Encoder, repeatable. (default: those of the data set's protocol)"),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe: a name or file.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, as for a run.")
    ] = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Parts at once, one process each. (default: one per GPU here, else 1; of another "
            "executor as many as it has room for)",
        ),
    ] = None,
    part_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images of a part, rounded up to whole shards of 1024. (default: as many as make "
            "64 parts)",
        ),
    ] = None,
    executor: ExecutorName = "local",
    slurm_partition: SlurmPartition = None,
    slurm_time: SlurmTime = None,
    slurm_memory: SlurmMemory = None,
    slurm_gpus: SlurmGpus = None,
    slurm_option: SlurmOption = None,
    ray_address: RayAddress = None,
    ray_cpus: RayCpus = None,
    ray_gpus: RayGpus = None,
    max_time: MaxTime = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is missing; embed nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a summary alone, as JSON.")
    ] = False,
) -> None:
    """Embed all images of a data set ahead of its runs.

    Training and test images that the cache lacks are cut into parts of whole shards, which run as
    the runs of a sweep do. Each shard is written once; a command that was killed goes on after the
    last one. In the end every shard is checked, and a manifest says which they are. Runs, sweeps
    and `nlbench clean` then read all embeddings from the cache.

    Not embedded ahead are what depends on a run: augmented views, rotated pictures (`nlbench clean
    --rotated`), texts, and further test sets.

    The exit code is 1 if any part failed, 75 if it ended early.

    Examples:

      nlbench embed --dataset folder:photos --encoder efficientnet-lite0

      nlbench embed --dataset cifar10 --data-dir ~/data --jobs 2

      nlbench embed --dataset folder:photos --executor slurm --slurm-gpus 1 --device cuda

      nlbench embed --dataset folder:photos --dry-run
    """
    started = time.perf_counter()
    say_loading()
    from nlbench.config.resolve import resolve
    from nlbench.config.setting_text import parse_setting
    from nlbench.runner.embedding import EmbedOrder, embed_place, plans_of, precision_rule

    options = options_of(
        executor,
        ray={"address": ray_address, "cpus": ray_cpus, "gpus": ray_gpus},
        slurm={
            "partition": slurm_partition, "time": slurm_time, "memory": slurm_memory,
            "gpus": slurm_gpus, "option": slurm_option,
        },
    )  # fmt: skip
    place = embed_place(executor, device, data_dir, max_time_s=most_seconds(max_time))
    add_plugins(plugin)
    with quiet_stdout(as_json):
        config = resolve(
            dataset=dataset, recipe=recipe, data_dir=data_dir,
            settings=dict(parse_setting(text) for text in settings or []),
        )  # fmt: skip
        rule = precision_rule(executor, device, options)
        plans = plans_of(config, encoder or (), place, rule)
        order = EmbedOrder(plans, place, executor, device, jobs, options, part_size)
        if dry_run:
            content = _outlook(order)
        else:
            manifests, n_embedded = _embedded(order)
            seconds = time.perf_counter() - started
            content = {**_summary(order, manifests), "embedded": n_embedded, "seconds": seconds}
            if not as_json:
                _say(order, manifests, n_embedded, seconds)
    if as_json:
        typer.echo(json.dumps(content, indent=1))


def _outlook(order: EmbedOrder) -> dict[str, object]:
    rows = []
    for plan in order.plans:
        found = plan.stored(is_dry=True)
        parts = plan.parts(found, order.part_size)
        n_missing = len(found.missing)
        damaged = f", {counted(len(found.damaged), 'damaged shard')}" if found.damaged else ""
        line = (
            f"{plan.encoder}: {n_missing} of {plan.n_images} different images to embed, "
            f"{counted(len(parts), 'part')}{damaged}"
        )
        typer.echo(printable(line))
        rows.append(
            {
                "encoder": plan.encoder, "images": plan.n_images, "missing": n_missing,
                "parts": len(parts), "damaged": list(found.damaged),
            }
        )  # fmt: skip
    return {"data": order.plans[0].data.name, "encoders": rows}


def _embedded(order: EmbedOrder) -> tuple[list[Manifest], int]:
    """Embed what is missing; return the manifests and the number of images embedded now.

    Raises:
        Exit: with 1 if a part failed, 75 if it ended early.
    """
    from nlbench.runner.embedding import reserve, run_parts
    from nlbench.runner.pausing import pausing_on_signals

    with ExitStack() as held:
        parts = reserve(order, held)
        _announce(order, parts)
        outcomes: list[PartOutcome] = []
        if parts:
            titles = {part.key: part for part in parts}
            opened = order.opened(parts)
            with (
                saying_how_to_go_on(opened, outcomes, len(parts), "part"),
                pausing_on_signals(),
                work_progress(len(parts), "all parts") as (starting, ended),
                closing(
                    run_parts(order, parts, lambda p: starting(p.key, p.title), opened)
                ) as running,
            ):
                for outcome in running:
                    outcomes.append(outcome)
                    line = _line(len(outcomes), len(parts), titles[outcome.key], outcome)
                    why = () if outcome.status == "finished" else (printable(outcome.message),)
                    ended(len(outcomes), outcome.key, line, why, outcome.status == "failed")
        _end_where_not_all(outcomes, len(parts))
        n_embedded = sum(part.n_images for part in parts)
        return [plan.finish() for plan in order.plans], n_embedded


def _announce(order: EmbedOrder, parts: list[PartWork]) -> None:
    if not parts:
        typer.echo("nothing to embed: every image is in the cache", err=True)
        return
    n_images = sum(part.n_images for part in parts)
    names = ", ".join(plan.encoder for plan in order.plans)
    jobs = f", {order.jobs} at once" if order.jobs and order.jobs > 1 else ""
    typer.echo(
        printable(
            f"{order.plans[0].data.name} by {names}: {counted(n_images, 'embedding')} to make in "
            f"{counted(len(parts), 'part')}{jobs}"
        ),
        err=True,
    )


def _line(number: int, n: int, part: PartWork, outcome: PartOutcome) -> str:
    result = f"{part.n_images:>7} images  {outcome.wall_s:6.1f} s"
    if outcome.status != "finished":
        result = outcome.status.upper()
    return printable(f"[{number:>{len(str(n))}}/{n}] {part.title:<50} {result}")


def _end_where_not_all(outcomes: list[PartOutcome], n: int) -> None:
    counts: Counter[str] = Counter(outcome.status for outcome in outcomes)
    if len(outcomes) < n:
        counts["not begun"] = n - len(outcomes)
    if counts.total() == counts["finished"]:
        return
    typer.echo(", ".join(f"{count} {status}" for status, count in counts.items()), err=True)
    if counts["paused"] or counts["not begun"]:
        typer.echo("It ends early. The same command goes on.", err=True)
        raise typer.Exit(PausedError.exit_code)
    typer.echo("Repeat the same command for the parts that failed; the others are kept.", err=True)
    raise typer.Exit(1)


def _summary(order: EmbedOrder, manifests: list[Manifest]) -> dict[str, object]:
    return {
        "data": order.plans[0].data.name,
        "encoders": [
            {
                "encoder": manifest.encoder["encoder"],
                "images": manifest.images,
                "different": manifest.different,
                "dimensions": manifest.dimensions,
                "shards": len(manifest.shards),
                "manifest": str(manifest.path(plan.entry)),
            }
            for plan, manifest in zip(order.plans, manifests, strict=True)
        ],
    }


def _say(order: EmbedOrder, manifests: list[Manifest], n_embedded: int, seconds: float) -> None:
    for plan, manifest in zip(order.plans, manifests, strict=True):
        typer.echo(
            printable(
                f"{manifest.encoder['encoder']}: {manifest.n_images} images "
                f"({manifest.different} different) x {manifest.dimensions} in "
                f"{counted(len(manifest.shards), 'shard')}, all checked: "
                f"{manifest.path(plan.entry)}"
            )
        )
    typer.echo(f"{counted(n_embedded, 'embedding')} made now, {seconds:.1f} s", err=True)
