"""A process that does work such as cells of a sweep for its parent, and ends with it.

Imports nothing heavy: it watches over its parent before it loads torch.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import MutableSequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nlbench.runner.library_warnings import log_library_warnings
from nlbench.runner.pausing import pausing_on_signals


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker process must know before it loads anything heavy.

    Attributes:
        n_threads: torch's threads for large data; on a CPU the parent's, for the same bits.
        plugins: Files that define extra selectors.
        log_level: Of the logger "nlbench".
        logs_warnings: Whether the parent sends warnings of libraries to the log.
        start_method: How `multiprocessing` starts processes in the parent: a plugin's own do the
            same here.
    """

    n_threads: int
    plugins: tuple[Path, ...]
    log_level: int
    logs_warnings: bool
    start_method: str


class _Line:
    """The worker's end: what any of its threads has to say, one after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def say(self, kind: str, content: Any = None) -> None:
        with self._lock:
            try:
                self._connection.send((kind, content))
            except OSError:  # nobody listens any more
                os._exit(1)


class _LogToParent(logging.Handler):
    """Where lines of several processes would be mixed up, the parent prints them all."""

    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        self._line.say("log", (record.name, record.levelno, self.format(record)))


def serve(connection: Connection, setup: WorkerSetup, clock: MutableSequence[float]) -> None:
    """Do the work that comes through a connection until it is closed.

    The first message is the `Workplace`, and the address of the MLflow store, which every process
    opens for itself; None where nothing is logged.
    """
    os.setpgid(0, 0)  # so that its own processes end with it, whatever ends it
    multiprocessing.set_start_method(setup.start_method, force=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    line = _Line(connection)
    _speak_as_told(line, setup)

    import torch

    from nlbench.plugins import registry
    from nlbench.runner.selector_calls import use_clock
    from nlbench.runner.workplace import open_tracker

    torch.set_num_threads(setup.n_threads)
    use_clock(clock)
    for path in setup.plugins:
        registry.add_plugin_file(path)
    line.say("started")

    def progress(stage: str, done: int, total: int) -> None:
        line.say("progress", (stage, done, total))

    try:
        place, address = connection.recv()
        if address is not None:
            place = replace(place, tracker=open_tracker(address, place.store))
        with pausing_on_signals(is_quiet=True):
            while True:
                line.say("ended", connection.recv().run(place, progress))
    except EOFError:
        return


def _speak_as_told(line: _Line, setup: WorkerSetup) -> None:
    if setup.logs_warnings:
        log_library_warnings()
    logger = logging.getLogger("nlbench")
    logger.setLevel(setup.log_level)
    logger.addHandler(_LogToParent(line))
    logger.propagate = False


def _end_with_parent() -> None:
    """However the parent ends, SIGKILL included, nothing of it stays behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)
