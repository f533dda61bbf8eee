"""Small made pictures and samples for the tests of what is wrong with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from nlbench.audit.samples import Samples
from nlbench.data.file_images import FileImages
from nlbench.data.images import ImageSource


def picture(seed: int, width: int = 96, height: int = 64) -> Image.Image:
    """Return a picture of its own: coarse random colours, smoothed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    large = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return large.filter(ImageFilter.GaussianBlur(1))


def samples_of(
    images: ImageSource | None,
    labels: Sequence[int],
    parts: Sequence[str] | None = None,
    n_classes: int = 3,
) -> Samples:
    return Samples(
        name="made",
        names=[f"picture {i}" for i in range(len(labels))],
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(f"class {k}" for k in range(n_classes)),
        parts=[""] * len(labels) if parts is None else parts,
        images=images,
        fingerprint="f" * 64,
    )


def saved(folder: Path, pictures: dict[str, Image.Image | bytes]) -> FileImages:
    for name, content in pictures.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            content.save(file)
    return FileImages(folder, list(pictures))
