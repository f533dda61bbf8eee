"""A look at every picture of a source, whatever kind of source it is; files are remembered."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nlbench.audit.pictures.sight import SIGHT, VERSION, Sights, sight_of
from nlbench.audit.samples import JoinedImages
from nlbench.data.decoding import Range, one_large_at_a_time, opened, warnings_name_the_image
from nlbench.data.file_images import FileImages
from nlbench.data.file_memory import READERS, remembered
from nlbench.data.images import Fit, FittedImages, ImageSource, MappedImages, TensorImages
from nlbench.data.parquet_images import ParquetImages

Progress = Callable[[int, int], None]

_BATCH = 512
_SIDE = 64  # of pictures whose source gives squares only; the hash looks at 32 x 32
_WHOLE = Fit("squash")


def nothing_shown(done: int, total: int) -> None:
    """Show no progress."""


def sights(images: ImageSource, progress: Progress = nothing_shown) -> Sights:
    """Return a look at every picture, (N,) of `SIGHT`; one that cannot be decoded is not `is_seen`.

    Files are decoded once while they are the same; other sources every time.

    Raises:
        DataError: if a file is missing or cannot be read.
    """
    if isinstance(images, FittedImages):
        return sights(images.images, progress)
    if isinstance(images, FileImages):
        return _of_files(images, progress)
    if isinstance(images, JoinedImages):
        return _of_parts(images, progress)
    out = np.zeros(len(images), dtype=SIGHT)
    with warnings_name_the_image(), ThreadPoolExecutor(READERS) as pool:
        for positions in torch.arange(len(images)).split(_BATCH):
            if isinstance(images, ParquetImages):
                out[positions.numpy()] = _of_rows(images, positions, pool)
            else:
                out[positions.numpy()] = _of_tensors(images, positions, pool)
            progress(int(positions[-1]) + 1, len(images))
    return out


def _of_parts(images: JoinedImages, progress: Progress) -> Sights:
    done, parts = 0, []
    for part in images.parts:
        start = done
        parts.append(sights(part, lambda n, _, start=start: progress(start + n, len(images))))  # type: ignore[misc]
        done += len(part)
    return np.concatenate(parts) if parts else np.zeros(0, dtype=SIGHT)


def _of_files(images: FileImages, progress: Progress) -> Sights:
    levels = "" if images.wide is None else f"-{images.wide.low:g}-{images.wide.high:g}"
    done = 0

    def look(path: str) -> Any:
        nonlocal done
        done += 1
        progress(min(done, len(images)), len(images))
        return _decoded(Path(path), images.wide)

    with warnings_name_the_image():
        seen = remembered(images.root, images.names, f"sight-{VERSION}{levels}", SIGHT, look)
    progress(len(images), len(images))
    return seen


def _decoded(source: Path | io.BytesIO, wide: Range | None = None) -> Any:
    def measured(alone: bool) -> Any:
        with opened(source, alone) as image:
            return sight_of(image, wide)

    try:
        return one_large_at_a_time(measured)
    except (PermissionError, FileNotFoundError):
        raise
    except Exception:  # Pillow's decoders raise many types
        return np.zeros((), dtype=SIGHT)


def _of_rows(images: ParquetImages, positions: Tensor, pool: ThreadPoolExecutor) -> list[Any]:
    contents = [images.content(row) or io.BytesIO() for row in positions.tolist()]
    return list(pool.map(_decoded, contents))


def _of_tensors(images: ImageSource, positions: Tensor, pool: ThreadPoolExecutor) -> list[Any]:
    in_memory = isinstance(images, TensorImages | MappedImages)
    batch = images.load(positions, None if in_memory else _SIDE, _WHOLE).cpu()
    pixels = batch.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    seen = list(pool.map(lambda image: sight_of(Image.fromarray(image)), pixels))
    for one in seen if not in_memory else ():
        one["width"] = one["height"] = 0
    return seen
