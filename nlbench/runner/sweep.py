"""A grid of runs: skips what is finished, redoes what was killed, goes on after a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence

from nlbench.config.run_config import RunConfig
from nlbench.runner.cell import Cell, earlier_cell
from nlbench.runner.executors import Executor, SweepOrder
from nlbench.runner.local_executor import LocalExecutor
from nlbench.runner.pausing import why_end
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
    executor: Executor | None = None,
) -> Generator[Cell, None, None]:
    """Run cell after cell and yield how each ended; an error of one does not stop the others.

    What comes out depends neither on `jobs` nor on the executor, except for the order in which
    cells end. Several sweeps with one home share the work: a cell that another process has comes
    last, when that process has finished it; where it failed or was killed there, it is done here.
    Where the command is to end early, no cell begins any more, and those under way are paused; one
    begins in any case, so that repeated commands get somewhere.

    Args:
        configs: The cells.
        place: Where they run; all processes share it.
        on_start: Called with a cell that begins; returns what its progress is told to.
        jobs: Number of parallel runs; from 2 on, in processes of their own, which end with the
            generator.
        selector_timeout_s: How long a run's selector may take, the embeddings that it asks for
            included; a run that takes longer has failed. With it every cell has a process.
        on_wait: Called once, when nothing is left but cells that other processes have.
        executor: Where cells run, with its own jobs and limits (`open_executor`); this machine
            where left out.

    Raises:
        ConfigError: if `jobs` is below 1, or the seconds are not above 0.
        RunError: if no process can be started.
    """
    if executor is None:
        order = SweepOrder(place, jobs=jobs, selector_timeout_s=selector_timeout_s)
        executor = LocalExecutor(order)
    with executor:
        yield from _until_none_is_busy(
            lambda few: _each(few, executor, place, on_start), configs, place, on_wait
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
    configs: Sequence[RunConfig], executor: Executor, place: Workplace, on_start: OnStart
) -> Generator[Cell, None, None]:
    """Submit cells as there is room; those that ended before are not run."""
    has_begun = False
    for config in configs:
        # A cell that the grid names twice is not run twice at once.
        while not _has_room(executor, config) and not why_end(None):
            yield executor.next_ended()
        earlier = earlier_cell(config, place)
        if earlier is not None:
            yield earlier
        elif not why_end(place.deadline if has_begun else None):
            executor.begin(config, on_start(config))
            has_begun = True
    while executor.under_way:
        yield executor.next_ended()


def _has_room(executor: Executor, config: RunConfig) -> bool:
    return executor.has_room and config.fingerprint not in executor.under_way
