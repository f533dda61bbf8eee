"""Images in files, decoded when asked for; a million file names in a few dozen megabytes."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import interpolate

from nlbench.data.images import ImageSource
from nlbench.errors import ConfigError, DataError

READERS = 8
_LONGEST = 4  # times the shorter side; far outside the square in the middle

Pixels = npt.NDArray[np.uint8]


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
    """Images that are decoded when asked for; shorter side to `size`, then the centre."""

    root: Path
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def load(self, indices: Tensor, size: int | None = None) -> Tensor:
        """Return uint8 RGB images (B, 3, size, size).

        Raises:
            DataError: naming the file, if one cannot be decoded (any more).
        """
        side = required_size(size)
        chosen = [self.root / self.names[i] for i in indices.tolist()]
        with ThreadPoolExecutor(READERS) as pool:
            return as_batch(
                list(pool.map(lambda path: decode(path, side, str(path)), chosen)), side
            )


def required_size(size: int | None) -> int:
    """Return the size.

    Raises:
        ConfigError: if there is none.
    """
    if size is None:
        raise ConfigError("images in files have many sizes: ask for one with `size=`.")
    return size


def as_batch(images: Sequence[Pixels], side: int) -> Tensor:
    """Return (H, W, 3) arrays as one uint8 batch (B, 3, H, W)."""
    if not images:
        return torch.empty((0, 3, side, side), dtype=torch.uint8)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def decode(source: Path | io.BytesIO, side: int, what: str) -> Pixels:
    """Return an image upright, as RGB (side, side, 3).

    Args:
        source: The file, or its content.
        side: Shorter side is scaled to it, then the centre is cut out.
        what: What to call the image in an error.

    Raises:
        DataError: if it cannot be decoded, whatever is wrong with it.
    """
    try:
        with Image.open(source) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return _square(np.array(_eight_bit(image).convert("RGB")), side)
    except Exception as error:
        # Pillow's decoders raise many types (OSError, SyntaxError, struct.error, ...).
        raise DataError(f"image '{what}' cannot be decoded: {error}") from error


def _square(image: Pixels, side: int) -> Pixels:
    """Scale the shorter side, then cut the centre: CLIP's own steps.

    torch's bicubic filter gives Pillow's values to within 2 of 255, in less time.
    """
    shorter = min(image.shape[:2])
    # A strip's ends are cut off beforehand: whole, it could grow beyond any memory.
    edges = [max(0, (length - _LONGEST * shorter) // 2) for length in image.shape[:2]]
    image = image[edges[0] : image.shape[0] - edges[0], edges[1] : image.shape[1] - edges[1]]
    height, width = image.shape[:2]
    # The longer side rounds down, the corner to the nearest: as torchvision's transforms do.
    scaled = [side * height // shorter, side * width // shorter]
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    if scaled != [height, width]:
        batch = interpolate(batch, scaled, mode="bicubic", antialias=True)
    top, left = (round((length - side) / 2) for length in scaled)
    out: Pixels = batch[0, :, top : top + side, left : left + side].permute(1, 2, 0).numpy()
    return out


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return an image that Pillow turns into RGB as a viewer would show it.

    Its own conversion cuts 16-bit grey above 255 to white, and warns of palettes with
    transparent entries.
    """
    if image.mode == "P":
        return image.convert("RGBA")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.max(initial=0) > 255:
        values = values >> 8
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))
