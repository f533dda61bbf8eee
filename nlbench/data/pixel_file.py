"""Decoded images in one file: written once, safe against being killed, read through a map.

Beside it, in a ``.safe`` file, is how many images are on the disk and the CRC-32 of their bytes: a
file whose bytes have changed since is made again. CRC-32 because it can go on where a killed writer
ended; it misses one such change in 4 billion.
"""

from __future__ import annotations

import logging
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from nlbench.data.image_data import all_positions
from nlbench.data.images import ImageSource
from nlbench.errors import DataError
from nlbench.files import entries_of, write_atomic

_BATCH = 256
_BLOCK = 2**24

_log = logging.getLogger("nlbench")


def pixel_folder(cache: Path) -> Path:
    """Return where files of decoded images lie in the cache's folder."""
    return cache / "pixels"


def pixel_files(cache: Path) -> list[Path]:
    """Return the files of decoded images, finished and half-written.

    Raises:
        RefusedError: if their folder cannot be listed.
    """
    files = entries_of(pixel_folder(cache))
    return [file for file in files if file.suffix in (".uint8", ".part")]


def decoded_file(
    images: ImageSource,
    size: int,
    path: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Return images as a memory-mapped tensor, decoding them into the file where it is not there.

    A writer that was killed leaves a ``.part`` and how many images of it are safe on the disk;
    the next one goes on from there. Of two processes that need the same file, one writes and the
    other waits. A finished file that does not have its checksum any more is deleted and made
    again, with a warning in the log of nlbench.

    Args:
        images: At least one.
        size: Side of the stored images.
        path: Of the finished file; its name must tell images and content apart.
        progress: Called with (images decoded, images).

    Returns:
        (N, C, size, size) uint8. Writing to it does not reach the file.

    Raises:
        DataError: if an image cannot be decoded, by its path; or if the file cannot be written.
    """
    shape = (len(images), *images.load(torch.tensor([0]), size).shape[1:])
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not _is_whole(path, len(images), math.prod(shape[1:])):
            try:
                path.unlink(missing_ok=True)
                _write(images, size, path, math.prod(shape[1:]), progress)
            except OSError as error:
                raise DataError(
                    f"decoded images cannot be written to '{path}': {error}. Make room, or name "
                    "another folder with NLBENCH_CACHE; what is there is not decoded again."
                ) from error
    return torch.from_numpy(np.memmap(path, np.uint8, mode="c", shape=shape))


def _is_whole(path: Path, n_images: int, n_bytes: int) -> bool:
    if not path.is_file():
        return False
    is_whole = path.stat().st_size == n_images * n_bytes and (
        _safe_part(path, path.with_suffix(".safe"), n_bytes)[0] == n_images
    )
    if not is_whole:
        _log.warning("'%s' is damaged or has no checksum: its images are decoded again.", path)
    return is_whole


def _write(
    images: ImageSource, size: int, path: Path, n_bytes: int, progress: Callable[[int, int], None]
) -> None:
    part, safe = path.with_suffix(".part"), path.with_suffix(".safe")
    done, checksum = _safe_part(part, safe, n_bytes)
    with part.open("r+b" if done else "wb") as file:
        file.seek(done * n_bytes)
        for positions in all_positions(images)[done:].split(_BATCH):
            content = images.load(positions, size).numpy().tobytes()
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            done, checksum = done + len(positions), zlib.crc32(content, checksum)
            write_atomic(safe, f"{done} {checksum}")
            progress(done, len(images))
        file.truncate()
    part.replace(path)


def _safe_part(file: Path, safe: Path, n_bytes: int) -> tuple[int, int]:
    """Return how many images of a file can be relied on, and the CRC-32 of their bytes."""
    try:
        done, checksum = map(int, safe.read_text().split())
        is_safe = done > 0 and _crc32(file, done * n_bytes) == checksum
    except (OSError, ValueError):
        return 0, 0
    return (done, checksum) if is_safe else (0, 0)


def _crc32(file: Path, n_bytes: int) -> int:
    """Return the checksum of a file's first bytes.

    Raises:
        ValueError: if there are fewer.
    """
    checksum = 0
    with file.open("rb") as stream:
        while n_bytes:
            block = stream.read(min(_BLOCK, n_bytes))
            if not block:
                raise ValueError("it is cut off")
            checksum, n_bytes = zlib.crc32(block, checksum), n_bytes - len(block)
    return checksum
