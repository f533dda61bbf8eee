"""A grid of runs: skips what is finished, redoes what was killed, goes on after a failure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence

from nlbench.config.run_config import RunConfig
from nlbench.errors import ConfigError
from nlbench.runner.cell import Cell, earlier_cell, outsiders, run_cell
from nlbench.runner.pausing import why_end
from nlbench.runner.worker_pool import Workers
from nlbench.runner.workplace import Progress, Workplace, no_progress

OnStart = Callable[[RunConfig], Progress]
OnWait = Callable[[Sequence[RunConfig]], None]

_LOOK_AGAIN_S = 1.0  # at cells that another process has; what it reads is a file for each


def run_sweep(
    configs: Sequence[RunConfig],
    place: Workplace,
    on_start: OnStart = lambda config: no_progress,
    jobs: int = 1,
    selector_timeout_s: float | None = None,
    on_wait: OnWait = lambda configs: None,
) -> Generator[Cell, None, None]:
    """Run cell after cell and yield how each ended; an error of one does not stop the others.

    What comes out does not depend on `jobs`, except for the order in which cells end. Cells with
    plugins that nlbench does not ship have processes of their own: what such a plugin breaks, its
    process included, no other cell feels. Several sweeps with one home share the work: a cell that
    another process has comes last, when that process has finished it; where it failed or was
    killed there, it is done here. Where the command is to end early, no cell begins any more, and
    those under way are paused; one begins in any case, so that repeated commands get somewhere.

    Args:
        configs: The cells.
        place: Where they run; all processes share it.
        on_start: Called with a cell that begins; returns what its progress is told to.
        jobs: Number of parallel runs; from 2 on, in processes of their own, which end with the
            generator.
        selector_timeout_s: How long a run's selector may take, the embeddings that it asks for
            included; a run that takes longer has failed. With it every cell has a process.
        on_wait: Called once, when nothing is left but cells that other processes have.

    Raises:
        ConfigError: if `jobs` is below 1, or the seconds are not above 0.
        RunError: if no process can be started.
    """
    if jobs < 1:
        raise ConfigError(f"jobs must be a whole number >= 1, got {jobs}.")
    if selector_timeout_s is not None and not 0 < selector_timeout_s < math.inf:
        raise ConfigError(f"selector_timeout_s must be seconds > 0, got {selector_timeout_s}.")
    all_apart = jobs > 1 or selector_timeout_s is not None
    with Workers(jobs, place, selector_timeout_s) as workers:
        yield from _until_none_is_busy(
            lambda few: _each(few, workers, place, on_start, all_apart), configs, place, on_wait
        )


def _until_none_is_busy(
    run: Callable[[Sequence[RunConfig]], Generator[Cell, None, None]],
    configs: Sequence[RunConfig],
    place: Workplace,
    on_wait: OnWait,
) -> Generator[Cell, None, None]:
    left, waited = configs, False
    is_first = True
    while left and not why_end(None if is_first else place.deadline):
        is_first = False
        busy: list[RunConfig] = []
        for cell in run(left):
            if cell.status == "busy":
                busy.append(cell.config)
            else:
                yield cell
        if busy and not waited:
            on_wait(busy)
            waited = True
        if busy:
            time.sleep(_LOOK_AGAIN_S)
        left = busy


def _each(
    configs: Sequence[RunConfig],
    workers: Workers,
    place: Workplace,
    on_start: OnStart,
    all_apart: bool,
) -> Generator[Cell, None, None]:
    """Run cells here, or in processes of their own where all are or a plugin asks for it."""
    has_begun = False
    for config in configs:
        apart = all_apart or bool(outsiders(config))
        # One after the other where none has a process; a cell that is named twice, not at once.
        while not _has_room(workers, config, apart) and not why_end(None):
            yield workers.next_ended()
        earlier = earlier_cell(config, place)
        if earlier is not None:
            yield earlier
        elif why_end(place.deadline if has_begun else None):
            continue
        elif apart:
            workers.begin(config, on_start(config))
            has_begun = True
        else:
            has_begun = True
            yield run_cell(config, place, on_start(config))
    while workers.under_way:
        yield workers.next_ended()


def _has_room(workers: Workers, config: RunConfig, apart: bool) -> bool:
    if not apart:
        return not workers.under_way
    return workers.has_room and config.fingerprint not in workers.under_way
