"""From an image file of any kind to 8-bit RGB pixels, as a viewer would show it."""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn.functional import interpolate

from nlbench.data.images import CENTRE, Fit
from nlbench.errors import DataError

VERSION = 2
"""Raised where the same file gives other pixels; part of every fingerprint of files."""

FULL_SCALES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""Largest values of floats, and of 8, 10, 12, 14 and 16 bits."""

# Not pictures, only recognised and never decoded, or handed to another program (EPS).
_REFUSED = frozenset(["BUFR", "EPS", "FPX", "GRIB", "HDF5", "MIC", "MPEG", "PDF", "WMF"])
# Recognised by their length or their numbers: many a text file looks like one.
_WITHOUT_SIGNATURE = frozenset(["IPTC", "PCD", "SPIDER", "TGA"])
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LONGEST = 4  # times the shorter side; far outside the square in the middle
_NAMED_WARNINGS = 5

MOST_PIXELS = 2**26
"""A small file may say that it is a huge image: beyond this it is refused, undecoded."""
_LARGE = 2**24  # pixels; 8 threads that decode such images at once take gigabytes
_large = threading.Lock()

T = TypeVar("T")


class LargeImageError(Exception):
    """The image is to be decoded while no other large one is."""


log = logging.getLogger("nlbench")

Pixels = npt.NDArray[np.uint8]


class Range(NamedTuple):
    """The values that become black and white where an image has more than 8 bits."""

    low: float
    high: float

    @classmethod
    def of(cls, low: float, high: float) -> Range:
        """Return the rule for values from `low` to `high`: full scale, else from end to end.

        >>> Range.of(0, 3000)
        Range(low=0.0, high=4095.0)
        >>> Range.of(-1000, 1000)
        Range(low=-1000.0, high=1000.0)
        """
        full = next((scale for scale in FULL_SCALES if high <= scale), None)
        return cls(float(low), float(high)) if low < 0 or full is None else cls(0.0, full)


SIXTEEN_BIT = Range(0.0, 65535.0)


@cache
def formats() -> tuple[str, ...]:
    """Return the formats that are read, as Pillow names them."""
    Image.init()
    return tuple(name for name in Image.ID if name not in _REFUSED)


@cache
def suffixes() -> frozenset[str]:
    """Return the file extensions of these formats, such as ``.avif``."""
    Image.init()
    return frozenset(end for end, name in Image.EXTENSION.items() if name in formats())


def opens(path: str) -> bool:
    """Return whether a file, whatever its name, begins like an image.

    Raises:
        OSError: if the file cannot be read.
    """
    signed = [name for name in formats() if name not in _WITHOUT_SIGNATURE]
    with open(path, "rb") as file:  # noqa: PTH123 - for every file without an extension
        try:
            with Image.open(file, formats=signed):
                return True
        except Exception:
            return False


@contextmanager
def opened(
    source: Path | io.BytesIO, alone: bool, near: int | None = None
) -> Iterator[Image.Image]:
    """Open an image, decoded and upright.

    Args:
        source: The file, or its content.
        alone: Whether nothing else is decoded meanwhile.
        near: Where given, a JPEG is decoded at a smaller size, each side at least this long or
            as long as it is: several times faster.

    Raises:
        ValueError: if it has more than `MOST_PIXELS`; then nothing of it is decoded.
        LargeImageError: if it is large and not `alone`.
    """
    if isinstance(source, io.BytesIO):
        source.seek(0)
    with Image.open(source, formats=formats()) as image:
        n_pixels = image.width * image.height
        if n_pixels > MOST_PIXELS:
            raise ValueError(
                f"it has {image.width} x {image.height} pixels, more than the "
                f"{MOST_PIXELS / 1e6:.0f} million that are decoded. Scale it down"
            )
        if n_pixels > _LARGE and not alone:
            raise LargeImageError
        if near is not None:
            image.draft(None, (near, near))
        image.load()  # Pillow turns TIFF files upright by itself
        try:
            turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
        except Exception:
            turn = None
        yield image if turn is None else image.transpose(turn)


def one_large_at_a_time(work: Callable[[bool], T]) -> T:
    """Return `work(False)`; where its image is large, `work(True)`, which nothing else is beside.

    Args:
        work: Opens an image with its argument as `alone`.
    """
    try:
        return work(False)
    except LargeImageError:
        pass
    # A new thread takes the memory that the last such thread left; the callers' threads would
    # each keep their own.
    with _large, ThreadPoolExecutor(1) as pool:
        return pool.submit(work, True).result()


def true_size(source: Path | io.BytesIO, what: str) -> tuple[int, int]:
    """Return width and height of an image, upright.

    Args:
        source: The file, or its content.
        what: What to call the image in an error.

    Raises:
        DataError: if it cannot be decoded.
    """
    try:
        with opened(source, alone=True) as image:
            return image.size
    except Exception as error:  # as in `decode`
        raise DataError(f"image '{what}' cannot be decoded: {error}") from error


def is_wide(image: Image.Image) -> bool:
    """Return whether an image has more than 8 bits: 16 or 32, or floats."""
    return image.mode == "F" or image.mode.startswith("I")


def decode(
    source: Path | io.BytesIO,
    side: int,
    what: str,
    wide: Range | None = None,
    fit: Fit = CENTRE,
) -> Pixels:
    """Return an image upright, as RGB (side, side, 3).

    Args:
        source: The file, or its content.
        side: Of the square.
        what: What to call the image in an error.
        wide: Range of values of images with more than 8 bits; 0 to 65535 for 16 bits where left
            out.
        fit: How the image becomes a square.

    Raises:
        DataError: if it cannot be decoded, whatever is wrong with it.
    """

    def pixels(alone: bool) -> Pixels:
        _now.what = what
        with opened(source, alone) as image:
            levels = wide
            if levels is None and is_wide(image):
                levels = _range_without_a_look(image)
            return _square(np.array(eight_bit(image, levels or SIXTEEN_BIT)), side, fit)

    try:
        return one_large_at_a_time(pixels)
    except Exception as error:
        # Pillow's decoders raise many types (OSError, SyntaxError, struct.error, ...).
        raise DataError(f"image '{what}' cannot be decoded: {error}") from error


def _range_without_a_look(image: Image.Image) -> Range:
    if image.mode.startswith("I;16"):
        return SIXTEEN_BIT
    low, high = extrema(image)
    if low >= 0 and high > 1 and high <= SIXTEEN_BIT.high and image.mode == "I":
        return SIXTEEN_BIT  # how Pillow opens some 16-bit files
    raise ValueError(
        f"it has values of 32 bits, from {low:g} to {high:g}, and their full range is unknown. "
        "Convert the images to 8 or 16 bits, or put them into a folder:PATH, where all images are "
        "looked at first."
    )


def eight_bit(image: Image.Image, wide: Range) -> Image.Image:
    """Return an image as RGB, transparency on white, more than 8 bits scaled by a range.

    Pillow's own conversion drops transparency, mostly to black, and cuts wide values at 255.
    """
    if is_wide(image):
        values = np.nan_to_num(
            np.asarray(image, dtype=np.float64), posinf=wide.high, neginf=wide.low
        )
        scaled = (values - wide.low) * (255 / max(wide.high - wide.low, 1e-12))
        return Image.fromarray(np.rint(scaled.clip(0, 255)).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")


def extrema(image: Image.Image) -> tuple[float, float]:
    """Return the least and the greatest finite value of an image with one channel."""
    values = np.asarray(image, dtype=np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("it has no finite value")
    return float(finite.min()), float(finite.max())


def _square(image: Pixels, side: int, fit: Fit) -> Pixels:
    """Scale and cut an image to a square: CLIP's own steps with the default fit.

    torch's bicubic filter gives Pillow's values to within 2 of 255, in less time.
    """
    if fit.mode == "shortest":
        # A strip's ends are cut off beforehand: whole, it could grow beyond any memory.
        longest = _LONGEST * min(image.shape[:2])
        edges = [max(0, (length - longest) // 2) for length in image.shape[:2]]
        image = image[edges[0] : image.shape[0] - edges[0], edges[1] : image.shape[1] - edges[1]]
    scaled = fit.scaled(image.shape[0], image.shape[1], side)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    if scaled != image.shape[:2]:
        batch = interpolate(batch, scaled, mode=fit.interpolation, antialias=True)
    out: Pixels = fit.squared(batch, side)[0].permute(1, 2, 0).numpy()
    return out


class _Now(threading.local):
    """The image that a thread is at."""

    what: str = ""


_now = _Now()
_warned: Counter[str] = Counter()


def start_image(what: str) -> None:
    """Say which image this thread decodes next, so that warnings can name it."""
    _now.what = what


@contextmanager
def warnings_name_the_image() -> Iterator[None]:
    """Send Pillow's warnings to the log with the image's name, a few of each kind.

    Around the threads that decode, not inside them: filters of warnings are global.
    """

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = str(message).strip()
        kind = text[:30]
        _warned[kind] += 1
        if _warned[kind] <= _NAMED_WARNINGS:
            more = " (the last one named)" if _warned[kind] == _NAMED_WARNINGS else ""
            log.warning("image '%s': %s%s", _now.what, text, more)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        yield


def as_batch(images: Sequence[Pixels], side: int) -> torch.Tensor:
    """Return (H, W, 3) arrays as one uint8 batch (B, 3, H, W)."""
    if not images:
        return torch.empty((0, 3, side, side), dtype=torch.uint8)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
