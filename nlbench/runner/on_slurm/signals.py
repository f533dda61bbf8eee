"""What Slurm tells a job by signals, passed on to the process that runs the cell."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from nlbench.runner.worker_pool import Workers

_KILLED_BY_THEN_S = 600.0  # Slurm's KillWait is 30 s where nobody has changed it


class Signals:
    """The signals of one job, from when its cell begins.

    SIGUSR2 comes before the time limit: the job is put into the queue again by submitit's own
    handler. SIGTERM comes when Slurm ends the job itself, to put it back (preemption) or for good
    (scancel): either way it must not say that its cell has ended.

    Attributes:
        told: Whether one has come.
    """

    def __init__(self, patience_s: float) -> None:
        self.told = False
        self._patience_s = max(1.0, patience_s)
        self._ends_at_once = False
        self._workers: Workers | None = None
        self._requeue: Any = signal.signal(signal.SIGUSR2, self._before_the_end)
        signal.signal(signal.SIGTERM, self._at_the_end)
        signal.signal(signal.SIGALRM, self._too_slow)

    @contextmanager
    def kept_from_children(self) -> Iterator[None]:
        """Inside, processes are started that SIGUSR2 does not end: Slurm sends it to all."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @contextmanager
    def passed_on(self, workers: Workers) -> Iterator[None]:
        """Inside, the cell is asked to end early when a signal comes, or has come before."""
        self._workers = workers
        if self.told:
            workers.end_early()
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._workers = None

    def hand_over(self) -> None:
        """Have the job queued again and end it, or wait until Slurm has ended it."""
        if self._ends_at_once:  # whoever kills a process by hand is not Slurm: then it goes on
            time.sleep(_KILLED_BY_THEN_S)
        self._requeue(signal.SIGUSR2, None)

    def _before_the_end(self, number: int, frame: FrameType | None) -> None:
        self._ends_at_once = False  # told to put itself back: nobody else will
        self._end_early()
        signal.setitimer(signal.ITIMER_REAL, self._patience_s)

    def _at_the_end(self, number: int, frame: FrameType | None) -> None:
        self._ends_at_once = True
        self._end_early()

    def _end_early(self) -> None:
        self.told = True
        if self._workers is not None:
            self._workers.end_early()

    def _too_slow(self, number: int, frame: FrameType | None) -> None:
        """End a cell that has not ended in time: it goes on from its last checkpoint."""
        if self._workers is not None:
            self._workers.end_now()
