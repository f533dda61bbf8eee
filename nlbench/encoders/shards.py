"""Shards: files of up to 1024 embeddings with the keys of their images, checksummed."""

from __future__ import annotations

import hashlib
import logging
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nlbench.data.content_keys import Keys, as_keys
from nlbench.errors import refusals
from nlbench.files import write_atomic

log = logging.getLogger("nlbench")

SHARD_ROWS = 1024
SUFFIX = ".safetensors"
# What reading a file raises that another process removed, cut short, or that is something else.
UNREADABLE = (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError)


Numbers = npt.NDArray[np.int64]


class DamagedShardError(Exception):
    """A shard cannot be trusted."""


class Shard(NamedTuple):
    """A whole shard in memory: (r,) keys and (r, d) float32 embeddings."""

    keys: Keys
    embeddings: Tensor


def shard_files(entry: Path) -> list[Path]:
    """Return the shards of an entry, the oldest first."""
    return sorted(entry.glob(f"[0-9]*{SUFFIX}"))


def write_shard(entry: Path, shard: Shard, metadata: Mapping[str, str]) -> Path:
    """Write a shard, so that it is there as a whole or not at all.

    Its name has the time, which keeps their order, and what names its images, so that a list of the
    folder tells whether they are there.

    Args:
        entry: Folder of an encoder's embeddings.
        shard: What is written.
        metadata: What it says of itself; of no `machine`, it was made on this one.
    """
    path = entry / f"{time.time_ns():020d}-{name_of_images(shard.keys)}{SUFFIX}"
    keys = torch.from_numpy(shard.keys.view(np.uint8).reshape(len(shard.keys), -1).copy())
    content = {"embeddings": shard.embeddings.contiguous(), "keys": keys}
    named = {"machine": platform.node(), **metadata, "sha256": digest_of(shard)}
    write_atomic(path, safetensors.torch.save(content, named))
    return path


def name_of_images(keys: Keys) -> str:
    """Return the word for just these images in this order in the name of a shard."""
    return hashlib.sha256(keys.view(np.uint8).data).hexdigest()[:16]


def read_shard(path: Path, skips: Callable[[Keys], bool] | None = None) -> Shard | None:
    """Return a shard, checked; None, unread, where its keys are to be skipped.

    Raises:
        DamagedShardError: if it cannot be trusted.
        RefusedError: if the operating system does not let us read it.
    """
    require_readable(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            keys = as_keys(file.get_tensor("keys").numpy())
            if skips is not None and skips(keys):
                return None
            shard = Shard(keys, file.get_tensor("embeddings"))
            if digest_of(shard) == file.metadata()["sha256"]:
                return shard
    except UNREADABLE as error:
        raise DamagedShardError(str(error)) from error
    raise DamagedShardError("its checksum is another one")


def drop_damaged(path: Path) -> None:
    """Remove a shard that cannot be trusted, and say so."""
    log.warning(
        "cached embeddings %s are damaged and are computed again.",
        path.relative_to(path.parents[1]),
    )
    with refusals(path, "deleted"):
        path.unlink(missing_ok=True)


def whole_or_dropped(path: Path) -> Shard | None:
    """Return a shard; None for one that cannot be trusted, which is removed."""
    try:
        return read_shard(path)
    except DamagedShardError:
        drop_damaged(path)
        return None


def merge_small(entry: Path, metadata: Mapping[str, str]) -> None:
    """Make whole shards of those that are not full, so that many small additions stay few files.

    The new ones are written before the old ones are removed: a process that is killed between
    leaves embeddings twice, which does no harm and ends with the next merge.
    """
    # By what they hold, not by their age: of several processes any may have been the first.
    paths = sorted(filter(_is_small, shard_files(entry)), key=lambda path: path.stem.split("-")[1:])
    if len(paths) < 2:
        return
    small = [shard for path in paths if (shard := whole_or_dropped(path)) is not None]
    if not small:
        return
    keys = np.concatenate([shard.keys for shard in small])
    embeddings = torch.cat([shard.embeddings for shard in small])
    first = np.sort(np.unique(keys, return_index=True)[1])
    machines = ", ".join(sorted({machine_of(path) for path in paths} - {""}))
    for rows in in_shards(first):
        shard = Shard(keys[rows], embeddings[torch.from_numpy(rows)])
        write_shard(entry, shard, {**metadata, "machine": machines})
    for path in paths:
        with refusals(path, "deleted"):
            path.unlink(missing_ok=True)


def in_shards(numbers: Numbers) -> list[Numbers]:
    """Return numbers in parts of a shard's size; none where there are none."""
    parts = np.split(numbers, range(SHARD_ROWS, len(numbers), SHARD_ROWS))
    return [part for part in parts if len(part)]


def shape_of(path: Path) -> tuple[int, int]:
    """Return rows and columns of a shard without reading it.

    Raises:
        RefusedError: if the operating system does not let us read it.
        Exception: one of `UNREADABLE`.
    """
    require_readable(path)
    with safetensors.safe_open(path, framework="np") as file:
        rows, columns = file.get_slice("embeddings").get_shape()
        return int(rows), int(columns)


def metadata_of(path: Path) -> dict[str, str]:
    """Return what a file says of itself.

    Raises:
        Exception: one of `UNREADABLE`.
    """
    with safetensors.safe_open(path, framework="np") as file:
        return dict(file.metadata())


def machine_of(path: Path) -> str:
    """Return the machine that made a shard; "" where it does not say."""
    try:
        return metadata_of(path).get("machine", "")
    except UNREADABLE:
        return ""


def require_readable(path: Path) -> None:
    """Tell a refusal of the operating system from damage, as safetensors does not.

    Raises:
        RefusedError: if the file cannot be opened.
    """
    with refusals(path, "read"):
        path.open("rb").close()


def _is_small(path: Path) -> bool:
    try:
        return shape_of(path)[0] < SHARD_ROWS
    except UNREADABLE:
        return True  # not even that can be read: it is dropped with the small ones


def digest_of(shard: Shard) -> str:
    """Return the SHA-256 of a shard's keys and embeddings."""
    digest = hashlib.sha256(shard.keys.view(np.uint8).data)
    # The array itself is a buffer: `tobytes` would double the memory of a million embeddings.
    digest.update(shard.embeddings.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
