"""The driver's side: submits arrays of jobs, hears of their ends, cancels them.

Jobs and driver share the home. A job writes its record there itself, under the run's lock; what it
returns through submitit are a few plain values. MLflow is written here.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from nlbench.errors import ConfigError, RunError, text_of
from nlbench.plugins import registry
from nlbench.runner.delivery import Delivery
from nlbench.runner.executors import SweepOrder
from nlbench.runner.on_slurm.job import FRUITLESS, Ended, WorkJob, read_progress
from nlbench.runner.on_slurm.options import parameters
from nlbench.runner.on_slurm.queue import ENDED, cancel, largest_array, states_of
from nlbench.runner.pausing import pausable, why_end
from nlbench.runner.work import Outcome, SharedHome, Status, Work
from nlbench.runner.workplace import Progress

_log = logging.getLogger("nlbench")

_LOOK_S = 0.5  # for results
_ASK_S = 5.0  # between questions to Slurm, which answers everybody
_VISIBLE_S = 30.0  # until a file of another machine must be seen here
_GONE_S = 60.0  # until cancelled jobs must have ended
_NO_LIMIT = 10**6  # submitit's own count of time limits; a job counts those that were in vain
_LIMIT = re.compile(r"MaxSubmit|GrpSubmit|MaxJobs|submit limit", re.IGNORECASE)
_NOT_ITS_FAULT = frozenset(["BOOT_FAIL", "NODE_FAIL", "PREEMPTED"])
_WHAT_TO_DO = {
    "OUT_OF_MEMORY": "Raise --slurm-memory.",
    "TIMEOUT": "Raise --slurm-time.",
    "CANCELLED": "Somebody cancelled it; the same command runs it again.",
}


def make(order: SweepOrder) -> SlurmExecutor:
    """Return the executor of the Slurm that this machine submits to.

    Raises:
        ConfigError: if an option is wrong, or the home is no folder.
        RunError: if Slurm does not answer.
    """
    if order.place.store.has_url:
        raise ConfigError(
            "--executor slurm needs a home that is a folder which this machine and the jobs share, "
            f"got {order.place.store.place}. Set NLBENCH_HOME to such a folder."
        )
    return SlurmExecutor(order)


@dataclass(eq=False)
class _Job:
    """Work with its job, while it is there."""

    work: Work
    progress: Progress
    progress_file: Path
    home: SharedHome
    submitted: Any = None  # submitit's
    n_lost: int = 0
    missing_since: float | None = None


class SlurmExecutor:
    """Does work as jobs of Slurm."""

    def __init__(self, order: SweepOrder) -> None:
        self._parameters = parameters(order.options)
        self._order = order
        self._largest = largest_array()
        self.capacity = order.jobs or min(self._largest, len(order.works) or self._largest)
        # An array keeps to `jobs` by itself; two of them would not.
        self._begin_again_below = 1 if order.jobs else self._largest // 2 + 1
        self._folder = order.place.store.home / "slurm" / f"{int(time.time())}-{os.getpid()}"
        self._waiting: deque[_Job] = deque()
        self._busy: deque[Work] = deque()
        self._jobs: dict[str, _Job] = {}
        self._asked_at = 0.0
        self._is_silent = self._any_failed = self._is_ending = False

    def __enter__(self) -> SlurmExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        left = list(self._jobs)
        self._waiting.clear()
        if left:
            self._cancel(left)
        elif not self._any_failed:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def has_room(self) -> bool:
        """Whether one more can be submitted; Slurm itself decides when it begins.

        Up to a whole array of jobs is collected, and then nothing until most of it has ended.
        """
        n = len(self._jobs) + len(self._waiting)
        return n < self._begin_again_below or (bool(self._waiting) and n < self._largest)

    @property
    def under_way(self) -> Collection[str]:
        """The keys of what was submitted, or is about to be."""
        jobs = [*self._jobs.values(), *self._waiting]
        return [work.key for work in [*(job.work for job in jobs), *self._busy]]

    def begin(self, work: Work, progress: Progress) -> None:
        """Take work; what came before `next_ended` is called becomes one array of jobs."""
        home = work.shared_home(self._order.place)
        if home.is_taken:
            # A job would wait for its lock in vain, or come back again and again.
            self._busy.append(work)
            return
        self._waiting.append(_Job(work, progress, self._folder / f"{work.key}.progress", home))

    def next_ended(self) -> Outcome:
        """Submit what has come, and wait for some of it to end.

        Raises:
            RunError: if Slurm does not take the jobs.
        """
        with pausable():
            while True:
                outcome = self._look()
                if outcome is not None:
                    self._any_failed |= outcome.status == "failed"
                    return outcome
                time.sleep(_LOOK_S)

    def _look(self) -> Outcome | None:
        if self._busy:
            return self._busy.popleft().without_result("busy")
        why = why_end(self._order.place.deadline)
        if why:
            return self._result() or self._paused(why)
        while self._waiting and self._submit():
            pass
        return self._result() or self._lost()

    def _paused(self, why: str) -> Outcome:
        """Cancel all jobs, once, and return one after the other as ended early."""
        if not self._is_ending:
            self._is_ending = True
            self._cancel(list(self._jobs))
        work = (self._jobs.popitem()[1] if self._jobs else self._waiting.pop()).work
        return work.without_result("paused", f"its job was cancelled ({why}).")

    def how_to_go_on(self) -> str:
        """Return where the jobs' own words are."""
        return f"Logs of the jobs: {self._folder}"

    def _submit(self) -> bool:
        """Submit an array of what waits; False where Slurm takes no more of it now."""
        jobs = [self._waiting[i] for i in range(min(len(self._waiting), self._largest))]
        try:
            submitted = self._submitted([self._work_job(job) for job in jobs])
        except (OSError, RuntimeError) as error:  # submitit's own are RuntimeErrors
            if _LIMIT.search(str(error)) and (len(jobs) > 1 or self._jobs):
                self._largest = max(1, len(jobs) // 2)  # what a user may have in the queue
                return len(jobs) > 1
            raise RunError(f"Slurm did not take the jobs: {text_of(error)}") from error
        for job, one in zip(jobs, submitted, strict=True):
            self._waiting.remove(job)
            job.submitted, job.missing_since = one, None
            self._jobs[one.job_id] = job
        return True

    def _submitted(self, works: list[WorkJob]) -> list[Any]:
        from submitit import SlurmExecutor as Submitter

        self._folder.mkdir(parents=True, exist_ok=True)
        submitter = Submitter(self._folder, max_num_timeout=_NO_LIMIT)
        submitter.update_parameters(
            job_name="nlbench", array_parallelism=self.capacity, **self._parameters
        )
        with submitter.batch():
            return [submitter.submit(work) for work in works]

    def _work_job(self, job: _Job) -> WorkJob:
        place, data_dir = self._order.place, self._order.place.data_dir
        return WorkJob(
            work=job.work,
            place=replace(
                place,
                tracker=None,
                deadline=None,  # of the driver's clock
                data_dir=None if data_dir is None else data_dir.absolute(),
            ),
            device=self._order.device,
            plugins=tuple(path.absolute() for path in registry.plugin_files()),
            selector_timeout_s=self._order.selector_timeout_s,
            told_before_s=self._parameters["signal_delay_s"],
            progress_file=job.progress_file,
        )

    def _result(self) -> Outcome | None:
        """Return work whose job has left a result."""
        try:
            names = {entry.name for entry in os.scandir(self._folder)}
        except OSError:  # a network file system that is away for a moment
            return None
        for job_id, job in self._jobs.items():
            if job.submitted.paths.result_pickle.name in names:
                del self._jobs[job_id]
                return self._outcome(job)
        return None

    def _outcome(self, job: _Job) -> Outcome:
        try:
            ended = Ended(*job.submitted.result())
        except Exception as error:  # whatever kept the job from doing its work, as text
            message = f"its job failed: {_last_of(error)}. Its log: {job.submitted.paths.stderr}"
            return job.work.without_result("failed", message)
        status = cast("Status", ended.status)
        return job.home.ended(Delivery(status, message=ended.message, wall_s=ended.wall_s))

    def _lost(self) -> Outcome | None:
        """Return work whose job has ended without a result; tell the others' progress."""
        now = time.monotonic()
        if now < self._asked_at + _ASK_S:
            return None
        self._asked_at = now
        try:
            states = states_of(self._jobs)
        except RunError as error:
            if not self._is_silent:
                _log.warning("%s Jobs go on; their results are waited for.", error)
            self._is_silent = True
            return None
        self._is_silent = False
        for job_id, job in list(self._jobs.items()):
            state = states.get(job_id, "gone")
            if state == "RUNNING":
                self._tell(job)
            if state != "gone" and state not in ENDED:
                job.missing_since = None
            elif job.missing_since is None:
                job.missing_since = now
            elif now > job.missing_since + _VISIBLE_S:
                del self._jobs[job_id]
                if outcome := self._without_result(job_id, job, state):
                    return outcome
        return None

    def _without_result(self, job_id: str, job: _Job, state: str) -> Outcome | None:
        """Submit work again that lost its machine; return any other as failed."""
        job.n_lost += 1
        if state in _NOT_ITS_FAULT and job.n_lost < FRUITLESS:
            _log.warning("job %s has ended (%s), and its work goes into a new one.", job_id, state)
            self._waiting.append(job)
            return None
        what_to_do = _WHAT_TO_DO.get(state, "")
        message = f"job {job_id} has ended without a result ({state}). {what_to_do}".strip()
        log = f"Its log: {job.submitted.paths.stderr}"
        return job.work.without_result("failed", f"{message} {log}")

    def _tell(self, job: _Job) -> None:
        said = read_progress(job.progress_file)
        with suppress(KeyError, TypeError, ValueError):
            job.progress(str(said["stage"]), int(said["done"]), int(said["total"]))

    def _cancel(self, job_ids: list[str]) -> None:
        try:
            cancel(job_ids)
            latest = time.monotonic() + _GONE_S
            while time.monotonic() < latest and not self._all_ended(job_ids):
                time.sleep(_LOOK_S)
        except RunError as error:
            arrays = sorted({job_id.partition("_")[0] for job_id in job_ids})
            _log.warning("%s Cancel them yourself: scancel %s", error, " ".join(arrays))

    def _all_ended(self, job_ids: list[str]) -> bool:
        states = states_of(job_ids)
        return all(states.get(job_id, "COMPLETED") in ENDED for job_id in job_ids)


def _last_of(error: Exception) -> str:
    """Return what a job raised: submitit has its traceback, with lines of dashes around it."""
    parts = re.split(r"^-{10,}\n", str(error), flags=re.MULTILINE)
    return parts[len(parts) > 1].strip().splitlines()[-1] if str(error) else type(error).__name__
