"""Small pictures of images: whole, upright and without metadata, as WebP."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from nlbench.audit.samples import JoinedImages, Samples
from nlbench.data.decoding import (
    SIXTEEN_BIT,
    Range,
    eight_bit,
    extrema,
    is_wide,
    one_large_at_a_time,
    opened,
    start_image,
    warnings_name_the_image,
)
from nlbench.data.file_memory import READERS
from nlbench.data.images import Fit, FittedImages, ImageSource, MappedImages, TensorImages
from nlbench.errors import DataError

QUALITY = 74
WHOLE = Fit("longest")
_BATCH = 256

Pixels = npt.NDArray[np.uint8]
Report = Callable[[int, int], None]


def thumbnails(
    samples: Samples, sides: dict[int, int], report: Report | None = None
) -> dict[int, bytes]:
    """Return a WebP image of each picture, larger ones scaled down, smaller ones as they are.

    A picture that cannot be decoded (any more) is left out: one of them must not cost the rest.

    Args:
        samples: What is judged.
        sides: Row -> the longest side that its picture may have, in pixels.
        report: Is told how many pictures of how many are done.

    Raises:
        ValueError: if a side is not positive.
    """
    if min(sides.values(), default=1) < 1:
        raise ValueError(f"sides must be positive, got {min(sides.values())}")
    made: dict[int, bytes] = {}
    # In order of the rows: images in tables are read a group of rows at a time.
    rows = sorted(sides)
    with warnings_name_the_image(), ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(rows), _BATCH):
            some = rows[start : start + _BATCH]
            contents = zip(some, _batch(samples, some, sides, pool), strict=True)
            made |= {row: content for row, content in contents if content is not None}
            if report is not None:
                report(min(start + _BATCH, len(rows)), len(rows))
    return made


def _batch(
    samples: Samples, rows: Sequence[int], sides: dict[int, int], pool: ThreadPoolExecutor
) -> Iterator[bytes | None]:
    if samples.root is not None and len(samples.files):
        return pool.map(lambda row: _of_file(samples, row, sides[row]), rows)
    if samples.images is None:
        return iter([None] * len(rows))
    loaded = _loaded(samples.images, rows, max(sides[row] for row in rows))
    return pool.map(
        lambda row, pixels: None if pixels is None else _webp(Image.fromarray(pixels), sides[row]),
        rows,
        loaded,
    )


def _of_file(samples: Samples, row: int, side: int) -> bytes | None:
    path = Path(samples.root or "") / samples.files[row]

    def small(alone: bool) -> bytes:
        start_image(samples.names[row])
        with opened(path, alone, near=2 * side) as image:
            levels = _range_of(samples.images, row, image) if is_wide(image) else SIXTEEN_BIT
            # Scaled first where that changes no value's meaning, since converting all pixels of a
            # photograph takes longer than all the rest.
            if image.mode in ("RGB", "L") and not image.has_transparency_data:
                image.thumbnail((side, side), Image.Resampling.BICUBIC)
            return _webp(eight_bit(image, levels), side)

    try:
        return one_large_at_a_time(small)
    except Exception:  # Pillow's decoders raise many types; files may be gone or changed
        return None


def _range_of(images: ImageSource | None, row: int, image: Image.Image) -> Range:
    """Return the values that are black and white: of the data set, else of the image itself."""
    found = None if images is None else getattr(_leaf(images, row)[0], "wide", None)
    if isinstance(found, Range):
        return found
    return SIXTEEN_BIT if image.mode.startswith("I;16") else Range.of(*extrema(image))


def _leaf(images: ImageSource, row: int) -> tuple[ImageSource, int]:
    """Return the source that a picture is read from, and its row there."""
    while True:
        if isinstance(images, JoinedImages):
            for part in images.parts:
                if row < len(part):
                    images = part
                    break
                row -= len(part)
            else:
                raise IndexError(row)
        elif isinstance(images, FittedImages):
            images = images.images
        else:
            return images, row


def _loaded(images: ImageSource, rows: Sequence[int], side: int) -> list[Pixels | None]:
    """Return the whole pictures at these rows, None where one cannot be read."""
    found: dict[int, Pixels] = {}
    by_source: dict[int, tuple[ImageSource, list[tuple[int, int]]]] = {}
    for row in rows:
        source, inside = _leaf(images, row)
        by_source.setdefault(id(source), (source, []))[1].append((row, inside))
    for source, places in by_source.values():
        try:
            found |= _of_source(source, places, side)
        except DataError:  # one by one: the others can be shown
            for place in places:
                try:
                    found |= _of_source(source, [place], side)
                except DataError:
                    continue
    return [found.get(row) for row in rows]


def _of_source(
    source: ImageSource, places: Sequence[tuple[int, int]], side: int
) -> dict[int, Pixels]:
    indices = torch.tensor([inside for _, inside in places])
    if isinstance(source, TensorImages | MappedImages):
        sizes, batch = None, source.load(indices)
    else:
        # As they were stored, so that nothing is enlarged and what fills the square is cut off.
        sizes = source.sizes(indices) if hasattr(source, "sizes") else None
        longest = side if sizes is None else min(side, max(map(max, sizes)))
        batch = source.load(indices, longest, WHOLE)
    pixels = batch.cpu().permute(0, 2, 3, 1).contiguous().numpy()
    if pixels.shape[-1] == 1:
        pixels = pixels.repeat(3, axis=-1)
    if sizes is None:
        return {row: picture for (row, _), picture in zip(places, pixels, strict=True)}
    return {
        row: _without_filling(picture, *size)
        for (row, _), picture, size in zip(places, pixels, sizes, strict=True)
    }


def _without_filling(square: Pixels, width: int, height: int) -> Pixels:
    """Return the picture in the middle of a square that it was scaled into."""
    side = len(square)
    scaled = WHOLE.scaled(height, width, side)
    top, left = ((side - length) // 2 for length in scaled)
    return square[top : top + scaled[0], left : left + scaled[1]]


def _webp(image: Image.Image, side: int) -> bytes:
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    # Without profile and EXIF: a page that is passed on must not tell where a photo was taken.
    image.save(out, "WEBP", quality=QUALITY, method=3, icc_profile=b"", exif=b"")
    return out.getvalue()
