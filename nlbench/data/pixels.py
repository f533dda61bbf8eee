"""A data set's images as one tensor at training size, and the check that they fit in memory."""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor

from nlbench.data.image_data import ImageData, all_positions
from nlbench.errors import ConfigError
from nlbench.images import ImageSource

LIMIT_VARIABLE = "NLBENCH_MAX_IMAGES_GIB"
DEFAULT_LIMIT_GIB = 4.0

_BATCH = 512
_CHANNELS = 3
_GIB = 2**30


def check_memory(data: ImageData, size: int) -> None:
    """Refuse a data set whose images at training size would exceed the limit.

    Training holds all images as one uint8 tensor; with the copies of the training and the
    validation part a run needs about twice that. The limit is 4 GiB for the tensors of the
    training and the test set together; the environment variable ``NLBENCH_MAX_IMAGES_GIB``
    changes it.

    Raises:
        ConfigError: with the size that would be needed, and the ways out.
    """
    n = len(data.train_images) + len(data.test_images)
    needed = n * _CHANNELS * size**2 / _GIB
    limit = _limit_gib()
    if needed > limit:
        raise ConfigError(
            f"the {n} images of {data.name!r} take {needed:.1f} GiB at {size} x {size} pixels, and "
            f"a run about twice that; the limit is {limit:g} GiB. Choose a smaller --set "
            f"protocol.image_size, a part of the data (`nlbench show dataset` tells whether there "
            f"is a setting for it), or set {LIMIT_VARIABLE} higher if there is enough memory."
        )


def load_all(images: ImageSource, size: int) -> Tensor:
    """Give all images as one uint8 tensor (N, C, size, size), read batch by batch into place."""
    out: Tensor | None = None
    for positions in all_positions(images).split(_BATCH):
        batch = images.load(positions, size)
        if out is None:
            out = torch.empty((len(images), *batch.shape[1:]), dtype=batch.dtype)
        out[positions] = batch
    return torch.empty((0, _CHANNELS, size, size), dtype=torch.uint8) if out is None else out


def _limit_gib() -> float:
    given = os.environ.get(LIMIT_VARIABLE, "")
    if not given:
        return DEFAULT_LIMIT_GIB
    try:
        limit = float(given)
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise ConfigError(f"{LIMIT_VARIABLE} must be a number of GiB > 0, got {given!r}.")
    return limit
