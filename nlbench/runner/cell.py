"""One cell of a sweep: run it and say how it ended, whatever happens to it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from nlbench.config.run_config import RunConfig
from nlbench.errors import BusyError, NlbenchError
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore
from nlbench.runner.run import finished_record, run_config
from nlbench.runner.steps import Progress

if TYPE_CHECKING:
    from nlbench.tracking import MlflowTracker

CellStatus = Literal["finished", "already finished", "failed", "busy"]


@dataclass(frozen=True)
class Cell:
    """How one cell of the grid ended; `wall_s` counts everything, 0 where it was not run."""

    config: RunConfig
    status: CellStatus
    record: RunRecord | None = None
    message: str = ""
    wall_s: float = 0.0


def cell_from_before(config: RunConfig, store: RunStore) -> Cell | None:
    """Return a cell that is not to be run: finished before, or with a damaged record."""
    try:
        record = finished_record(store, config)
    except NlbenchError as error:
        return _not_run(config, error)
    return None if record is None else Cell(config, "already finished", record)


def run_cell(
    config: RunConfig,
    store: RunStore,
    device: torch.device,
    tracker: MlflowTracker | None,
    data_dir: Path | None,
    progress: Progress,
    force: bool,
    deterministic: bool,
) -> Cell:
    """Run one cell; an error of ours is how it ended."""
    started = time.perf_counter()
    try:
        record = run_config(
            config, store, device, tracker, data_dir, progress, force, deterministic
        )
    except NlbenchError as error:
        return _not_run(config, error)
    return Cell(config, "finished", record, wall_s=time.perf_counter() - started)


def _not_run(config: RunConfig, error: NlbenchError) -> Cell:
    status: CellStatus = "busy" if isinstance(error, BusyError) else "failed"
    return Cell(config, status, message=str(error))
