"""What is measured of a picture while it is decoded once: size, content, hash, brightness."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nlbench.data.decoding import SIXTEEN_BIT, Range, eight_bit, extrema, is_wide

VERSION = 1
SMALL = 16

SIGHT = np.dtype(
    [
        ("is_seen", "?"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("content", "u1", (32,)),
        ("hash", "u1", (8,)),
        ("small", "u1", (SMALL, SMALL)),
        ("dark_end", "u1"),
        ("light_end", "u1"),
        ("spread", "u1"),
    ]
)
"""Of one picture.

`content` is SHA-256 of size and pixels; `hash` the perceptual hash of 64 bits; `small` the picture
in grey, 16 x 16; `dark_end` and `light_end` the 1st and 99th percentile of brightness in
[0, 255]; `spread` the largest distance of a colour channel's 1st and 99th percentile. Width and
height are 0 where the source does not tell them.
"""

Sights = npt.NDArray[Any]


def sight_of(image: Image.Image, wide: Range | None = None) -> Any:
    """Return what is measured of an opened, upright image, a record of `SIGHT`.

    Args:
        image: Of any mode.
        wide: Range of values of images with more than 8 bits; the image's own where left out.
    """
    import imagehash  # with SciPy's transforms

    is_deep = is_wide(image)
    levels = (wide or Range.of(*extrema(image))) if is_deep else SIXTEEN_BIT
    pixels = eight_bit(image, levels)
    grey = pixels.convert("L")
    out = np.zeros((), dtype=SIGHT)
    out["is_seen"] = True
    out["width"], out["height"] = pixels.size
    # Pictures with more than 8 bits may differ in what 8 bits do not show.
    out["content"] = _digest(np.asarray(image if is_deep else pixels))
    out["hash"] = np.packbits(imagehash.phash(pixels).hash.ravel())
    out["small"] = np.asarray(grey.resize((SMALL, SMALL), Image.Resampling.BOX))
    out["dark_end"], out["light_end"] = _ends(np.array(grey.histogram()))
    channels = np.array(pixels.histogram()).reshape(3, 256)
    out["spread"] = max(int(high) - int(low) for low, high in map(_ends, channels))
    return out


def _digest(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    digest = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    digest.update(np.ascontiguousarray(values).data)
    return np.frombuffer(digest.digest(), dtype=np.uint8)


def _ends(histogram: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Return the 1st and the 99th percentile of the values counted in a histogram (256,)."""
    share = histogram.cumsum() / histogram.sum()
    return int((share <= 0.01).sum()), int((share < 0.99).sum())
