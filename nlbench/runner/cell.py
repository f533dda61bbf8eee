"""One cell of a sweep: run it and say how it ended, whatever happens to it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nlbench.config.run_config import RunConfig
from nlbench.errors import BusyError, NlbenchError, PausedError, text_of
from nlbench.plugins.kinds import Kind
from nlbench.plugins.registry import plugin_name
from nlbench.results.record import RunRecord
from nlbench.runner.run import earlier_record, run_config
from nlbench.runner.work import Status
from nlbench.runner.workplace import Progress, Workplace


@dataclass(frozen=True)
class Cell:
    """How one cell of the grid ended; `wall_s` counts everything, 0 where it was not run."""

    config: RunConfig
    status: Status
    record: RunRecord | None = None
    message: str = ""
    wall_s: float = 0.0

    @property
    def key(self) -> str:
        """The fingerprint of its run."""
        return self.config.fingerprint


def outsiders(config: RunConfig) -> frozenset[str]:
    """Return the plugins that a cell runs and that nlbench does not ship, by kind and name."""
    protocol = config.protocol
    used: list[tuple[Kind, str]] = [
        ("selectors", config.selector.name),
        ("trainers", config.trainer.name),
        ("datasets", config.dataset.name),
        ("noises", config.noise.kind),
        ("encoders", protocol.image_text_encoder.partition(":")[0]),
        ("encoders", protocol.image_encoder.partition(":")[0]),
    ]
    return frozenset(plugin_name(kind, name) for kind, name in used) - {""}


def earlier_cell(config: RunConfig, place: Workplace) -> Cell | None:
    """Return a cell that is not run now: it is finished, or its record must not be read."""
    try:
        record = earlier_record(config, place)
    except NlbenchError as error:
        return _not_run(config, error)
    return None if record is None else Cell(config, "already finished", record)


def run_cell(config: RunConfig, place: Workplace, progress: Progress) -> Cell:
    """Run one cell; an error of ours is how it ended."""
    started = time.perf_counter()
    try:
        record = run_config(config, place, progress)
    except NlbenchError as error:
        return _not_run(config, error)
    return Cell(config, "finished", record, wall_s=time.perf_counter() - started)


def _not_run(config: RunConfig, error: NlbenchError) -> Cell:
    status: Status = "busy" if isinstance(error, BusyError) else "failed"
    if isinstance(error, PausedError):
        status = "paused"
    return Cell(config, status, message=text_of(error))
