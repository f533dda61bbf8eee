"""clothing1m: a million shop images in 14 classes, labelled by their surrounding text.

Xiao, Xia, Yang, Huang, Wang, Learning from Massive Noisy Labeled Data for Image Classification,
CVPR 2015. About 38 % of the labels are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from nlbench.data.image_data import ImageData
from nlbench.data.listed import (
    Listing,
    NoisyFiles,
    join_labels,
    read_keys,
    read_labels,
    some,
)
from nlbench.errors import ConfigError, DataError

CLASS_NAMES = (
    "T-Shirt",
    "Shirt",
    "Knitwear",
    "Chiffon",
    "Sweater",
    "Hoodie",
    "Windbreaker",
    "Jacket",
    "Down Coat",
    "Suit",
    "Shawl",
    "Dress",
    "Vest",
    "Underwear",
)
SUBSET_SEED = 0

_LISTS = (
    "noisy_train_key_list.txt",
    "noisy_label_kv.txt",
    "clean_test_key_list.txt",
    "clean_label_kv.txt",
)


@dataclass(frozen=True)
class Clothing1M(NoisyFiles):
    """Clothing1M: a million shop images in 14 classes, labelled by the text around them.

    Attributes:
        n_train: Size of a fixed, class-balanced part of the noisy training set, e.g. 64000;
            None takes all of it.
    """

    version: ClassVar[int] = 2

    n_train: Annotated[int, Field(ge=14)] | None = None

    folder: ClassVar[str] = "clothing1m"
    title: ClassVar[str] = "Clothing1M"
    origin: ClassVar[str] = (
        "Clothing1M (Xiao et al., Learning from Massive Noisy Labeled Data for Image "
        "Classification, CVPR 2015), 1 000 000 noisy training and 10 526 clean test images"
    )
    licence: ClassVar[str] = "on request from its authors, for research"
    size: ClassVar[str] = "1 000 000 + 10 526 images, tens of GB"
    published: ClassVar[tuple[int, int] | None] = (1_000_000, 10_526)
    where: ClassVar[str] = (
        "DIR/clothing1m/ with images/, noisy_train_key_list.txt, noisy_label_kv.txt, "
        "clean_test_key_list.txt and clean_label_kv.txt"
    )
    how_to_get: ClassVar[str] = (
        "ask its authors as told at https://github.com/Cysu/noisy_label (tens of GB), and put "
        "images/, noisy_train_key_list.txt, noisy_label_kv.txt, clean_test_key_list.txt and "
        "clean_label_kv.txt into clothing1m/ under --data-dir."
    )
    recipe: ClassVar[str] = "standard/clothing1m"

    def load(self, data_dir: Path | None) -> ImageData:
        """Join keys and labels; the images with clean labels are not used for training."""
        root = self.root(data_dir)
        split = "noisy train, clean test"
        if self.n_train is not None:
            split += f", {self.n_train} class-balanced training images, subset seed {SUBSET_SEED}"
        return self.image_data("clothing1m", CLASS_NAMES, root, *self.parts(root), split)

    def parts(self, root: Path) -> tuple[Listing, Listing]:
        """Join keys and labels, and take the part of the training images that is asked for."""
        train, test = self._joined(root, 0), self._joined(root, 2)
        leaked = sorted(set(test.names) & set(train.names))
        if leaked:
            raise DataError(
                f"{len(leaked)} test images of '{root}' are in the training list too: "
                f"{some(leaked)}. Download the lists again."
            )
        if self.n_train is not None:
            train = balanced_part(train, self.n_train, len(CLASS_NAMES))
        return train, test

    def _joined(self, root: Path, first: int) -> Listing:
        keys, labels = root / _LISTS[first], root / _LISTS[first + 1]
        return join_labels(
            read_keys(keys, self.how_to_get), read_labels(labels, self.how_to_get), keys, labels
        )


def balanced_part(listing: Listing, n: int, n_classes: int) -> Listing:
    """Return n entries, as many of each class as of any other (one more of the first classes).

    The choice depends on the listing and n alone; the order stays.

    Raises:
        ConfigError: if a class has too few.
    """
    rng = np.random.default_rng(SUBSET_SEED)
    parts = []
    for label in range(n_classes):
        n_of_class = n // n_classes + (label < n % n_classes)
        of_class = np.flatnonzero(listing.labels == label)
        if len(of_class) < n_of_class:
            raise ConfigError(
                f"setting 'n_train' = {n} needs {n_of_class} images of each of the {n_classes} "
                f"classes, class {label} has {len(of_class)}. Choose a smaller one."
            )
        parts.append(rng.permutation(of_class)[:n_of_class])
    return listing.at(np.sort(np.concatenate(parts)))
