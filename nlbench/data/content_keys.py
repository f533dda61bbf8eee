"""What an image is, as 32 bytes: equal where two images give an encoder the same pixels.

Files are known by their bytes and by what decoding depends on, not by their pixels: these would
have to be decoded in every run, which takes about 2 ms an image where a look at the file's dates
takes 0.02. So a picture that is stored again in another format counts as another image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor

Keys = npt.NDArray[np.bytes_]
"""(N,) of 32 bytes; NumPy pads such text with zeros, so that all 32 bytes are compared."""

WIDTH = 32


@runtime_checkable
class KnownByContent(Protocol):
    """A source of images that tells which of them are the same."""

    def content_keys(self) -> Keys:
        """Return the (N,) keys of all images, of `keys_of`."""


def content_keys(images: object, data_key: str, n: int) -> Keys:
    """Return the keys of a source's images; without keys of its own, by data and position.

    Args:
        images: The source.
        data_key: What identifies all images together.
        n: Their number.
    """
    if knows_content(images):
        return images.content_keys()
    return position_keys(data_key, n)


def knows_content(images: object) -> TypeGuard[KnownByContent]:
    """Return whether a source has keys of its own for the images that it loads."""
    return isinstance(images, KnownByContent) and _speaks_for_load(type(images))


def position_keys(data_key: str, n: int) -> Keys:
    """Return keys of images that are known by the data they belong to and their position."""
    return keys_of(f"position {i} of {data_key}".encode() for i in range(n))


def pixel_keys(images: Tensor) -> Keys:
    """Return the keys of images in memory, (N, C, H, W) uint8."""
    kind = f"pixels {tuple(images.shape[1:])}".encode()
    return keys_of(kind + image.tobytes() for image in images.cpu().numpy())


def keys_of(contents: Iterable[bytes]) -> Keys:
    """Return the key of each of these contents."""
    block = b"".join(hashlib.sha256(content).digest() for content in contents)
    return as_keys(np.frombuffer(block, dtype=np.uint8))


def as_keys(content: npt.NDArray[Any]) -> Keys:
    """Return bytes, 32 for each image, as keys."""
    return np.ascontiguousarray(content).view(np.uint8).reshape(-1).view(f"S{WIDTH}")


def _speaks_for_load(kind: type) -> bool:
    """Return whether the keys are of the images that `load` gives: nobody below changed `load`.

    A class that turns every image upside down in its own `load` inherits keys of the upright ones.
    """
    definers = [next(c for c in kind.__mro__ if name in vars(c)) for name in _TOGETHER]
    return issubclass(definers[0], definers[1])


_TOGETHER = ("content_keys", "load")
