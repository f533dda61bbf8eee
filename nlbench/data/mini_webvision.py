"""mini-webvision: the first 50 classes of WebVision 1.0, Google images only.

Li, Wang, Li, Agustsson, Van Gool, WebVision Database, 2017 (arXiv 1708.02862); the part is Chen et
al.'s (ICML 2019). The test set is WebVision's own validation set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nlbench.data.image_data import ImageData
from nlbench.data.imagenet_names import imagenet_names
from nlbench.data.listed import Listing, NoisyFiles, files_key, read_labels

N_CLASSES = 50

_TRAIN, _TEST = "info/train_filelist_google.txt", "info/val_filelist.txt"


@dataclass(frozen=True)
class MiniWebVision(NoisyFiles):
    """mini-WebVision: 50 classes of WebVision 1.0, what Google's image search gave for them."""

    folder: ClassVar[str] = "mini-webvision"
    origin: ClassVar[str] = (
        "WebVision 1.0 (Li et al., arXiv 1708.02862), Google images of the first 50 classes: "
        "about 66 000 training and 2 500 validation images"
    )
    licence: ClassVar[str] = "for non-commercial research; the images belong to their owners"
    how_to_get: ClassVar[str] = (
        "download the resized Google images (16 GB), the validation images and the file lists of "
        "WebVision 1.0 from https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html, and put "
        "google/, val_images_256/ and info/ into mini-webvision/ under --data-dir."
    )
    recipe: ClassVar[str] = "standard/mini-webvision"

    def load(self, data_dir: Path | None) -> ImageData:
        """Read the two lists, leaving out the classes from 50 on."""
        root = self.root(data_dir)
        train = read_labels(root / _TRAIN, self.how_to_get)
        test = read_labels(root / _TEST, self.how_to_get, "val_images_256/")
        return self.image_data(
            "mini-webvision",
            # WebVision has ImageNet's classes in ImageNet's order.
            list(imagenet_names().values())[:N_CLASSES],
            root,
            _first_classes(train),
            _first_classes(test),
            "Google images as train, WebVision validation as test",
        )

    def content_key(self, data_dir: Path | None) -> Mapping[str, str]:
        """Give a hash of the two lists."""
        root = self.root(data_dir)
        return files_key(root / _TRAIN, root / _TEST)


def _first_classes(labels: Mapping[str, int]) -> Listing:
    return Listing.of((name, label) for name, label in labels.items() if label < N_CLASSES)
