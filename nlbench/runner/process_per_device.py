"""The processes of one run on many devices: started, watched, ended together; one of them speaks.

Each runs the same command in an environment like torchrun's. Whoever starts them does nothing
else, so that one which dies, or waits forever for one that died, does not go unnoticed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from nlbench.errors import RunError
from nlbench.runner.ends_of_ranks import ERROR_FILE, NOTICED, note_end
from nlbench.runner.signals import handlers_kept

_LOOK_EVERY_S = 0.05
# Within which the first process notices in an exchange that another one has ended.
_TO_NOTICE_S = 60.0
_TO_FOLLOW_S = 5.0
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


@dataclass(frozen=True)
class _Rank:
    index: int
    process: subprocess.Popen[bytes]
    folder: Path


def run_in_processes(n: int, words: Sequence[str]) -> int:
    """Run a command of nlbench in `n` processes that share one run; return its exit code.

    Ctrl-C, SIGTERM and SIGUSR1 go to the first process, which decides for all.

    Args:
        n: Devices, at least 2.
        words: The command's words, without the program.

    Raises:
        RunError: if a process was ended and the first one could not say so.
    """
    with TemporaryDirectory(prefix="nlbench-devices-") as folder:
        ranks = list(_started(n, words, Path(folder)))
        try:
            with _passing_signals(ranks):
                return _watched(ranks)
        finally:
            for rank in ranks:
                _kill(rank)


def _started(n: int, words: Sequence[str], folder: Path) -> Iterator[_Rank]:
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(n),
        "LOCAL_WORLD_SIZE": str(n),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": uuid.uuid4().hex,
        # DDP says once in each process that it looks for unused weights for nothing.
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(_threads(n))),
    }
    for index in range(n):
        own = folder / str(index)
        own.mkdir()
        place = {"RANK": str(index), "LOCAL_RANK": str(index), ERROR_FILE: str(own / "error.json")}
        with (own / "stderr").open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "nlbench", *words],
                env={**shared, **place},
                stdout=None if index == 0 else subprocess.DEVNULL,
                stderr=None if index == 0 else stream,
                # A group of its own: Ctrl-C in a terminal reaches it through here alone.
                # No thread runs here that could hold a lock in between.
                preexec_fn=_in_own_group(os.getpid()),  # noqa: PLW1509
            )
        yield _Rank(index, process, own)


def _in_own_group(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        os.setpgid(0, 0)
        if sys.platform == "linux":
            import ctypes

            ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def _threads(n: int) -> int:
    linux = sys.platform == "linux"
    return max(1, (len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1) // n)


@contextmanager
def _passing_signals(ranks: Sequence[_Rank]) -> Iterator[None]:
    """Pass signals on to the first process; a second Ctrl-C ends all at once."""
    n_interrupts = 0

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal n_interrupts
        n_interrupts += number == signal.SIGINT
        if n_interrupts > 1:
            for rank in ranks:
                _kill(rank)
        with suppress(ProcessLookupError):
            ranks[0].process.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    with handlers_kept(numbers, pass_on):
        yield


def _watched(ranks: Sequence[_Rank]) -> int:
    """Wait for the end of the first process, and no longer than it takes where another dies."""
    first, noted = ranks[0], set[int]()
    end = float("inf")
    lost: _Rank | None = None
    while (code := first.process.poll()) is None:
        for rank in ranks[1:]:
            if rank.process.poll() and rank.index not in noted:
                noted.add(rank.index)
                _note(rank)
                lost = lost or rank
                end = min(end, time.monotonic() + _TO_NOTICE_S)
        # One that has noticed records it, which may take its time; one that has not never will.
        if lost and time.monotonic() > end and not (first.folder / NOTICED).exists():
            raise _ended(lost, len(ranks))
        time.sleep(_LOOK_EVERY_S)
    if code == 0:
        _wait(ranks[1:], _TO_FOLLOW_S)
    elif code < 0:
        return _as_first(first, len(ranks), code)
    return code


def _as_first(first: _Rank, n: int, code: int) -> int:
    """Return a shell's exit code for a signal of the user's; say it where it is another one."""
    if -code in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        return 128 - code
    raise _ended(first, n)


def _note(rank: _Rank) -> None:
    """Leave word of its end for the first process, where it has left none itself."""
    code = rank.process.returncode
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    note_end(rank.folder / "error.json", f"it was ended with {how}{_last_words(rank)}")


def _last_words(rank: _Rank) -> str:
    text = (rank.folder / "stderr").read_text("utf-8", "replace") if rank.index else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f" ({lines[-1][:300]})" if lines else ""


def _ended(rank: _Rank, n: int) -> RunError:
    _note(rank)
    told = json.loads((rank.folder / "error.json").read_text("utf-8"))["message"]["message"]
    return RunError(
        f"process {rank.index} of the {n} that shared this run has failed: {told}. The others were "
        "ended. If memory ran out, fewer --devices need less; the same command goes on from the "
        "last checkpoint."
    )


def _wait(ranks: Sequence[_Rank], seconds: float) -> None:
    end = time.monotonic() + seconds
    for rank in ranks:
        with suppress(subprocess.TimeoutExpired):
            rank.process.wait(max(0.0, end - time.monotonic()))


def _kill(rank: _Rank) -> None:
    """End a process and what it has started."""
    if rank.process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(rank.process.pid, signal.SIGKILL)
        rank.process.wait()
