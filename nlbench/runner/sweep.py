"""A grid of runs: skips what is finished, redoes what was killed, goes on after a failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nlbench.config.run_config import RunConfig
from nlbench.errors import ConfigError
from nlbench.plugins import registry
from nlbench.results.store import RunStore
from nlbench.runner.cell import Cell, cell_from_before, run_cell
from nlbench.runner.steps import Progress
from nlbench.runner.worker import WorkerSetup, hides_warnings
from nlbench.runner.worker_pool import Workers

if TYPE_CHECKING:
    from nlbench.tracking import MlflowTracker

log = logging.getLogger("nlbench")

OnStart = Callable[[RunConfig], Progress]


def run_sweep(
    configs: Sequence[RunConfig],
    store: RunStore,
    device: torch.device,
    tracker: MlflowTracker | None,
    data_dir: Path | None = None,
    force: bool = False,
    on_start: OnStart = lambda config: _silent,
    deterministic: bool = False,
    jobs: int = 1,
    tracking_uri: str | None = None,
) -> Generator[Cell, None, None]:
    """Run cell after cell and yield how each ended; an error of one does not stop the others.

    What comes out does not depend on `jobs`, but for the order in which cells end.

    Args:
        configs: The cells.
        store: Where records go.
        device: Where to run; all processes share it.
        tracker: The MLflow store; None logs nothing there.
        data_dir: Where data sets lie.
        force: Run again what is finished.
        on_start: Called with a cell that begins; gives what its progress is told to.
        deterministic: On a GPU, the same bits on every run.
        jobs: Cells to run at once; from 2 on in processes of their own, which are gone when the
            generator is closed.
        tracking_uri: What `tracker` was opened with: such a process opens it for itself.

    Raises:
        ConfigError: if `jobs` is below 1.
        RunError: if no process can be started.
    """
    if jobs < 1:
        raise ConfigError(f"jobs must be a whole number >= 1, got {jobs}.")
    if jobs > 1:
        setup = WorkerSetup(
            home=store.home, device=str(device), n_threads=torch.get_num_threads(),
            data_dir=data_dir, tracking_uri=tracking_uri, tracks=tracker is not None, force=force,
            deterministic=deterministic, plugins=registry.plugin_files(),
            log_level=log.getEffectiveLevel(), hides_warnings=hides_warnings(),
        )  # fmt: skip
        yield from _side_by_side(configs, store, on_start, jobs, setup)
        return
    for config in configs:
        before = None if force else cell_from_before(config, store)
        yield before or run_cell(
            config, store, device, tracker, data_dir, on_start(config), force, deterministic
        )


def _side_by_side(
    configs: Sequence[RunConfig], store: RunStore, on_start: OnStart, jobs: int, setup: WorkerSetup
) -> Generator[Cell, None, None]:
    with Workers(jobs, setup) as workers:
        for config in configs:
            # A cell that the grid names twice is not run twice at once.
            while not workers.has_room or config.fingerprint in workers.under_way:
                yield workers.next_ended()
            before = None if setup.force else cell_from_before(config, store)
            if before is None:
                workers.begin(config, on_start(config))
            else:
                yield before
        while workers.under_way:
            yield workers.next_ended()


def _silent(stage: str, done: int, total: int) -> None:
    pass
