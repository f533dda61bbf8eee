"""Labels as every part of nlbench takes them: checked once, in one wording."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbench.errors import ConfigError


def checked_labels(name: str, values: Any, n_classes: int) -> npt.NDArray[np.int64]:
    """Return labels as (N,) int64.

    Args:
        name: What they are called, for messages.
        values: (N,) whole numbers in [0, K): an array, a list, or a tensor on the CPU.
        n_classes: K, from the data set; never guessed from the labels that are present.

    Raises:
        ConfigError: if they are not whole numbers in [0, K) in one dimension.

    >>> checked_labels("labels", [0.0, 2.0], n_classes=3).tolist()
    [0, 2]
    """
    if isinstance(n_classes, bool) or not isinstance(n_classes, Integral) or n_classes < 2:
        raise ConfigError(f"`n_classes` must be a whole number >= 2, got {n_classes!r}.")
    array = np.asarray(values)
    if array.ndim != 1 or len(array) == 0:
        raise ConfigError(f"`{name}` must be 1-D and not empty, got shape {array.shape}.")
    if array.dtype.kind not in "iuf":
        raise ConfigError(f"`{name}` must be whole numbers, got {array.dtype}.")
    if not bool(np.all(array == np.floor(array))):
        raise ConfigError(f"`{name}` must be whole numbers, got fractions or NaN.")
    low, high = array.min(), array.max()
    if low < 0 or high >= n_classes:
        raise ConfigError(
            f"`{name}` must lie in [0, {n_classes}), got values from {low} to {high}."
        )
    return array.astype(np.int64)
