"""One cell of a sweep: run it and say how it ended, whatever happens to it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from nlbench.attempt import Progress
from nlbench.config import RunConfig
from nlbench.errors import BusyError, NlbenchError
from nlbench.results import RunRecord
from nlbench.runner import finished_record, run_config
from nlbench.store import RunStore

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
    """Give a cell that is not to be run: finished before, or with a damaged record."""
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


def seconds_by_stage(cells: Iterable[Cell], total_s: float) -> dict[str, float]:
    """Tell where the seconds of a sweep went.

    Args:
        cells: How its cells ended; only those that were finished now count.
        total_s: From the command to the end; of several processes at once `run_seconds`.

    Returns:
        Seconds of ``train``, ``select``, ``embed``, ``data``, ``log`` (record, figures, MLflow)
        and ``rest`` (what is left of `total_s`: evaluation, and outside of the runs imports,
        opening the stores, failed cells); they sum to `total_s`.
    """
    ran = [(cell.record.times, cell.wall_s) for cell in cells if cell.record and cell.wall_s]
    stages = {
        stage: sum(getattr(times, f"{stage}_s") for times, _ in ran)
        for stage in ("train", "select", "embed", "data")
    }
    stages["log"] = sum(wall_s - times.total_s for times, wall_s in ran)
    return {**stages, "rest": total_s - sum(stages.values())}


def run_seconds(cells: Iterable[Cell]) -> float:
    """Give the seconds of all runs that were finished now, one after the other."""
    return sum(cell.wall_s for cell in cells)
