"""Images in files, decoded when asked for; a million file names in a few dozen megabytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from torch import Tensor

from nlbench.data.content_keys import Keys
from nlbench.data.decoding import Range, as_batch, decode, true_size, warnings_name_the_image
from nlbench.data.file_contents import digests, file_keys
from nlbench.data.file_memory import READERS
from nlbench.data.images import CENTRE, Fit, ImageSource
from nlbench.data.looks import looks_at
from nlbench.errors import ConfigError


class CompactNames(Sequence[str]):
    """File names in one block of bytes: their own length and 8 bytes each, not a Python object."""

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._block = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> CompactNames: ...
    def __getitem__(self, index: int | slice) -> str | CompactNames:
        """Return one name, or a part of them."""
        if isinstance(index, slice):
            return CompactNames(self[i] for i in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        at = index % len(self)
        return os.fsdecode(self._block[self._ends[at] : self._ends[at + 1]])

    def __repr__(self) -> str:
        return f"CompactNames({len(self)} names)"


@dataclass(frozen=True, eq=False)
class FileImages(ImageSource):
    """Images that are decoded when asked for.

    Attributes:
        wide: Range of values of those with more than 8 bits, one for the whole data set.
    """

    root: Path
    names: Sequence[str]
    wide: Range | None = None

    def __len__(self) -> int:
        return len(self.names)

    def load(self, indices: Tensor, size: int | None = None, fit: Fit = CENTRE) -> Tensor:
        """Return uint8 RGB images (B, 3, size, size).

        Raises:
            DataError: naming the file, if one cannot be decoded (any more).
        """
        side = required_size(size)
        paths = [self.root / self.names[i] for i in indices.tolist()]
        with warnings_name_the_image(), ThreadPoolExecutor(READERS) as pool:
            images = pool.map(lambda path: decode(path, side, str(path), self.wide, fit), paths)
            return as_batch(list(images), side)

    def content_keys(self) -> Keys:
        """Return what tells the same images, (N,), from the memory of files.

        Raises:
            DataError: if a file is missing or cannot be read.
        """
        contents = digests(self.root, self.names)
        if self.wide is None:
            return file_keys(contents)
        # The range, which one new image can change, matters to those with more than 8 bits alone.
        is_wide = looks_at(self.root, self.names)["is_wide"]
        return np.where(is_wide, file_keys(contents, self.wide), file_keys(contents))

    def sizes(self, indices: Tensor) -> list[tuple[int, int]]:
        """Return width and height of these images as they lie on the disk, turned upright.

        Raises:
            DataError: naming the file, if one cannot be decoded (any more).
        """
        paths = [self.root / self.names[i] for i in indices.tolist()]
        with warnings_name_the_image(), ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(lambda path: true_size(path, str(path)), paths))


def required_size(size: int | None) -> int:
    """Return the size.

    Raises:
        ConfigError: if there is none.
    """
    if size is None:
        raise ConfigError("images in files have many sizes: ask for one with `size=`.")
    return size
