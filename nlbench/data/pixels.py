"""A data set's images at training size: in memory where they fit, else in a file."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from nlbench.data.image_data import ImageData, all_positions
from nlbench.data.images import CENTRE, FittedImages, ImageSource, MappedImages, StoredImages
from nlbench.data.pixel_file import decoded_file
from nlbench.errors import ConfigError

LIMIT_VARIABLE = "NLBENCH_MAX_IMAGES_GIB"
DEFAULT_LIMIT_GIB = 4.0

_BATCH = 512
_CHANNELS = 3
_GIB = 2**30

log = logging.getLogger("nlbench")


def fits_in_memory(data: ImageData, size: int) -> bool:
    """Return whether all images at training size stay below the limit.

    In memory the images are one uint8 tensor; with the copies of the training and the validation
    part a run needs about twice that. The limit is 4 GiB for the tensors of the training and the
    test set together; the environment variable ``NLBENCH_MAX_IMAGES_GIB`` changes it.

    Raises:
        ConfigError: if the variable holds no such number.
    """
    return _needed(data, size) <= _limit_gib() * _GIB


def check_space(data: ImageData, size: int, folder: Path) -> None:
    """Refuse a data set whose images fit neither below the memory limit nor on the disk.

    Args:
        data: The data set.
        size: Side of the images at training size.
        folder: Where files of decoded images go.

    Raises:
        ConfigError: with the size that would be needed, and the ways out.
    """
    if fits_in_memory(data, size):
        return
    parent = next(p for p in (folder, *folder.parents) if p.is_dir())
    written = sum(f.stat().st_size for f in folder.glob(f"{_slug(data.name)}-*"))
    free = shutil.disk_usage(parent).free + written
    needed = _needed(data, size)
    what = f"the images of {data.name!r} take {needed / _GIB:.1f} GiB at {size} x {size} pixels"
    if needed > free:
        raise ConfigError(
            f"{what}, more than the limit of {_limit_gib():g} GiB in memory, and '{parent}' has "
            f"{free / _GIB:.1f} GiB free for a file of them. Name another disk with NLBENCH_CACHE, "
            f"set {LIMIT_VARIABLE} higher if there is enough memory (a run needs about twice "
            "that), or choose a smaller --set protocol.image_size."
        )
    if not written:
        log.warning("%s: they are decoded once into '%s', and read from there.", what, folder)


def load_all(images: ImageSource, size: int) -> Tensor:
    """Return all images as one uint8 tensor (N, C, size, size), read batch by batch into place."""
    out: Tensor | None = None
    for positions in all_positions(images).split(_BATCH):
        batch = images.load(positions, size)
        if out is None:
            out = torch.empty((len(images), *batch.shape[1:]), dtype=batch.dtype)
        out[positions] = batch
    return torch.empty((0, _CHANNELS, size, size), dtype=torch.uint8) if out is None else out


def stored_images(
    data: ImageData,
    part: str,
    size: int,
    device: torch.device,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> StoredImages:
    """Return a part's images on the device where all fit in memory, else in a file of the cache.

    Args:
        data: The data set.
        part: "train", "test" or the name of a further test set.
        size: Side of the images.
        device: Where they go, at once or batch by batch.
        folder: Where a file goes.
        progress: Called with (images decoded, images) where a file is written.
    """
    # Further test sets are no part of the fingerprint, which names the file.
    if part in data.other_tests or fits_in_memory(data, size):
        return _loaded(data, part, size, device)
    images = _images(data, part)
    fit = "" if data.fit == CENTRE else f"/{data.fit}"
    key = hashlib.sha256(f"{data.fingerprint}/{part}{fit}".encode()).hexdigest()
    path = folder / f"{_slug(data.name)}-{part}-{size}-{key[:16]}.uint8"
    return MappedImages(decoded_file(images, size, path, progress), all_positions(images), device)


@lru_cache(maxsize=4)
def _loaded(data: ImageData, part: str, size: int, device: torch.device) -> Tensor:
    """Load a part's images; a sweep does so once."""
    return load_all(_images(data, part), size).to(device)


def _images(data: ImageData, part: str) -> ImageSource:
    own = {"train": data.train_images, "test": data.test_images}
    images = own[part] if part in own else data.other_tests[part].images
    return images if data.fit == CENTRE else FittedImages(images, data.fit)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", name)[:80]


def _needed(data: ImageData, size: int) -> int:
    return (len(data.train_images) + len(data.test_images)) * _CHANNELS * size**2


def _limit_gib() -> float:
    text = os.environ.get(LIMIT_VARIABLE, "")
    if not text:
        return DEFAULT_LIMIT_GIB
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise ConfigError(f"{LIMIT_VARIABLE} must be a number of GiB > 0, got {text!r}.")
    return limit
