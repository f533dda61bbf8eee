"""What a noise works on: checked labels, and the transition matrix that they show."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbench.errors import ConfigError

Labels = npt.NDArray[np.int64]


Matrix = npt.NDArray[np.float64]


Drawn = tuple[Labels, Matrix]


def counted_matrix(clean: Labels, noisy: Labels, n_classes: int) -> Matrix:
    """Return the (K, K) shares of noisy labels within each clean class; absent classes keep 1."""
    counted = np.bincount(clean * n_classes + noisy, minlength=n_classes**2).astype(np.float64)
    counted = counted.reshape(n_classes, n_classes)
    counted[counted.sum(axis=1) == 0] = np.eye(n_classes)[counted.sum(axis=1) == 0]
    return counted / counted.sum(axis=1, keepdims=True)


def checked_labels(name: str, values: Any, n_classes: int) -> Labels:
    """Return labels as (N,) int64.

    Raises:
        ConfigError: if they are not whole numbers in [0, K) in one dimension.
    """
    if isinstance(n_classes, bool) or not isinstance(n_classes, Integral) or n_classes < 2:
        raise ConfigError(f"`n_classes` must be a whole number >= 2, got {n_classes!r}.")
    array = np.asarray(values)
    whole = array.dtype.kind in "iu" or (
        array.dtype.kind == "f" and bool(np.all(array == np.floor(array)))
    )
    if array.ndim != 1 or len(array) == 0 or not whole:
        raise ConfigError(
            f"`{name}` must be a non-empty 1-D array of whole numbers, "
            f"got shape {array.shape} of {array.dtype}."
        )
    if array.min() < 0 or array.max() >= n_classes:
        raise ConfigError(
            f"`{name}` must lie in [0, {n_classes}), got {array.min()} to {array.max()}."
        )
    return array.astype(np.int64)
