"""Labels and arrays as people have them: NumPy, torch, pandas, text; checked in one wording."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbench.errors import ConfigError, did_you_mean


def plain_array(values: Any) -> npt.NDArray[Any]:
    """Return values as a NumPy array on the CPU.

    Args:
        values: A list, an array, a tensor on any device, a pandas object, or what `nlbench.corrupt`
            returns, of which the labels are taken.
    """
    if hasattr(values, "transition_matrix"):
        values = values.labels
    if not hasattr(values, "detach"):
        return np.asarray(values)
    tensor = values.detach().cpu()
    # numpy has no bfloat16.
    return np.asarray((tensor.double() if tensor.is_floating_point() else tensor).numpy())


def whole_labels(
    name: str, values: Any, class_names: Sequence[str] | None = None
) -> npt.NDArray[np.int64]:
    """Return labels as (N,) int64, text by the position of its class name.

    Args:
        name: What they are called, for messages.
        values: (N,) whole numbers, or names of classes; see `plain_array` for their types.
        class_names: K names; needed where the labels are text.

    Raises:
        ConfigError: if they are not 1-D, empty, fractions, missing, or names without a class.

    >>> whole_labels("labels", ["dog", "cat"], class_names=["cat", "dog"]).tolist()
    [1, 0]
    """
    array = plain_array(values)
    if array.ndim != 1 or len(array) == 0:
        raise ConfigError(f"`{name}` must be 1-D and not empty, got shape {array.shape}.")
    if array.dtype.kind in "OUST":
        return _of_objects(name, array.tolist(), class_names)
    if array.dtype.kind not in "iuf":
        raise ConfigError(f"`{name}` must be whole numbers, got {array.dtype}.")
    if not bool(np.all(array == np.floor(array))):
        raise ConfigError(
            f"`{name}` must be whole numbers, got fractions or NaN. Remove samples without a label."
        )
    return array.astype(np.int64)


def _of_objects(
    name: str, values: list[Any], class_names: Sequence[str] | None
) -> npt.NDArray[np.int64]:
    """Read an array of Python objects: whole numbers, or names of classes."""
    if all(isinstance(value, Integral) and not isinstance(value, bool) for value in values):
        return np.array(values, dtype=np.int64)
    for value in values:
        if not isinstance(value, str):
            raise ConfigError(
                f"`{name}` must be whole numbers or class names, got {value!r}. Remove samples "
                "without a label."
            )
    if class_names is None:
        raise ConfigError(
            f"`{name}` are text, such as {values[0]!r}: pass `class_names=[...]`, so that each "
            "name has its number."
        )
    numbers = {class_name: number for number, class_name in enumerate(class_names)}
    for value in values:
        if value not in numbers:
            raise ConfigError(
                f"`{name}` has {value!r}, which is not in `class_names`. "
                f"{did_you_mean(value, class_names)}"
            )
    return np.array([numbers[value] for value in values], dtype=np.int64)


def checked_labels(
    name: str, values: Any, n_classes: int, class_names: Sequence[str] | None = None
) -> npt.NDArray[np.int64]:
    """Return labels as (N,) int64 in [0, K).

    Args:
        name: What they are called, for messages.
        values: (N,) whole numbers in [0, K), or names of classes.
        n_classes: K, from the data set; never guessed from the labels that are present.
        class_names: K names; needed where the labels are text.

    Raises:
        ConfigError: if they are not whole numbers in [0, K) in one dimension.

    >>> checked_labels("labels", [0.0, 2.0], n_classes=3).tolist()
    [0, 2]
    """
    if isinstance(n_classes, bool) or not isinstance(n_classes, Integral) or n_classes < 2:
        raise ConfigError(f"`n_classes` must be a whole number >= 2, got {n_classes!r}.")
    labels = whole_labels(name, values, class_names)
    low, high = labels.min(), labels.max()
    if low < 0 or high >= n_classes:
        raise ConfigError(
            f"`{name}` must lie in [0, {n_classes}), got values from {low} to {high}."
        )
    return labels
