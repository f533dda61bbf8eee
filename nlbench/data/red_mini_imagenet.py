"""red-mini-imagenet: 100 ImageNet classes, a chosen share of images replaced by wrong web images.

Jiang, Huang, Liu, Yang, Beyond Synthetic Noise: Deep Learning on Controlled Noisy Labels, ICML
2020 (arXiv 1911.09781).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator

from nlbench.data.image_data import ImageData
from nlbench.data.imagenet_names import imagenet_names
from nlbench.data.images import Fit
from nlbench.data.listed import Listing, NoisyFiles, read_labels, some
from nlbench.errors import DataError

N_CLASSES = 100

_STRETCH = Fit("squash", "bilinear")
_WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class RedMiniImageNet(NoisyFiles):
    """Red Mini-ImageNet: 100 classes, 20 to 80 % of the images from the web with wrong labels.

    Attributes:
        noise_rate: Share of replaced images, as in the name of the split file: 0.2, 0.4, 0.6 or
            0.8. Which of them are wrong is not used here.
        resize: How an image becomes a square: "crop" scales the shorter side and cuts out the
            centre (bicubic), "stretch" scales both sides (bilinear), as CLIPCleaner's code does.
            What encoders see does not depend on it.
    """

    version: ClassVar[int] = 2

    # YAML reads 0.2 as a number.
    noise_rate: Annotated[Literal["0.2", "0.4", "0.6", "0.8"], BeforeValidator(str)] = "0.4"
    resize: Literal["crop", "stretch"] = "crop"

    folder: ClassVar[str] = "red-mini-imagenet"
    title: ClassVar[str] = "Red Mini-ImageNet"
    origin: ClassVar[str] = (
        "Controlled Noisy Web Labels, red Mini-ImageNet (Jiang et al., ICML 2020), about 50 000 "
        "training and 5 000 test images, 100 classes of ImageNet"
    )
    licence: ClassVar[str] = "labels CC BY 4.0 (Google); images: ImageNet's terms and their owners'"
    size: ClassVar[str] = "about 50 000 + 5 000 images, several GB"
    published: ClassVar[tuple[int, int] | None] = (50_000, 5_000)
    published_is_rounded: ClassVar[bool] = True
    where: ClassVar[str] = (
        "DIR/red-mini-imagenet/ with all_images/, all_validation/, split/red_noise_nl_RATE and "
        "split/clean_validation"
    )
    how_to_get: ClassVar[str] = (
        "see https://google.github.io/controlled-noisy-web-labels (several GB with the images of "
        "ImageNet), and put all_images/, all_validation/ and the lists split/red_noise_nl_RATE and "
        "split/clean_validation into red-mini-imagenet/ under --data-dir."
    )
    recipe: ClassVar[str] = "standard/red-mini-imagenet"

    def load(self, data_dir: Path | None) -> ImageData:
        """Read the split's list and the validation list, which is the test set."""
        root = self.root(data_dir)
        train, test = self.parts(root)
        data = self.image_data(
            "red-mini-imagenet",
            _class_names(self._lists(root)[0], train),
            root,
            train,
            test,
            f"red noise {self.noise_rate}, clean validation as test",
        )
        return replace(data, fit=_STRETCH) if self.resize == "stretch" else data

    def parts(self, root: Path) -> tuple[Listing, Listing]:
        """Read the split's list and the validation list."""
        train_file, test_file = self._lists(root)
        train = read_labels(train_file, self.how_to_get, "all_images/")
        test = read_labels(test_file, self.how_to_get, "all_validation/")
        return Listing.of(train.items()), Listing.of(test.items())

    def _lists(self, root: Path) -> tuple[Path, Path]:
        split = root / "split"
        return split / f"red_noise_nl_{self.noise_rate}", split / "clean_validation"


def _class_names(file: Path, listing: Listing) -> list[str]:
    """Name each class after the WordNet id that most of its original images begin with."""
    votes: dict[int, Counter[str]] = defaultdict(Counter)
    for name, label in zip(listing.names, listing.labels.tolist(), strict=True):
        match = _WNID.match(name.removeprefix("all_images/"))
        if match:
            votes[label][match[0]] += 1
    nameless = [str(label) for label in range(N_CLASSES) if label not in votes]
    if nameless:
        raise DataError(
            f"{len(nameless)} of {N_CLASSES} classes in '{file}' have no image whose name begins "
            f"with a WordNet id, so they have no name: {some(nameless)}. Download the list again."
        )
    wnids = [votes[label].most_common(1)[0][0] for label in range(N_CLASSES)]
    names = imagenet_names()
    unknown = [wnid for wnid in wnids if wnid not in names]
    if unknown:
        raise DataError(
            f"{len(unknown)} WordNet ids in '{file}' are not classes of ImageNet-1k: "
            f"{some(unknown)}. Download the list again."
        )
    return [names[wnid] for wnid in wnids]
