"""digits: scikit-learn's 1 797 real handwritten digits, 8 x 8 pixels; needs no download."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from nlbench.data.image_data import Dataset, ImageData
from nlbench.data.images import TensorImages

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
N_TEST = 360
SPLIT_SEED = 0


@dataclass(frozen=True)
class Digits(Dataset):
    """scikit-learn's 1 797 handwritten digits, 8 x 8 pixels; bundled, no download."""

    version: ClassVar[int] = 1

    title: ClassVar[str] = "digits"
    origin: ClassVar[str] = (
        "UCI ML repository, Optical Recognition of Handwritten Digits (Alpaydin, Kaynak 1998), "
        "its test part, as shipped with scikit-learn"
    )
    licence: ClassVar[str] = "CC BY 4.0 (UCI)"
    images_may_be_shown: ClassVar[bool] = True
    size: ClassVar[str] = "1 437 + 360 images, bundled"
    where: ClassVar[str] = "nowhere: bundled"
    download_note: ClassVar[str] = "none needed"
    how_to_get: ClassVar[str] = "comes with scikit-learn"
    recipe: ClassVar[str] = "standard/digits"

    def load(self, data_dir: Path | None) -> ImageData:
        """Return the digits with a fixed, stratified split of 1 437 / 360."""
        return _load()


@cache
def _load() -> ImageData:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    images = np.round(pixels.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = labels.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=N_TEST, stratify=labels, random_state=SPLIT_SEED
    )
    train, test = np.sort(train), np.sort(test)
    digest = hashlib.sha256()
    for part in (images, labels, train, test):
        digest.update(np.ascontiguousarray(part).tobytes())
    return ImageData(
        name="digits",
        class_names=CLASS_NAMES,
        train_images=TensorImages(torch.from_numpy(images[train])),
        train_labels=labels[train],
        train_ids=tuple(f"digits/{i:04d}" for i in train),
        test_images=TensorImages(torch.from_numpy(images[test])),
        test_labels=labels[test],
        fingerprint=digest.hexdigest(),
        split=f"stratified, {len(train)} train / {len(test)} test, split seed {SPLIT_SEED}",
    )
