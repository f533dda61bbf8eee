"""Leases: the right to one thing among machines that share a folder or bucket, without file locks.

Whoever wants it puts a file of its own there, and then looks. It has the lease if no other live
file is there, else it takes its own away again. Of two that come at once, the later one sees the
other's file, so at most one has it; if each sees the other's, both step back and try again after a
random pause. This needs no exclusive creation and no lock, only that a file which was written is
listed from then on: local disks, NFS and S3 promise that.

Every file is the work of one holder, so that removing a dead one cannot hit a live one.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import random
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from nlbench.errors import NlbenchError
from nlbench.files import entries_of, read_file, write_atomic

log = logging.getLogger("nlbench")

RENEWED_EVERY_S = 60.0
DEAD_AFTER_S = 600.0

_PREFIX = "lease-"
_TRIES = 5
_RACE_S = 3.0  # files that far apart were not put there at once; S3 tells whole seconds


class Place(Protocol):
    """Where the lease files of one thing are."""

    def put(self, name: str, content: bytes) -> None:
        """Write a file, or write it again with the time of now."""

    def times(self) -> Mapping[str, float]:
        """Return when each file was written last, in seconds by the place's own clock."""

    def content(self, name: str) -> bytes | None:
        """Return the content of a file; None where it is gone."""

    def remove(self, name: str) -> None:
        """Delete a file; one that is gone is passed over."""


class FolderPlace:
    """The lease files in a folder, which may be on a network."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, content: bytes) -> None:
        """Write a file; its time is that of the machine with the disk."""
        write_atomic(self._folder / name, content, is_synced=False)

    def times(self) -> dict[str, float]:
        """Return the times of all lease files."""
        found = {}
        for path in entries_of(self._folder):
            if path.name.startswith(_PREFIX):
                # Opened, not only looked at: NFS then asks the server instead of its memory.
                with suppress(FileNotFoundError), path.open("rb") as file:
                    found[path.name] = os.fstat(file.fileno()).st_mtime
        return found

    def content(self, name: str) -> bytes | None:
        """Return the content of a file."""
        try:
            return read_file(self._folder / name, 4096)
        except (OSError, ValueError):
            return None

    def remove(self, name: str) -> None:
        """Delete a file."""
        (self._folder / name).unlink(missing_ok=True)


def clock_of(folder: Path) -> float:
    """Return the time by the clock of the machine with a folder's disk, in seconds.

    This machine's own where the folder cannot be written.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


@contextmanager
def leased(
    place: Place, what: str, *, is_locked: bool = False, put_error: type[Exception] = OSError
) -> Iterator[bool]:
    """Hold a lease, renewed every minute by a thread, and give it back at the end.

    Args:
        place: Where its files are.
        what: What it is on, for a warning.
        is_locked: Whether a lock that works between the processes of this machine is held as
            well: any other file of this machine is then that of a dead process.
        put_error: What a renewal may raise; the next minute tries again.

    Yields:
        Whether it is held; False where another live process has it.
    """
    name = _acquired(place, is_locked)
    if name is None:
        yield False
        return
    stopped = threading.Event()
    renewer = threading.Thread(
        target=_renew, args=(place, name, what, stopped, put_error), daemon=True
    )
    renewer.start()
    try:
        yield True
    finally:
        stopped.set()
        renewer.join()
        with suppress(OSError, NlbenchError):  # it is dead in ten minutes, at the latest
            place.remove(name)


def is_leased(place: Place, now: float, *, is_locked: bool = False) -> bool:
    """Return whether a live process has a lease, without wanting it.

    Args:
        place: Where its files are.
        now: The time by the place's clock.
        is_locked: As in `leased`.
    """
    times = place.times()
    return any(not _is_dead(place, name, now - at, is_locked) for name, at in times.items())


def _acquired(place: Place, is_locked: bool) -> str | None:
    """Return the name of the file that has the lease; None where another one has it."""
    for attempt in range(_TRIES):
        name = f"{_PREFIX}{uuid.uuid4().hex}"
        try:
            place.put(name, _me())
            times = dict(place.times())
            now = times.pop(name)
            live = {n: t for n, t in times.items() if not _is_dead(place, n, now - t, is_locked)}
        except BaseException:
            with suppress(OSError, NlbenchError):
                place.remove(name)
            raise
        if not live:
            for dead in times:
                place.remove(dead)
            return name
        place.remove(name)
        if any(now - at > _RACE_S for at in live.values()):
            return None
        time.sleep(random.uniform(0.02, 0.1) * (attempt + 1))  # noqa: S311 - to part two racers
    return None


def _renew(
    place: Place, name: str, what: str, stopped: threading.Event, put_error: type[Exception]
) -> None:
    while not stopped.wait(RENEWED_EVERY_S):
        try:
            if place.content(name) is None:
                log.warning(
                    "%s was taken over by another process, since this one did not renew its "
                    "lease for %.0f minutes. Both go on; the record written last stays.",
                    what, DEAD_AFTER_S / 60,
                )  # fmt: skip
                return
            place.put(name, _me())
        except (OSError, put_error):
            continue


def _is_dead(place: Place, name: str, age_s: float, is_locked: bool) -> bool:
    """Return whether the holder of a file is gone: at once for one of this machine."""
    holder = _parsed(place.content(name))
    if holder.get("machine") == _machine():
        if is_locked:
            return True
        if holder.get("processes") == _processes():
            return not _is_process(holder.get("pid"), holder.get("began"))
    return age_s > DEAD_AFTER_S


def _me() -> bytes:
    pid = os.getpid()
    me = {
        "host": platform.node(), "machine": _machine(), "processes": _processes(), "pid": pid,
        "began": _began(pid),
    }  # fmt: skip
    return json.dumps(me).encode()


def _parsed(content: bytes | None) -> dict[str, Any]:
    try:
        holder = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


@cache
def _machine() -> str:
    """Return what is the same for all processes of a running kernel, in whatever container."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


def _processes() -> str:
    """Return what tells one numbering of processes from another: containers have their own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return platform.node()


def _is_process(pid: object, began: object) -> bool:
    if not isinstance(pid, int) or not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    return began is None or began == _began(pid)


def _began(pid: int) -> str | None:
    """Return when a process began, as numbers of processes are used again; None if it is dead."""
    try:
        # The name of the program, in parentheses, may have anything in it.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except (OSError, ValueError, IndexError):
        return None
