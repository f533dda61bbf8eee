"""animal10n: 55 000 web images of ten animals in five look-alike pairs, about 8 % labelled wrongly.

Song, Kim, Lee, SELFIE, ICML 2019.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from nlbench.data.image_data import ImageData
from nlbench.data.listed import Listing, NoisyFiles, some
from nlbench.errors import DataError

CLASS_NAMES = (
    "cat",
    "lynx",
    "wolf",
    "coyote",
    "cheetah",
    "jaguar",
    "chimpanzee",
    "orangutan",
    "hamster",
    "guinea pig",
)

_NAME = re.compile(r"(\d)_[^/]+\.(?:jpg|jpeg|png)", re.IGNORECASE)


@dataclass(frozen=True)
class Animal10N(NoisyFiles):
    """ANIMAL-10N: ten animals in five look-alike pairs, labelled by people, about 8 % wrongly.

    Attributes:
        class_order: "published" (4 is cheetah, 5 is jaguar), or "clipcleaner", whose authors say
            that the two are swapped on disk. It matters to selectors that read class names.
    """

    version: ClassVar[int] = 2

    class_order: Literal["published", "clipcleaner"] = "published"

    folder: ClassVar[str] = "animal10n"
    title: ClassVar[str] = "ANIMAL-10N"
    origin: ClassVar[str] = (
        "ANIMAL-10N (Song, Kim, Lee: SELFIE: Refurbishing Unclean Samples for Robust Deep "
        "Learning, ICML 2019), 50 000 training and 5 000 test images of 64 x 64 pixels"
    )
    licence: ClassVar[str] = "on request from its authors, for research"
    size: ClassVar[str] = "50 000 + 5 000 images"
    published: ClassVar[tuple[int, int] | None] = (50_000, 5_000)
    where: ClassVar[str] = "DIR/animal10n/training/LABEL_ID.jpg, DIR/animal10n/testing/LABEL_ID.jpg"
    how_to_get: ClassVar[str] = (
        "ask its authors at https://dm.kaist.ac.kr/datasets/animal-10n (55 000 small files), and "
        "put the folders training/ and testing/ with their files LABEL_ID.jpg into animal10n/ "
        "under --data-dir."
    )
    recipe: ClassVar[str] = "standard/animal10n"

    def load(self, data_dir: Path | None) -> ImageData:
        """Read the file names; the label is the digit before the first underscore."""
        root = self.root(data_dir)
        names = list(CLASS_NAMES)
        if self.class_order == "clipcleaner":
            names[4], names[5] = names[5], names[4]
        return self.image_data("animal10n", names, root, *self.parts(root), "as published")

    def parts(self, root: Path) -> tuple[Listing, Listing]:
        """Return the files of both folders; their names tell the labels."""
        return self._listing(root, "training"), self._listing(root, "testing")

    def _listing(self, root: Path, part: str) -> Listing:
        folder = root / part
        if not folder.is_dir():
            raise DataError(f"folder '{folder}' does not exist: {self.how_to_get}")
        files = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
        matches = [(name, _NAME.fullmatch(name)) for name in files]
        odd = [name for name, match in matches if match is None]
        if odd:
            raise DataError(
                f"{len(odd)} of {len(files)} files in '{folder}' are not named LABEL_ID.jpg: "
                f"{some(odd)}. Remove them."
            )
        return Listing.of((f"{part}/{name}", int(match[1])) for name, match in matches if match)
