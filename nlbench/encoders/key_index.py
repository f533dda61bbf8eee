"""Which images a data set has: their keys, kept beside the embeddings while it is the same.

Reading all files of a data set to know its images would cost every run what only the first one has
to pay.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from nlbench.data.content_keys import Keys, as_keys
from nlbench.encoders.shards import UNREADABLE, metadata_of
from nlbench.files import write_atomic

MOST = 64
"""Kept for each encoder: every change of a data set makes one (36 bytes an image)."""

_SUFFIX = ".images"


class KnownImages(NamedTuple):
    """The images of a data set, copies among them.

    Attributes:
        keys: (U,) different keys, in the order in which they come first.
        numbers: (N,) int32, which of them each image has.
    """

    keys: Keys
    numbers: npt.NDArray[np.int32]

    def first_positions(self) -> npt.NDArray[np.int64]:
        """Return the (U,) positions where each key comes first."""
        return np.unique(self.numbers, return_index=True)[1]


def known_images(keys: Keys) -> KnownImages:
    """Return what the keys of all images say."""
    unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number_of = np.empty(len(order), dtype=np.int32)
    number_of[order] = np.arange(len(order), dtype=np.int32)
    return KnownImages(unique[order], number_of[inverse])


def remembered_images(
    entry: Path,
    data_key: str,
    data: str,
    n: int,
    look: Callable[[], Keys],
    lock: AbstractContextManager[None],
) -> KnownImages:
    """Return the images of a data set, from the file of an earlier run if there is one.

    Args:
        entry: Folder of an encoder's embeddings.
        data_key: What identifies the data set's content; names the file.
        data: Its name, for people.
        n: Number of its images.
        look: Gives the (n,) keys.
        lock: On the files of the folder; not held while looking, which may take long.
    """
    path = entry / f"{hashlib.sha256(data_key.encode()).hexdigest()[:32]}{_SUFFIX}"
    known = _read(path)
    if known is not None and len(known.numbers) == n:
        with suppress(OSError):  # its folder may be another user's
            os.utime(path)
        return known
    known = known_images(look())
    content: dict[str, npt.NDArray[Any]] = {
        "keys": known.keys.view(np.uint8).reshape(len(known.keys), -1),
        "numbers": known.numbers,
    }
    with lock:
        metadata = {"data": data, "sha256": _digest(known)}
        write_atomic(path, safetensors.numpy.save(content, metadata))
        for old in _files(entry)[MOST:]:
            old.unlink(missing_ok=True)
    return known


def data_names(entry: Path) -> list[str]:
    """Return the names of the data sets that an entry knows."""
    found = set()
    for path in _files(entry):
        with suppress(*UNREADABLE):
            found.add(metadata_of(path)["data"])
    return sorted(found)


def _files(entry: Path) -> list[Path]:
    """Return the files, the one used last first."""
    found = []
    for path in entry.glob(f"*{_SUFFIX}"):
        with suppress(FileNotFoundError):  # another process tidied up
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)]


def _read(path: Path) -> KnownImages | None:
    try:
        with safetensors.safe_open(path, framework="np") as file:
            known = KnownImages(as_keys(file.get_tensor("keys")), file.get_tensor("numbers"))
            return known if file.metadata()["sha256"] == _digest(known) else None
    except UNREADABLE:
        return None


def _digest(known: KnownImages) -> str:
    digest = hashlib.sha256(known.keys.view(np.uint8).data)
    digest.update(np.ascontiguousarray(known.numbers).data)
    return digest.hexdigest()
