"""folder: your own images, a directory per class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from nlbench.data.class_folders import ClassFile, Tally, class_files, find_splits
from nlbench.data.copies import Copies, class_of_groups, find_copies, group_of
from nlbench.data.file_contents import add_contents, digests, new_digest
from nlbench.data.file_images import FileImages
from nlbench.data.image_data import Dataset, ImageData
from nlbench.data.imagenet_names import wnid_warning
from nlbench.data.looks import Looks, common_range, looks_at, mostly_flat
from nlbench.errors import DataError
from nlbench.files import readable

MAX_UNREADABLE = 0.01


@dataclass(frozen=True)
class Folder(Dataset):
    """Your own images: PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, or PATH/CLASS/*.jpg.

    Attributes:
        path: The folder, absolute or relative to ``--data-dir``.
        test_fraction: Share of each class for the test set where there is no ``test`` folder.
        split_seed: Seed of that split; it does not change with the run's seed.
        labels_are_clean: Whether the directories tell the true classes. False for a data set that
            is noisy by itself: no noise is added, and nothing is measured against these labels.
        merge_sub_folders: Whether the images of sub-folders belong to the class folder above them
            even where every class has the same sub-folders, which is refused otherwise.
    """

    version: ClassVar[int] = 2

    path: str = ""
    test_fraction: float = 0.2
    split_seed: int = 0
    labels_are_clean: bool = True
    merge_sub_folders: bool = False

    origin: ClassVar[str] = "your own"
    size: ClassVar[str] = "yours"
    where: ClassVar[str] = "PATH, absolute or under DIR"
    download_note: ClassVar[str] = "none needed"
    how_to_get: ClassVar[str] = (
        "put one directory per class under PATH (or under PATH/train and PATH/test) and name it "
        "as `--dataset folder:PATH`"
    )
    recipe: ClassVar[str] = "standard/folder"
    takes_path: ClassVar[bool] = True

    def load(self, data_dir: Path | None) -> ImageData:
        """Decode every new image once, to find the unreadable ones before any training starts."""
        root = self._root(data_dir)
        tally = Tally()
        parts = self._parts(root, tally)
        names = tuple(sorted({file.label for file in parts.train}))
        _check_classes(root, names, parts.test)
        train, test = _Part.of(root, parts.train, names), _Part.of(root, parts.test, names)
        bad = (*train.unreadable, *test.unreadable)
        _check_unreadable(root, bad, len(parts.train) + len(parts.test))
        _check_classes_left(root, names, train, test)
        looks = np.concatenate([train.looks, test.looks])
        class_names = tuple(readable(name) for name in names)
        doubts = mostly_flat(looks["is_flat"]), wnid_warning(class_names)
        wide = common_range(looks)
        return ImageData(
            name=f"folder:{readable(root.name)}",
            class_names=class_names,
            train_images=FileImages(root, train.names, wide),
            train_labels=train.labels,
            train_ids=tuple(readable(name) for name in train.names),
            test_images=FileImages(root, test.names, wide),
            test_labels=test.labels,
            fingerprint=_fingerprint(root, [*train.names, *test.names], parts.split),
            split=parts.split,
            unreadable=bad,
            labels_are_clean=self.labels_are_clean,
            test_labels_are_clean=self.labels_are_clean or not parts.is_cut,
            passed_over=tally.summary(),
            copies=_copies(root, train, test),
            warnings=tuple(filter(None, doubts)),
        )

    def content_key(self, data_dir: Path | None) -> Mapping[str, str]:
        """Return a hash of the names and contents of all images."""
        root = self._root(data_dir)
        parts = self._parts(root, Tally())
        names = [file.name for file in (*parts.train, *parts.test)]
        return {"content_sha256": _fingerprint(root, names, parts.split)}

    def paths(self, data_dir: Path | None) -> list[Path]:
        """Return the folder."""
        return [self._root(data_dir)]

    def _root(self, data_dir: Path | None) -> Path:
        if not self.path:
            raise DataError(f"data set 'folder' needs a path: {self.how_to_get}.")
        root = Path(self.path).expanduser()
        if not root.is_absolute() and data_dir is not None:
            root = data_dir / root
        root = root.absolute()
        if not root.is_dir():
            raise DataError(f"folder '{root}' does not exist: {self.how_to_get}.")
        return root

    def _parts(self, root: Path, tally: Tally) -> _Parts:
        splits = find_splits(root, tally)
        if splits is not None:
            train, test = (class_files(root, top, True, tally) for top in splits)
            split = " and ".join(f"{readable(top.name)}/" for top in splits) + " as given"
        else:
            every = class_files(root, root, self.merge_sub_folders, tally)
            train, test = self._cut(root, every)
            split = f"stratified, test share {self.test_fraction:g}, split seed {self.split_seed}"
        if not train or not test:
            raise DataError(
                f"folder '{readable(str(root))}' holds {len(train)} training and {len(test)} test "
                f"images in class directories; both are needed: {self.how_to_get}."
            )
        return _Parts(train, test, split, splits is None)

    def _cut(self, root: Path, files: list[ClassFile]) -> tuple[list[ClassFile], list[ClassFile]]:
        """Split each class into train and test, copies of one image on one side."""
        from sklearn.model_selection import train_test_split

        if len(files) < 2:
            return files, []
        group = group_of(digests(root, [file.name for file in files]))
        class_of = class_of_groups(group, [file.label for file in files])
        size: float = self.test_fraction
        if len(class_of) < len(files):  # a group is several images: one of each class will do
            size = max(math.ceil(size * len(class_of)), len(set(class_of.values())))
        try:
            _, in_test = train_test_split(
                sorted(class_of),
                test_size=size,
                stratify=[class_of[number] for number in sorted(class_of)],
                random_state=self.split_seed,
            )
        except ValueError as error:
            raise DataError(
                f"folder '{self.path}' with {len(class_of)} different images cannot be split into "
                f"train and test: {error} Give train/ and test/ folders, or more images per class."
            ) from None
        is_test = np.isin(group, in_test)
        parts = ([f for f, t in zip(files, is_test, strict=True) if t == part] for part in (0, 1))
        return next(parts), next(parts)


class _Parts(NamedTuple):
    """The files of both parts, how they were told apart, and whether nlbench cut them."""

    train: list[ClassFile]
    test: list[ClassFile]
    split: str
    is_cut: bool


@dataclass(frozen=True, eq=False)
class _Part:
    """The images of a part that can be decoded: names, labels, a look at each; and the others."""

    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    looks: Looks
    unreadable: tuple[str, ...]

    @classmethod
    def of(cls, root: Path, files: Sequence[ClassFile], classes: tuple[str, ...]) -> _Part:
        looks = looks_at(root, [file.name for file in files])
        good = looks["is_image"]
        class_id = {name: i for i, name in enumerate(classes)}
        labels = np.array([class_id[file.label] for file in files], dtype=np.int64)
        names = [[f.name for f, g in zip(files, good, strict=True) if g == part] for part in (0, 1)]
        unreadable = tuple(readable(name) for name in names[0])
        return cls(tuple(names[1]), labels[good], looks[good], unreadable)


def _check_classes(root: Path, names: tuple[str, ...], test: Sequence[ClassFile]) -> None:
    if len(names) < 2:
        raise DataError(f"folder '{root}' must contain at least 2 classes, got {list(names)}.")
    unknown = sorted(readable(name) for name in {file.label for file in test} - set(names))
    if unknown:
        raise DataError(
            f"folder '{root}/test' has classes that train/ has not: {unknown[:3]}. "
            "Use the same directory names in both."
        )


def _check_classes_left(root: Path, names: tuple[str, ...], train: _Part, test: _Part) -> None:
    n = np.bincount(np.concatenate([train.labels, test.labels]), minlength=len(names))
    empty = [readable(name) for name, count in zip(names, n.tolist(), strict=True) if not count]
    if empty:
        raise DataError(
            f"no image of {len(empty)} classes in '{root}' can be decoded: {', '.join(empty[:3])}. "
            "Repair the images, or move these folders elsewhere."
        )


def _copies(root: Path, train: _Part, test: _Part) -> Copies:
    every = [value.tobytes() for value in digests(root, [*train.names, *test.names])]
    n = len(train.names)
    return find_copies(
        (every[:n], every[n:]),
        (train.labels, test.labels),
        ([readable(name) for name in train.names], [readable(name) for name in test.names]),
        (train.looks["thumbnail"], test.looks["thumbnail"]),
    )


def _check_unreadable(root: Path, bad: tuple[str, ...], total: int) -> None:
    if len(bad) > MAX_UNREADABLE * total:
        raise DataError(
            f"{len(bad)} of {total} images in '{root}' cannot be decoded, more than "
            f"{MAX_UNREADABLE:.0%}: {', '.join(bad[:5])}{' ...' if len(bad) > 5 else ''}. "
            "Repair or remove them."
        )


def _fingerprint(root: Path, names: Sequence[str], split: str) -> str:
    digest = new_digest(split)
    add_contents(digest, names, digests(root, names))
    return digest.hexdigest()
