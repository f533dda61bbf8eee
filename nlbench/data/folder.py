"""folder: your own images, a directory per class."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nlbench.data.file_images import READERS, FileImages, decode
from nlbench.data.image_data import Dataset, ImageData
from nlbench.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
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
    """

    version: ClassVar[int] = 1

    path: str = ""
    test_fraction: float = 0.2
    split_seed: int = 0
    labels_are_clean: bool = True

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
        """Decode every image once, to find the unreadable ones before any training starts."""
        root = self._root(data_dir)
        train, test, split = self._listing(root)
        names = tuple(sorted({c for c, _ in train}))
        _check_classes(root, names, test)
        train_set, train_bad = _readable(root, train, names)
        test_set, test_bad = _readable(root, test, names)
        bad = (*train_bad, *test_bad)
        _check_unreadable(root, bad, len(train) + len(test))
        return ImageData(
            name=f"folder:{root.name}",
            class_names=names,
            train_images=FileImages(root, train_set[0]),
            train_labels=train_set[1],
            train_ids=tuple(_readable_text(name) for name in train_set[0]),
            test_images=FileImages(root, test_set[0]),
            test_labels=test_set[1],
            fingerprint=_fingerprint(root, [*train_set[0], *test_set[0]], split),
            split=split,
            unreadable=bad,
            labels_are_clean=self.labels_are_clean,
        )

    def content_key(self, data_dir: Path | None) -> Mapping[str, str]:
        """Return a hash of the names and sizes of all files."""
        root = self._root(data_dir)
        train, test, split = self._listing(root)
        digest = hashlib.sha256(split.encode())
        for _, name in [*train, *test]:
            digest.update(os.fsencode(name) + f"\0{(root / name).stat().st_size}\0".encode())
        return {"listing_sha256": digest.hexdigest()}

    def found(self, data_dir: Path | None) -> list[Path]:
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
            raise DataError(f"folder '{root}' is not there: {self.how_to_get}.")
        return root

    def _listing(self, root: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]], str]:
        if (root / "train").is_dir() and (root / "test").is_dir():
            train, test = _files(root, root / "train"), _files(root, root / "test")
            split = "train/ and test/ as given"
        elif (root / "train").is_dir() or (root / "test").is_dir():
            raise DataError(
                f"folder '{root}' has only one of train/ and test/. Give both, or put the class "
                "directories directly under it to have them split."
            )
        else:
            every = _files(root, root)
            train, test = self._split(every)
            split = f"stratified, test share {self.test_fraction:g}, split seed {self.split_seed}"
        if not train or not test:
            raise DataError(
                f"folder '{root}' holds {len(train)} training and {len(test)} test images in "
                f"class directories; both are needed: {self.how_to_get}."
            )
        return train, test, split

    def _split(
        self, files: list[tuple[str, str]]
    ) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        from sklearn.model_selection import train_test_split

        if len(files) < 2:
            return files, []
        classes = [c for c, _ in files]
        try:
            train, test = train_test_split(
                files,
                test_size=self.test_fraction,
                stratify=classes,
                random_state=self.split_seed,
            )
        except ValueError as error:
            raise DataError(
                f"folder '{self.path}' cannot be split into train and test: {error} "
                "Give train/ and test/ folders, or more images per class."
            ) from None
        return sorted(train), sorted(test)


def _readable_text(name: str) -> str:
    """Return a file name that can be written anywhere: bytes that are not UTF-8 as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _files(root: Path, top: Path) -> list[tuple[str, str]]:
    directories = [p for p in top.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return sorted(
        (directory.name, file.relative_to(root).as_posix())
        for directory in directories
        for file in directory.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def _check_classes(root: Path, names: tuple[str, ...], test: Sequence[tuple[str, str]]) -> None:
    if len(names) < 2:
        raise DataError(f"folder '{root}' must hold at least 2 classes, got {list(names)}.")
    unknown = sorted({c for c, _ in test} - set(names))
    if unknown:
        raise DataError(
            f"folder '{root}/test' has classes that train/ has not: {unknown[:3]}. "
            "Use the same directory names in both."
        )


def _readable(
    root: Path, files: Sequence[tuple[str, str]], names: tuple[str, ...]
) -> tuple[tuple[tuple[str, ...], npt.NDArray[np.int64]], tuple[str, ...]]:
    def problem(entry: tuple[str, str]) -> bool:
        try:
            decode(root / entry[1], 8, entry[1])
        except DataError:
            return True
        return False

    with ThreadPoolExecutor(READERS) as pool:
        broken = list(pool.map(problem, files))
    good = [entry for entry, is_broken in zip(files, broken, strict=True) if not is_broken]
    bad = tuple(name for (_, name), is_broken in zip(files, broken, strict=True) if is_broken)
    class_id = {name: i for i, name in enumerate(names)}
    labels = np.array([class_id[c] for c, _ in good], dtype=np.int64)
    return (tuple(name for _, name in good), labels), bad


def _check_unreadable(root: Path, bad: tuple[str, ...], total: int) -> None:
    if len(bad) > MAX_UNREADABLE * total:
        raise DataError(
            f"{len(bad)} of {total} images in '{root}' cannot be decoded, more than "
            f"{MAX_UNREADABLE:.0%}: {', '.join(bad[:5])}{' ...' if len(bad) > 5 else ''}. "
            "Repair or remove them."
        )


def _fingerprint(root: Path, names: Sequence[str], split: str) -> str:
    digest = hashlib.sha256(split.encode())
    for name in names:
        digest.update(os.fsencode(name) + b"\0")
        digest.update(hashlib.sha256((root / name).read_bytes()).digest())
    return digest.hexdigest()
