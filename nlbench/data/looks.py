"""What one look at an image tells: whether it can be decoded, its range, a thumbnail of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nlbench.data.decoding import (
    VERSION,
    LargeImageError,
    Range,
    eight_bit,
    extrema,
    is_wide,
    one_large_at_a_time,
    opened,
    start_image,
    warnings_name_the_image,
)
from nlbench.data.file_memory import remembered

THUMBNAIL = 8
FLAT_SHARE = 0.5

FLAT_WARNING = (
    "have one colour everywhere: nothing can be learned from them. Look at some of them, as RGB on "
    "white, before you trust a result."
)

LOOK = np.dtype(
    [
        ("is_image", "?"),
        ("is_flat", "?"),
        ("is_wide", "?"),
        ("low", "<f8"),
        ("high", "<f8"),
        ("thumbnail", "u1", (THUMBNAIL, THUMBNAIL, 3)),
    ]
)

Looks = npt.NDArray[Any]


def looks_at(root: Path, names: Sequence[str]) -> Looks:
    """Return a look at every image, (N,) of `LOOK`; each file is decoded once while it is the same.

    Raises:
        DataError: if a file is missing or cannot be read.
    """
    with warnings_name_the_image():
        return remembered(root, names, f"look-{VERSION}", LOOK, _look)


def common_range(looks: Looks) -> Range | None:
    """Return one range for all images with more than 8 bits; None where there are none."""
    wide = looks[looks["is_wide"]]
    return Range.of(wide["low"].min(), wide["high"].max()) if len(wide) else None


def mostly_flat(is_flat: npt.NDArray[np.bool_]) -> str:
    """Return a warning where most images have one value everywhere, else an empty string."""
    share = float(is_flat.mean()) if len(is_flat) else 0.0
    if share <= FLAT_SHARE:
        return ""
    return f"{share:.0%} of the images {FLAT_WARNING}"


def _look(path: str) -> Any:
    return one_large_at_a_time(lambda alone: _looked_at(path, alone))


def _looked_at(path: str, alone: bool) -> Any:
    start_image(path)
    out = np.zeros((), dtype=LOOK)
    try:
        with opened(Path(path), alone) as image:
            wide = Range(0.0, 0.0)
            if is_wide(image):
                wide = Range(*extrema(image))
                out["is_wide"], out["low"], out["high"] = True, wide.low, wide.high
            pixels = eight_bit(image, wide)
    except OSError as error:
        if isinstance(error, PermissionError | FileNotFoundError):
            raise
        return out
    except LargeImageError:
        raise
    except Exception:
        return out
    out["is_image"] = True
    rows = np.asarray(pixels).reshape(-1, 3)
    out["is_flat"] = bool((rows == rows[0]).all())
    side = (THUMBNAIL, THUMBNAIL)
    out["thumbnail"] = np.asarray(pixels.resize(side, Image.Resampling.BOX))
    return out
