"""Decoded images in one file: written once, safe against being killed, read through a map."""

from __future__ import annotations

import math
import os
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
    other waits.

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
        if not path.is_file() or path.stat().st_size != math.prod(shape):
            try:
                _write(images, size, path, math.prod(shape[1:]), progress)
            except OSError as error:
                raise DataError(
                    f"decoded images cannot be written to '{path}': {error}. Make room, or name "
                    "another folder with NLBENCH_CACHE; what is there is not decoded again."
                ) from error
    return torch.from_numpy(np.memmap(path, np.uint8, mode="c", shape=shape))


def _write(
    images: ImageSource, size: int, path: Path, n_bytes: int, progress: Callable[[int, int], None]
) -> None:
    part, safe = path.with_suffix(".part"), path.with_suffix(".safe")
    done = _n_safe(part, safe, n_bytes)
    with part.open("r+b" if done else "wb") as file:
        file.seek(done * n_bytes)
        for positions in all_positions(images)[done:].split(_BATCH):
            file.write(images.load(positions, size).numpy().tobytes())
            file.flush()
            os.fsync(file.fileno())
            done += len(positions)
            write_atomic(safe, str(done))
            progress(done, len(images))
        file.truncate()
    part.replace(path)
    safe.unlink()


def _n_safe(part: Path, safe: Path, n_bytes: int) -> int:
    """Return how many images of a half-written file can be relied on."""
    try:
        done = int(safe.read_text())
        return done if 0 <= done * n_bytes <= part.stat().st_size else 0
    except (OSError, ValueError):
        return 0
