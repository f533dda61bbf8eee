"""Ending early, at a moment from which a run can go on: at a time, or when a signal asks for it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nlbench.runner.signals import handlers_kept

# What Slurm sends before it takes the machine away (`--signal`, preemption), and `kill`.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

_asked_by, _is_quiet = "", False
_n_pausable = 0


def why_end(deadline: float | None) -> str:
    """Return why nothing more is to be begun; "" where there is no reason.

    Args:
        deadline: By `time.monotonic`, which all processes of a machine share; None for none.
    """
    if _asked_by:
        return _asked_by
    return "--max-time" if deadline is not None and time.monotonic() >= deadline else ""


def asked_by_signal() -> bool:
    """Return whether a signal has asked this process to end early."""
    return bool(_asked_by)


@contextmanager
def pausable() -> Iterator[None]:
    """Inside, a signal is answered at the next moment from which the run can go on."""
    global _n_pausable
    _n_pausable += 1
    try:
        yield
    finally:
        _n_pausable -= 1


@contextmanager
def pausing_on_signals(is_quiet: bool = False) -> Iterator[None]:
    """Inside, SIGTERM and SIGUSR1 end what is `pausable` early, and all else at once as ever.

    Args:
        is_quiet: Whether another process says so.
    """
    global _asked_by, _is_quiet
    _is_quiet = is_quiet
    try:
        with handlers_kept(SIGNALS, _answer):
            yield
    finally:
        if threading.current_thread() is threading.main_thread():
            _asked_by = ""


def _answer(number: int, frame: FrameType | None) -> None:
    global _asked_by
    if not _n_pausable:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    elif not _asked_by:
        _asked_by = signal.Signals(number).name
        if not _is_quiet:
            # Not by the log: what was interrupted may be writing there, or hold its lock.
            text = (
                f"{_asked_by}: what is in training ends after this epoch, a part to embed after "
                "this shard. Both can go on then.\n"
            )
            os.write(2, text.encode())
