"""What was seen in a file, remembered until the file changes: a million files are read once.

A file counts as unchanged while its size, its two times in nanoseconds and its inode are the same.
The time of the last change of the inode (ctime) is among them because programs that copy or unpack
set the other one (mtime) back. A file that changed within the last two seconds is looked at again
the next time, since a second change could fall into the same tick of the file system's clock.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from nlbench.errors import DataError
from nlbench.files import cache_dir, write_atomic

READERS = 8
"""Threads that read files at once."""
MANY_FILES = 100_000
MANY_BYTES = 4 * 2**30

_TICK_NS = 2_000_000_000
_STATS = 4  # size, mtime, ctime, inode
_CHUNK = 256

log = logging.getLogger("nlbench")

Values = npt.NDArray[Any]
Look = Callable[[str], Any]


class _Entries(NamedTuple):
    """Files in the order of `names`, what they looked like from outside, and what was seen."""

    names: list[bytes]
    stats: npt.NDArray[np.int64]
    values: Values


def remembered(
    root: Path, names: Sequence[str], what: str, kind: npt.DTypeLike, look: Look
) -> Values:
    """Return what is seen in each file, looking only at files that are new or changed.

    Args:
        root: The folder that names start from.
        names: (N,) file names, each once.
        what: What is seen, with a number that changes when `look` does; names the memory.
        kind: NumPy type of a value.
        look: Called with a path, by several threads.

    Returns:
        (N,) values of that type.

    Raises:
        DataError: if a file is missing or cannot be read.
    """
    file = _memory_file(root, what)
    with _locked(file) as can_write:
        stats = _stats(root, names)
        encoded = [os.fsencode(name) for name in names]
        old = _read(file, np.dtype(kind))
        values, is_new = _recall(old, encoded, stats, np.dtype(kind))
        rows = np.flatnonzero(is_new).tolist()
        if not rows:
            return values
        _announce(root, stats[rows, 0])
        started = time.time_ns()
        _look_at(root, names, rows, look, values)
        if can_write:
            stats[stats[:, 1:3].max(axis=1) > started - _TICK_NS, 0] = -1
            _write(file, _joined(root, old, _Entries(encoded, stats, values)))
    return values


def _memory_file(root: Path, what: str) -> Path:
    key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return cache_dir() / "files" / f"{what}-{key}.npz"


class _locked:  # noqa: N801 - a context manager, used like a function
    """Keep other processes out; True where the memory can be written, else a warning and False."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lock: Any = nullcontext()

    def __enter__(self) -> bool:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.lock = FileLock(self.file.with_suffix(".lock"))
            self.lock.acquire()
        except OSError as error:
            self.lock = nullcontext()
            log.warning(
                "contents of files cannot be remembered in '%s' and are read every time: %s. "
                "Set NLBENCH_CACHE to a folder that can be written.", self.file.parent, error,
            )  # fmt: skip
            return False
        return True

    def __exit__(self, *error: object) -> None:
        if isinstance(self.lock, FileLock):
            self.lock.release()


def _stats(root: Path, names: Sequence[str]) -> npt.NDArray[np.int64]:
    out = np.empty((len(names), _STATS), dtype=np.int64)
    start = f"{root}{os.sep}"
    for row, name in enumerate(names):
        try:
            seen = os.stat(start + name)  # noqa: PTH116 - a million times
        except OSError as error:
            raise DataError(
                f"file '{root / name}' cannot be read: {error.strerror}. Restore or remove it."
            ) from None
        # An inode has up to 64 bits without sign.
        inode = seen.st_ino & (2**63 - 1)
        out[row] = seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, inode
    return out


def _recall(
    old: _Entries | None, names: list[bytes], stats: npt.NDArray[np.int64], kind: np.dtype[Any]
) -> tuple[Values, npt.NDArray[np.bool_]]:
    """Return the values that still hold, and which do not."""
    values = np.zeros(len(names), dtype=kind)
    if old is None:
        return values, np.ones(len(names), dtype=bool)
    if names == old.names:
        rows = np.arange(len(names))
    else:
        row_of = {name: row for row, name in enumerate(old.names)}
        rows = np.array([row_of.get(name, -1) for name in names], dtype=np.int64)
    same: npt.NDArray[np.bool_] = rows >= 0
    same[same] = (old.stats[rows[same]] == stats[same]).all(axis=1)
    values[same] = old.values[rows[same]]
    return values, ~same


def _look_at(root: Path, names: Sequence[str], rows: list[int], look: Look, values: Values) -> None:
    start = f"{root}{os.sep}"

    def some(first: int) -> None:
        for row in rows[first : first + _CHUNK]:
            try:
                values[row] = look(start + names[row])
            except OSError as error:
                raise DataError(
                    f"file '{root / names[row]}' cannot be read: {error.strerror}. "
                    "Restore or remove it."
                ) from None

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(some, range(0, len(rows), _CHUNK)))


def _announce(root: Path, sizes: npt.NDArray[np.int64]) -> None:
    if len(sizes) >= MANY_FILES or sizes.sum() >= MANY_BYTES:
        log.warning(
            "%d files (%.1f GiB) in '%s' are read once; as long as they do not change, later runs "
            "only look at their dates.", len(sizes), sizes.sum() / 2**30, root,
        )  # fmt: skip


def _joined(root: Path, old: _Entries | None, new: _Entries) -> _Entries:
    """Return the new entries, and those of other files that are still there."""
    if old is None or old.names == new.names:
        return new
    now = set(new.names)
    start = os.fsencode(f"{root}{os.sep}")
    rows = [
        row
        for row, name in enumerate(old.names)
        if name not in now and os.path.lexists(start + name)
    ]
    return _Entries(
        new.names + [old.names[row] for row in rows],
        np.concatenate([new.stats, old.stats[rows]]),
        np.concatenate([new.values, old.values[rows]]),
    )


def _read(file: Path, kind: np.dtype[Any]) -> _Entries | None:
    """Return what is remembered; None, with a warning, where the memory is damaged."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            names = stored["names"].tobytes().split(b"\0")[:-1]
            entries = _Entries(names, stored["stats"], stored["values"])
        if entries.stats.shape != (len(names), _STATS) or entries.values.shape != (len(names),):
            raise ValueError("its parts differ in length")
        if entries.stats.dtype != np.int64 or entries.values.dtype != kind:
            raise ValueError("its parts have another type")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("the memory of files '%s' is damaged and is built again: %s", file, error)
        return None
    return entries


def _write(file: Path, entries: _Entries) -> None:
    stream = io.BytesIO()
    names = np.frombuffer(b"".join(name + b"\0" for name in entries.names), dtype=np.uint8)
    np.savez(stream, names=names, stats=entries.stats, values=entries.values)
    try:
        write_atomic(file, stream.getvalue())
    except OSError as error:
        log.warning("contents of files cannot be remembered in '%s': %s", file.parent, error)
