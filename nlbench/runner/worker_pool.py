"""Work in several processes at once; a process that dies costs what it was at."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Collection, MutableSequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from nlbench.errors import RunError
from nlbench.machine import leaves_cores, memory_limit_words, takes_all_cores
from nlbench.plugins import registry
from nlbench.runner.cell import Cell
from nlbench.runner.library_warnings import logs_warnings
from nlbench.runner.pausing import asked_by_signal, pausable
from nlbench.runner.shares import Share, share_of
from nlbench.runner.signals import handlers_kept
from nlbench.runner.worker import WorkerSetup, serve
from nlbench.surroundings import start_method

if TYPE_CHECKING:
    from nlbench.runner.work import Outcome, Work
    from nlbench.runner.workplace import Progress, Workplace

_log = logging.getLogger("nlbench")

_PATIENCE_S = 10.0  # for a process that has nothing left to do
_LOOK_S = 0.5  # between looks at the processes, and at the clocks of selectors


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    line: Connection
    work: Work
    progress: Progress
    plugins: frozenset[str]
    clock: MutableSequence[float]
    gpu: str
    was_asked: bool = False

    def selector_s(self) -> float:
        """Return the seconds that the selector of the run under way has taken so far."""
        before, began = self.clock
        return before + (time.monotonic() - began if began else 0.0)

    def kill(self) -> None:
        """End the process and those that it started."""
        if self.process.pid is not None:
            with suppress(OSError):  # it is gone, or had no time to make a group of its own
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()


class Workers:
    """Up to `n_jobs` processes, started when there is work for them, and again where one died.

    One that has run plugins does work with the same plugins only: what they left behind in their
    process, nobody else meets.

    As a context: left in good order the processes end by themselves, else they are killed. What a
    killed one was at is done again by the next sweep, as after any kill.
    """

    def __init__(
        self, n_jobs: int, place: Workplace, selector_timeout_s: float | None = None
    ) -> None:
        self._n_jobs, self._place, self._timeout_s = n_jobs, place, selector_timeout_s
        self._setup = partial(
            WorkerSetup,
            plugins=registry.plugin_files(),
            log_level=_log.getEffectiveLevel(),
            logs_warnings=logs_warnings(),
            start_method=start_method(),
        )
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Worker] = {}
        self._one_could_start = self._warned = False
        # Before multiprocessing waits for its children, which it does at the end of Python.
        atexit.register(self._kill)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for worker in self._idle:
                    worker.line.close()
                for worker in self._idle:
                    worker.process.join(_PATIENCE_S)
        finally:
            self._kill()

    @property
    def has_room(self) -> bool:
        """Whether one more can begin."""
        return len(self._busy) < self._n_jobs

    @property
    def under_way(self) -> Collection[str]:
        """The keys of what has begun."""
        return [worker.work.key for worker in self._busy.values()]

    def begin(self, work: Work, progress: Progress) -> None:
        """Hand work to a process; `next_ended` calls `progress` and returns how it ended."""
        self._idle = [worker for worker in self._idle if worker.process.is_alive()]
        plugins = work.outsiders()
        worker = next((each for each in self._idle if each.plugins == plugins), None)
        if worker is not None:
            self._idle.remove(worker)
            worker.work, worker.progress = work, progress
            self._busy[worker.line] = worker
        else:
            if len(self._idle) + len(self._busy) >= self._n_jobs:
                self._dismiss(self._idle.pop(0))
            worker = self._start(work, progress, plugins)
        with suppress(OSError):  # it is gone already, which `next_ended` will notice
            worker.line.send(work)

    def _dismiss(self, worker: _Worker) -> None:
        worker.line.close()
        worker.process.join(_PATIENCE_S)
        worker.kill()
        worker.process.join()

    def _start(self, work: Work, progress: Progress, plugins: frozenset[str]) -> _Worker:
        # A fresh interpreter: a forked one hangs where torch's threads or CUDA were in use.
        context = multiprocessing.get_context("spawn")
        line, its_end = context.Pipe()
        clock = context.RawArray("d", 2)
        workers = [*self._idle, *self._busy.values()]
        share = share_of(
            self._place.device, self._n_jobs, [each.gpu for each in workers],
            self._place.deterministic,
        )  # fmt: skip
        setup = self._setup(n_threads=share.n_threads)
        process = context.Process(target=serve, args=(its_end, setup, clock))
        # Known before it is there: Ctrl-C at any moment must find it.
        worker = self._busy[line] = _Worker(
            process, line, work, progress, plugins, clock, share.gpu
        )
        _launch(process, share)
        its_end.close()
        tracker = self._place.tracker
        address = None if tracker is None else tracker.address
        with suppress(OSError):  # it died at once, which `next_ended` will notice
            line.send((replace(self._place, tracker=None), address))
        return worker

    def next_ended(self) -> Outcome:
        """Wait for work to end; that whose process died has failed.

        Raises:
            RunError: if no process can be started at all.
        """
        with pausable():
            return self._next_ended()

    def _next_ended(self) -> Outcome:
        while True:
            if asked_by_signal():
                self._pass_on()
            for line in wait(list(self._busy), _LOOK_S):
                outcome = self._listen(self._busy[line])  # type: ignore[index]
                if outcome is not None:
                    return outcome
            for worker in list(self._busy.values()):
                # Its line stays open where a process that it started lives on.
                if not worker.process.is_alive() and not worker.line.poll():
                    return self._died(worker)
                if self._timeout_s is not None and worker.selector_s() > self._timeout_s:
                    return self._took_too_long(worker)

    def _pass_on(self) -> None:
        """Ask every process to end early, once: they answer the signal as this one does."""
        for worker in self._busy.values():
            if not worker.was_asked and worker.process.pid is not None:
                worker.was_asked = True
                with suppress(OSError):
                    os.kill(worker.process.pid, signal.SIGTERM)

    def end_early(self) -> None:
        """Ask all processes by SIGTERM to end their work early; may be called by a handler."""
        for worker in list(self._busy.values()):
            worker.process.terminate()

    def end_now(self) -> None:
        """Kill all processes that have work; `next_ended` returns these as failed."""
        for worker in list(self._busy.values()):
            worker.kill()

    def _took_too_long(self, worker: _Worker) -> Outcome:
        del self._busy[worker.line]
        worker.kill()
        worker.process.join()
        worker.line.close()
        message = (
            f"the selector took more than {self._timeout_s:g} s (--selector-timeout), and its "
            "process was ended. Raise the limit, or look where it waits."
        )
        return worker.work.without_result("failed", message)

    def _listen(self, worker: _Worker) -> Outcome | None:
        try:
            kind, content = worker.line.recv()
        except (EOFError, OSError):
            return self._died(worker)
        if kind == "started":
            self._one_could_start = True
        elif kind == "log":
            name, level, text = content
            logging.getLogger(name).log(level, "%s", text)
        elif kind == "progress":
            worker.progress(*content)
        else:
            self._idle.append(self._busy.pop(worker.line))
            outcome: Outcome = content
            self._warn_of_crowd(outcome)
            return outcome
        return None

    def _warn_of_crowd(self, cell: Outcome) -> None:
        """Say once that runs which take all cores gain nothing side by side.

        They keep all cores: on fewer their last bits would depend on the number of jobs. Where
        torch was given few threads, as by OMP_NUM_THREADS=1, there is room beside them.
        """
        if (
            not isinstance(cell, Cell)
            or cell.record is None
            or self._warned
            or leaves_cores(torch.get_num_threads(), self._n_jobs)
        ):
            return
        n_pixels = cell.record.dataset.n_train * cell.config.protocol.image_size**2
        if takes_all_cores(self._place.device, n_pixels):
            self._warned = True
            _log.warning(
                "Each run on %s already uses all cores, so --jobs gains little. "
                "NLBENCH_THREADS=1 gives each run one core (last bits may differ).",
                cell.record.dataset.name,
            )

    def _died(self, worker: _Worker) -> Outcome:
        del self._busy[worker.line]
        worker.line.close()
        worker.process.join(_PATIENCE_S)
        worker.kill()  # where only its line was cut, and what it had started
        how = _how_it_ended(worker.process.exitcode)
        if worker.was_asked:
            return worker.work.without_result("paused", f"its process {how}.")
        if not self._one_could_start:
            raise RunError(
                f"the processes for --jobs cannot start: the first one {how}. A script needs "
                "`if __name__ == '__main__':` around what it runs. Or leave --jobs out; runs with "
                "plugins have processes of their own also without it."
            )
        memory = f"If it ran out of memory: {memory_limit_words()}"
        fewer = " Lower --jobs." if self._n_jobs > 1 else ""
        message = f"its process {how}. {memory}{fewer}"
        return worker.work.without_result("failed", message, is_lost=True)

    def _kill(self) -> None:
        # A second Ctrl-C follows the first where a wrapper passes it on.
        with handlers_kept([signal.SIGINT], signal.SIG_IGN):
            everyone = [*self._idle, *self._busy.values()]
            workers = [worker for worker in everyone if worker.process.pid is not None]
            for worker in workers:
                worker.kill()
            for worker in workers:
                worker.process.join()
                worker.line.close()
            self._idle, self._busy = [], {}
        # Not before: what Ctrl-C interrupts here is done at the end of Python.
        atexit.unregister(self._kill)


def _launch(process: BaseProcess, share: Share) -> None:
    """Start a process with its share of the machine."""
    # Ctrl-C reaches the whole process group. Only the parent answers it, and kills the others.
    resource_tracker.ensure_running()  # it would unblock the signal if the process started it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with share.in_environment():
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is None:
        return "stopped responding"
    if exit_code < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"was killed by {names.get(-exit_code, f'signal {-exit_code}')}"
    return f"ended with exit code {exit_code}, see above"
