"""food101n: 310 000 web images of 101 dishes, about 20 % labelled wrongly; tested on Food-101.

Lee, He, Zhang, Yang, CleanNet, CVPR 2018 (arXiv 1711.07131). The test set is that of Food-101
(Bossard, Guillaumin, Van Gool, ECCV 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nlbench.data.image_data import ImageData
from nlbench.data.listed import Listing, NoisyFiles, read_keys, some
from nlbench.errors import DataError

N_CLASSES = 101

_TRAIN, _TEST = "Food-101N_release", "food-101"
_LISTS = (f"{_TRAIN}/meta/classes.txt", f"{_TRAIN}/meta/imagelist.tsv", f"{_TEST}/meta/test.txt")


@dataclass(frozen=True)
class Food101N(NoisyFiles):
    """Food-101N: 310 000 web images of 101 dishes, tested on Food-101's clean test set."""

    version: ClassVar[int] = 2

    folder: ClassVar[str] = "food101n"
    title: ClassVar[str] = "Food-101N"
    origin: ClassVar[str] = (
        "Food-101N (Lee et al., CleanNet, CVPR 2018), about 310 000 training images; test set of "
        "Food-101 (Bossard et al., ECCV 2014), 25 250 images"
    )
    licence: ClassVar[str] = "for research; the images belong to their owners"
    size: ClassVar[str] = "about 310 000 + 25 250 images"
    published: ClassVar[tuple[int, int] | None] = (310_000, 25_250)
    published_is_rounded: ClassVar[bool] = True
    where: ClassVar[str] = "DIR/food101n/Food-101N_release/ and DIR/food101n/food-101/"
    how_to_get: ClassVar[str] = (
        "download Food-101N_release.zip from https://kuanghuei.github.io/Food-101N and "
        "food-101.tar.gz from https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101 (5 GB), "
        "and unpack both in food101n/ under --data-dir, into Food-101N_release/ and food-101/."
    )
    recipe: ClassVar[str] = "standard/food101n"

    def load(self, data_dir: Path | None) -> ImageData:
        """Read the class list, the image list and Food-101's test list."""
        root = self.root(data_dir)
        return self.image_data(
            "food101n",
            self._classes(root),
            root,
            *self.parts(root),
            "Food-101N as train, the test set of Food-101",
        )

    def parts(self, root: Path) -> tuple[Listing, Listing]:
        """Read the image list and Food-101's test list."""
        classes = self._classes(root)
        _, train_file, test_file = (root / name for name in _LISTS)
        # The lists begin with the name of their column.
        train = [k for k in read_keys(train_file, self.how_to_get) if k != "class_name/key"]
        test = [f"{key}.jpg" for key in read_keys(test_file, self.how_to_get)]
        return (
            _labelled(train_file, train, f"{_TRAIN}/images/", classes),
            _labelled(test_file, test, f"{_TEST}/images/", classes),
        )

    def _classes(self, root: Path) -> list[str]:
        file = root / _LISTS[0]
        classes = [c for c in read_keys(file, self.how_to_get) if c != "class_name"]
        if len(classes) != N_CLASSES:
            raise DataError(
                f"list '{file}' must contain {N_CLASSES} classes, got {len(classes)}. "
                "Download it again."
            )
        return sorted(classes)


def _labelled(file: Path, keys: list[str], prefix: str, classes: list[str]) -> Listing:
    label_of = {name: label for label, name in enumerate(classes)}
    odd = [key for key in keys if key.partition("/")[0] not in label_of]
    if odd:
        raise DataError(
            f"{len(odd)} of {len(keys)} entries in '{file}' do not begin with a class of "
            f"classes.txt: {some(odd)}. Download the lists again."
        )
    return Listing.of((prefix + key, label_of[key.partition("/")[0]]) for key in keys)
