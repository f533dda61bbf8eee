"""Embed whole data sets ahead of runs: parts of whole shards, through any executor."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from nlbench.config.resolve import resolve
from nlbench.config.run_config import RunConfig
from nlbench.encoders.base import Encoder, Precision
from nlbench.encoders.extract import PRECISION_VARIABLE, embedding_precision
from nlbench.encoders.features import load_encoder
from nlbench.encoders.manifest import Manifest
from nlbench.errors import ConfigError, PausedError, RunError
from nlbench.plugins import registry
from nlbench.results.store import RunStore
from nlbench.runner.embed_plan import EmbedPlan
from nlbench.runner.executors import (
    Executor,
    SweepOrder,
    driver_device,
    open_executor,
    require_executor,
)
from nlbench.runner.inputs import data_of
from nlbench.runner.part_work import PartOutcome, PartWork
from nlbench.runner.pausing import why_end
from nlbench.runner.submitting import submit_all
from nlbench.runner.workplace import Progress, Workplace, deadline_after, no_progress

log = logging.getLogger("nlbench")

_TRIES = 3  # of a part whose process died


@dataclass(frozen=True)
class EmbedOrder:
    """What is to be embedded, and where.

    Attributes:
        plans: A plan for each encoder.
        place: The driver's.
        executor: Its name.
        device: As typed.
        jobs: The most parts at once; None leaves it to the executor.
        options: The executor's own.
        part_size: Images of a part; None for 64 parts.
    """

    plans: Sequence[EmbedPlan]
    place: Workplace
    executor: str = "local"
    device: str = "auto"
    jobs: int | None = None
    options: Mapping[str, Any] | None = None
    part_size: int | None = None

    def opened(self, parts: Sequence[PartWork]) -> Executor:
        """Return the executor, which is entered as a context."""
        order = SweepOrder(
            self.place, self.device, self.jobs, works=parts, options=self.options or {}
        )
        return open_executor(self.executor, order)


def embed(
    dataset: str | None = None,
    encoders: Sequence[str] = (),
    *,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    plugins: Sequence[str | Path] = (),
    data_dir: str | Path | None = None,
    device: str = "auto",
    executor: str = "local",
    jobs: int | None = None,
    options: Mapping[str, Any] | None = None,
    part_size: int | None = None,
    home: str | Path | None = None,
    max_time_s: float | None = None,
    progress: Progress = no_progress,
) -> list[Manifest]:
    """Embed all training and test images of a data set that the cache lacks.

    Args:
        dataset: Name, or ``folder:PATH``; digits where left out.
        encoders: Full names; those of the data set's protocol where left out.
        recipe: Name or file of a recipe, whose data set and protocol are taken.
        settings: More settings, as ``--set`` takes them.
        plugins: Python files that define encoders or data sets.
        data_dir: Folder that contains the data sets.
        device: auto, cpu, cuda, cuda:N or mps.
        executor: local, ray or slurm.
        jobs: Parts at once, each in a process.
        options: Of the executor, such as ``{"address": "auto"}``.
        part_size: Images of a part, in whole shards of 1024.
        home: Where the cache is; `NLBENCH_HOME` where left out.
        max_time_s: After so many seconds it ends early; calling it again goes on.
        progress: Called with ("parts", parts that have ended, parts).

    Returns:
        A manifest for each encoder, also on disk in the cache.

    Raises:
        ConfigError, DataError, PluginError: if a name, setting, file or plugin is wrong.
        RunError: if a part failed; the others are stored.
        PausedError: if it ended early.
    """
    for file in plugins:
        registry.add_plugin_file(Path(file))
    where = None if data_dir is None else Path(data_dir).expanduser()
    config = resolve(dataset=dataset, recipe=recipe, settings=settings, data_dir=where)
    place = embed_place(executor, device, where, home, max_time_s)
    plans = plans_of(config, encoders, place, precision_rule(executor, device, options or {}))
    order = EmbedOrder(plans, place, executor, device, jobs, options, part_size)
    with ExitStack() as held:
        parts = reserve(order, held)
        outcomes = []
        for outcome in run_parts(order, parts):
            outcomes.append(outcome)
            progress("parts", len(outcomes), len(parts))
        failed = [outcome for outcome in outcomes if outcome.status == "failed"]
        if failed:
            raise RunError(f"{len(failed)} of {len(parts)} parts failed. {failed[0].message}")
        if sum(outcome.status == "finished" for outcome in outcomes) < len(parts):
            raise PausedError("embedding ends early. The same call goes on.")
        return [plan.finish() for plan in plans]


def embed_place(
    executor: str,
    device: str,
    data_dir: Path | None,
    home: str | Path | None = None,
    max_time_s: float | None = None,
) -> Workplace:
    """Return the driver's place, which has no MLflow store.

    Raises:
        ConfigError: if the executor or the device is unknown.
    """
    require_executor(executor)
    where = driver_device(executor, device)
    return Workplace(RunStore(home), where, data_dir=data_dir, deadline=deadline_after(max_time_s))


def precision_rule(
    executor: str, device: str, options: Mapping[str, Any]
) -> Callable[[Encoder, torch.device], Precision]:
    """Return how to tell the arithmetic in which the machines embed, which the driver may not be.

    Each part checks that it holds on its machine.
    """
    has_gpus = device.startswith("cuda") or (device == "auto" and bool(options.get("gpus")))

    def tell(encoder: Encoder, driver: torch.device) -> Precision:
        if executor == "local" or not has_gpus or os.environ.get(PRECISION_VARIABLE):
            return embedding_precision(driver, encoder)
        return "float32" if encoder.needs_float32 else "bfloat16"

    return tell


def plans_of(
    config: RunConfig,
    encoders: Sequence[str],
    place: Workplace,
    precision: Callable[[Encoder, torch.device], Precision],
) -> list[EmbedPlan]:
    """Read the data set and load the encoders.

    Raises:
        ConfigError: if there is no such encoder, or the data set's protocol names none.
        DataError: if the data set or the weights are out of reach.
    """
    protocol = config.protocol
    own = [protocol.image_encoder, protocol.image_text_encoder]
    names = list(dict.fromkeys(filter(None, encoders or own)))
    if not names:
        raise ConfigError(
            f"the protocol of {config.dataset.name!r} names no encoder: give one with --encoder. "
            "See `nlbench list encoders`."
        )
    loaded = [load_encoder(name) for name in names]
    data = data_of(config.dataset, place.data_dir)
    return [
        EmbedPlan.of(config, data, encoder, precision(encoder, place.device), place)
        for encoder in loaded
    ]


def reserve(order: EmbedOrder, held: ExitStack) -> list[PartWork]:
    """Keep other processes from embedding the same, as long as `held`, and return what is left."""
    parts: list[PartWork] = []
    for plan in order.plans:
        held.enter_context(plan.reserved())
        parts += plan.parts(plan.stored(), order.part_size)
    return parts


def run_parts(
    order: EmbedOrder,
    parts: Sequence[PartWork],
    on_start: Callable[[PartWork], Progress] = lambda part: no_progress,
    executor: Executor | None = None,
) -> Generator[PartOutcome, None, None]:
    """Embed parts and yield how each ended; one whose process died begins again, twice.

    Args:
        order: What is to be embedded.
        parts: The parts; where there are none, no executor is opened.
        on_start: Called with a part that begins; returns what its progress is told to.
        executor: One that is opened; opened here where left out.
    """
    if not parts:
        return
    by_key = {part.key: part for part in parts}
    with executor or order.opened(parts) as opened:
        left = list(parts)
        for number in range(1, _TRIES + 1):
            lost: list[PartWork] = []
            for ended in submit_all(left, opened, order.place, on_start):
                outcome = cast("PartOutcome", ended)
                if outcome.is_lost and number < _TRIES and not why_end(order.place.deadline):
                    part = by_key[outcome.key]
                    log.warning("%s: %s It begins again.", part.title, outcome.message)
                    lost.append(part)
                else:
                    yield outcome
            left = lost
