"""Work as a job: does it in a process of its own, and has the job queued again in time.

Slurm tells a job before its time limit, and before it is preempted. The work then ends early, a run
with a checkpoint, and submitit puts the same job into the queue again, which goes on from there.
Nothing but the home is needed for that, so a job that Slurm itself puts back does the same.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nlbench.errors import RunError, text_of
from nlbench.files import write_atomic

if TYPE_CHECKING:
    from nlbench.runner.on_slurm.signals import Signals
    from nlbench.runner.work import Outcome, Work
    from nlbench.runner.workplace import Workplace

FRUITLESS = 3
"""So many jobs in a row that got no further, and the work counts as failed."""

_MARGIN_S = 20  # of the time before the limit, to hand the job over
_SAY_EVERY_S = 1.0


class Ended(NamedTuple):
    """How a job's work ended, in plain values; what it made is in the home."""

    status: str
    message: str
    wall_s: float


@dataclass
class WorkJob:
    """What submitit runs.

    Attributes:
        work: The work.
        place: The driver's, without its MLflow store: only the driver writes there.
        device: As typed; resolved on the job's machine.
        plugins: Files that define extra selectors.
        selector_timeout_s: The most seconds that the selector may take.
        told_before_s: How long before its end the job is told.
        progress_file: Where the job says how far it is.
        n_fruitless: Jobs in a row, so far, that got no further.
    """

    work: Work
    place: Workplace
    device: str
    plugins: tuple[Path, ...]
    selector_timeout_s: float | None
    told_before_s: float
    progress_file: Path
    n_fruitless: int = 0

    def __call__(self) -> Ended:
        """Do the work; where Slurm ends the job before, it does not return."""
        from nlbench.runner.on_slurm.signals import Signals

        before = self._reached()
        signals = Signals(self.told_before_s - _MARGIN_S)
        try:
            outcome = self._run(signals)
        except RunError as error:  # its process was told before it had begun
            if not signals.told:
                raise
            outcome = self.work.without_result("failed", text_of(error))
        if outcome.status in ("finished", "already finished", "busy") or not signals.told:
            return Ended(outcome.status, outcome.message, outcome.wall_s)
        self.n_fruitless = 0 if self._reached() != before else self.n_fruitless + 1
        if self.n_fruitless >= FRUITLESS:
            return Ended("failed", _too_short(self.n_fruitless), outcome.wall_s)
        signals.hand_over()
        raise AssertionError("the job has been ended")

    def checkpoint(self) -> Any:
        """Return what submitit puts into the queue again; called by its own handler."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _run(self, signals: Signals) -> Outcome:
        import torch

        from nlbench.machine import resolve_device
        from nlbench.plugins import registry
        from nlbench.runner.worker_pool import Workers

        # Without a plugin of Slurm's for it a job sees all cores of its machine.
        torch.set_num_threads(int(os.environ.get("SLURM_CPUS_PER_TASK", "1")))
        for path in self.plugins:
            registry.add_plugin_file(path)
        place = replace(self.place, device=resolve_device(self.device))
        with Workers(1, place, self.selector_timeout_s) as workers:
            with signals.kept_from_children():
                workers.begin(self.work, _SaidInFile(self.progress_file))
            with signals.passed_on(workers):
                return workers.next_ended()

    def _reached(self) -> tuple[str, ...]:
        """Return what tells how far the work can go on from, embeddings among it."""
        said = read_progress(self.progress_file)
        embedded = str(said) if said.get("stage") == "embed" else ""
        return (*self.work.reached(self.place), embedded)


def _too_short(n_jobs: int) -> str:
    return (
        f"{n_jobs} jobs in a row reached their time limit, or were preempted, before the run had "
        "a new checkpoint. Raise --slurm-time, or lower --checkpoint-every."
    )


class _SaidInFile:
    """Progress that the driver reads; a file system that does not take it costs no run."""

    def __init__(self, path: Path) -> None:
        self._path, self._stage, self._at = path, "", 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage == self._stage and now < self._at + _SAY_EVERY_S:
            return
        self._stage, self._at = stage, now
        content = {"stage": stage, "done": done, "total": total}
        try:
            write_atomic(self._path, json.dumps(content), is_synced=False)
        except OSError:
            return


def read_progress(path: Path) -> dict[str, Any]:
    """Return `stage`, `done` and `total` as a job said them last; nothing where it has not yet."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
