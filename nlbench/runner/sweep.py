"""A grid of runs: skips what is finished, redoes what was killed, goes on after a failure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import cast

from nlbench.config.run_config import RunConfig
from nlbench.runner.cell import Cell
from nlbench.runner.cell_work import CellWork
from nlbench.runner.executors import Executor, SweepOrder
from nlbench.runner.local_executor import LocalExecutor
from nlbench.runner.submitting import submit_all
from nlbench.runner.workplace import Progress, Workplace, no_progress

OnStart = Callable[[RunConfig], Progress]
OnWait = Callable[[Sequence[RunConfig]], None]


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
        for cell in submit_all(
            [CellWork(config) for config in configs],
            executor,
            place,
            lambda work: on_start(work.config),
            lambda works: on_wait([work.config for work in works]),
        ):
            yield cast("Cell", cell)
