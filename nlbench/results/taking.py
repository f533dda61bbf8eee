"""Whether a live process has a run: a lock, and a lease beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nlbench.errors import refusals
from nlbench.files.leases import FolderPlace, clock_of, is_leased, leased
from nlbench.files.locks import is_locked, locked


@contextmanager
def taken(folder: Path) -> Iterator[bool]:
    """Take a run, making its folder; False where another process has it.

    The lock is dropped when a process dies, however it dies. The lease is beside it for folders
    that machines share, where locks may exclude nobody on another machine.
    """
    with ExitStack() as held:
        with refusals(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context(locked(folder / "lock"))
            has_it = lock is not False and held.enter_context(
                leased(FolderPlace(folder), f"run {folder.name[:12]}", is_locked=bool(lock))
            )
        yield has_it


def is_taken(folder: Path) -> bool:
    """Return whether a live process has a run; True where nobody can know."""
    lock = folder / "lock"
    if is_locked(lock):
        return True
    place = FolderPlace(folder)
    try:
        return bool(place.times()) and is_leased(place, clock_of(folder))
    except OSError:
        return True
