"""A grid of runs: skips what is finished, redoes what was killed, goes on after a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence

from nlbench.config.run_config import RunConfig
from nlbench.errors import ConfigError
from nlbench.runner.cell import Cell, earlier_cell, run_cell
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
    on_wait: OnWait = lambda configs: None,
) -> Generator[Cell, None, None]:
    """Run cell after cell and yield how each ended; an error of one does not stop the others.

    What comes out does not depend on `jobs`, except for the order in which cells end. Several
    sweeps with one home share the work: a cell that another process has comes last, when that
    process has finished it; where it failed or was killed there, it is done here.

    Args:
        configs: The cells.
        place: Where they run; all processes share it.
        on_start: Called with a cell that begins; returns what its progress is told to.
        jobs: Number of parallel runs; from 2 on, in processes of their own, which end with the
            generator.
        on_wait: Called once, when nothing is left but cells that other processes have.

    Raises:
        ConfigError: if `jobs` is below 1.
        RunError: if no process can be started.
    """
    if jobs < 1:
        raise ConfigError(f"jobs must be a whole number >= 1, got {jobs}.")
    if jobs == 1:
        yield from _until_none_is_busy(lambda few: _in_turn(few, place, on_start), configs, on_wait)
        return
    with Workers(jobs, place) as workers:
        yield from _until_none_is_busy(
            lambda few: _side_by_side(few, workers, place, on_start), configs, on_wait
        )


def _until_none_is_busy(
    run: Callable[[Sequence[RunConfig]], Generator[Cell, None, None]],
    configs: Sequence[RunConfig],
    on_wait: OnWait,
) -> Generator[Cell, None, None]:
    left, waited = configs, False
    while left:
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


def _in_turn(
    configs: Sequence[RunConfig], place: Workplace, on_start: OnStart
) -> Generator[Cell, None, None]:
    for config in configs:
        yield earlier_cell(config, place) or run_cell(config, place, on_start(config))


def _side_by_side(
    configs: Sequence[RunConfig], workers: Workers, place: Workplace, on_start: OnStart
) -> Generator[Cell, None, None]:
    for config in configs:
        # A cell that the grid names twice is not run twice at once.
        while not workers.has_room or config.fingerprint in workers.under_way:
            yield workers.next_ended()
        earlier = earlier_cell(config, place)
        if earlier is None:
            workers.begin(config, on_start(config))
        else:
            yield earlier
    while workers.under_way:
        yield workers.next_ended()
