"""Whether clean labels can be reached from an object, by any chain of references."""

from __future__ import annotations

import array
import gc
import types
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_CLOSED = (type, types.ModuleType, str, bytes, int, float, type(None))


def path_to_labels(root: object, clean_labels: Tensor, noisy_labels: Tensor) -> str | None:
    """Look for the clean labels, or for which noisy ones are right, in all that `root` holds.

    Follows attributes, containers, closures, the whole storage of tensors and the base of array
    views; not modules, classes and the globals of functions, which everyone can reach anyway.

    Returns:
        The types on the way to them, or None if they cannot be reached.

    >>> clean, noisy = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1])
    >>> path_to_labels({"noisy": noisy}, clean, noisy) is None
    True
    >>> path_to_labels({"noisy": noisy, "cache": [0, 1, 2]}, clean, noisy)
    'dict > list'
    """
    clean, noisy = (t.cpu().numpy() for t in (clean_labels, noisy_labels))
    if np.array_equal(clean, noisy):
        raise ValueError("clean and noisy labels must differ somewhere to be told apart.")
    secrets = (clean, clean == noisy, clean != noisy)
    # Objects stay in `seen`: a freed one would hand its id to a new object.
    seen: dict[int, object] = {id(root): root}
    queue: list[tuple[object, str]] = [(root, type(root).__name__)]
    while queue:
        value, path = queue.pop()
        if any(_holds(value, secret) for secret in secrets):
            return path
        for child in _children(value):
            if id(child) not in seen and not isinstance(child, _CLOSED):
                seen[id(child)] = child
                queue.append((child, f"{path} > {type(child).__name__}"))
    return None


def _children(value: object) -> Iterator[object]:
    if isinstance(value, types.FunctionType):
        yield from (value.__closure__, value.__defaults__, value.__kwdefaults__, vars(value))
    elif isinstance(value, types.FrameType):
        yield dict(value.f_locals)
    elif isinstance(value, types.GeneratorType):
        yield value.gi_frame
    elif isinstance(value, dict) and "__builtins__" in value:
        return  # the globals of a module
    else:
        yield from gc.get_referents(value)
        yield from _hidden_from_gc(value)


def _hidden_from_gc(value: object) -> Iterator[object]:
    if isinstance(value, Tensor):
        yield from (vars(value), value.grad if value.is_leaf else None)
    elif isinstance(value, np.ndarray):
        yield value.base
        yield value.tolist() if value.dtype == object else None
    elif isinstance(value, memoryview):
        yield value.obj
    elif isinstance(value, weakref.ref):
        yield value()


def _holds(value: object, secret: npt.NDArray[Any]) -> bool:
    if isinstance(value, Tensor):
        return _holds_array(_storage(value), secret)
    if isinstance(value, np.ndarray | array.array | memoryview):
        return _holds_array(np.asarray(value).ravel(), secret)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple) and len(value) == len(secret):
        return all(isinstance(v, int | np.integer | np.bool_) for v in value) and bool(
            np.array_equal(np.asarray(value), secret)
        )
    return False


def _holds_array(flat: npt.NDArray[Any], secret: npt.NDArray[Any]) -> bool:
    """Return whether `secret` is a row or a column of a matrix laid out in `flat`."""
    if flat.size == 0 or flat.size % len(secret) or flat.dtype.kind not in "biuf":
        return False
    rows, columns = flat.reshape(-1, len(secret)), flat.reshape(len(secret), -1).T
    return bool((rows == secret).all(axis=1).any() or (columns == secret).all(axis=1).any())


def _storage(tensor: Tensor) -> npt.NDArray[Any]:
    """Return all that lies in a tensor's storage: a view can be widened to it."""
    if tensor.device.type == "meta" or tensor.is_sparse:
        return np.empty(0)
    flat = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    flat.set_(tensor.detach().untyped_storage())
    return (flat.float() if flat.dtype == torch.bfloat16 else flat).cpu().numpy()
