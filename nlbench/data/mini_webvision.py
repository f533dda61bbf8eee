"""mini-webvision: the first 50 classes of WebVision 1.0, Google images only.

Li, Wang, Li, Agustsson, Van Gool, WebVision Database, 2017 (arXiv 1708.02862); the part is Chen et
al.'s (ICML 2019). The test set is WebVision's own validation set; ImageNet's validation images of
the same classes are measured beside it where they are there, as published work reports both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from nlbench.data.file_contents import contents_sha256
from nlbench.data.file_images import FileImages
from nlbench.data.image_data import ImageData, LabelledImages
from nlbench.data.imagenet_names import imagenet_names
from nlbench.data.listed import Listing, NoisyFiles, read_labels, some
from nlbench.errors import DataError

N_CLASSES = 50

IMAGENET = "imagenet-val"

_IMAGENET_FOLDER = Path("imagenet", "val")
_TRAIN, _TEST = "info/train_filelist_google.txt", "info/val_filelist.txt"


@dataclass(frozen=True)
class MiniWebVision(NoisyFiles):
    """mini-WebVision: 50 classes of WebVision 1.0, what Google's image search gave for them."""

    version: ClassVar[int] = 2

    folder: ClassVar[str] = "mini-webvision"
    title: ClassVar[str] = "mini-WebVision"
    origin: ClassVar[str] = (
        "WebVision 1.0 (Li et al., arXiv 1708.02862), Google images of the first 50 classes: "
        "about 66 000 training and 2 500 validation images"
    )
    licence: ClassVar[str] = "for non-commercial research; the images belong to their owners"
    size: ClassVar[str] = "about 66 000 + 2 500 images, 16 GB to download for all classes"
    published: ClassVar[tuple[int, int] | None] = (66_000, 2_500)
    published_is_rounded: ClassVar[bool] = True
    where: ClassVar[str] = (
        "DIR/mini-webvision/ with google/, val_images_256/ and info/; ImageNet's validation "
        "images, if you have them, in DIR/imagenet/val/WNID/"
    )
    how_to_get: ClassVar[str] = (
        "download the resized Google images (16 GB), the validation images and the file lists of "
        "WebVision 1.0 from https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html, and put "
        "google/, val_images_256/ and info/ into mini-webvision/ under --data-dir. A second test "
        "set, if you have it: ImageNet's validation images as imagenet/val/WNID/*.JPEG."
    )
    recipe: ClassVar[str] = "standard/mini-webvision"

    def load(self, data_dir: Path | None) -> ImageData:
        """Read the two lists, leaving out the classes from 50 on."""
        root = self.root(data_dir)
        data = self.image_data(
            "mini-webvision",
            # WebVision has ImageNet's classes in ImageNet's order.
            list(imagenet_names().values())[:N_CLASSES],
            root,
            *self.parts(root),
            "Google images as train, WebVision validation as test",
        )
        return replace(data, other_tests=_imagenet(data_dir))

    def parts(self, root: Path) -> tuple[Listing, Listing]:
        """Read the two lists, leaving out the classes from 50 on."""
        train = read_labels(root / _TRAIN, self.how_to_get)
        test = read_labels(root / _TEST, self.how_to_get, "val_images_256/")
        return _first_classes(train), _first_classes(test)

    def content_key(self, data_dir: Path | None) -> Mapping[str, str]:
        """Return the hash of the listed images, and one of ImageNet's where they are there.

        With them a run is another one: what was done without is done again, and measured on both.
        """
        key = dict(super().content_key(data_dir))
        for name, (images, _) in _imagenet(data_dir).items():
            if isinstance(images, FileImages):
                key[name] = contents_sha256(images.root, images.names)
        return key


def _first_classes(labels: Mapping[str, int]) -> Listing:
    return Listing.of((name, label) for name, label in labels.items() if label < N_CLASSES)


def _imagenet(data_dir: Path | None) -> dict[str, LabelledImages]:
    """Return ImageNet's validation images of the 50 classes, nothing where there is no such folder.

    Raises:
        DataError: if the folder lacks a class.
    """
    root = (Path() if data_dir is None else data_dir).expanduser().absolute() / _IMAGENET_FOLDER
    if not root.is_dir():
        return {}
    wnids = list(imagenet_names())[:N_CLASSES]
    files = [sorted((root / wnid).glob("*.JPEG")) for wnid in wnids]
    empty = [wnid for wnid, of_class in zip(wnids, files, strict=True) if not of_class]
    if empty:
        raise DataError(
            f"folder '{root}' has no *.JPEG of {len(empty)} of the {N_CLASSES} classes: "
            f"{some(empty)}. Put the validation images into one folder per WordNet id, or remove "
            "the folder to do without this test set."
        )
    listing = Listing.of(
        (f"{wnid}/{file.name}", label)
        for label, (wnid, of_class) in enumerate(zip(wnids, files, strict=True))
        for file in of_class
    )
    return {IMAGENET: LabelledImages(FileImages(root, listing.names), listing.labels)}
