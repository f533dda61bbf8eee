"""Data sets that come as lists of files with labels: reading, checking and joining the lists.

A list can have a million lines, so what is kept of it is compact. The files are read
once to know their contents, not decoded: a damaged one is reported by its path when it is.
"""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nlbench.data.copies import Copies, find_copies
from nlbench.data.file_contents import add_contents, digests, new_digest
from nlbench.data.file_images import CompactNames, FileImages
from nlbench.data.image_data import Dataset, ImageData
from nlbench.errors import DataError

SHOWN = 3


@dataclass(frozen=True, eq=False)
class Listing:
    """File names relative to the root, and a label for each.

    Attributes:
        labels: (N,) int64.
    """

    names: CompactNames
    labels: npt.NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, int]]) -> Listing:
        """Return the listing of (name, label) pairs, in their order."""
        kept = list(pairs)
        labels = np.array([label for _, label in kept], dtype=np.int64)
        return cls(CompactNames(name for name, _ in kept), labels)

    def at(self, positions: npt.NDArray[np.int64]) -> Listing:
        """Return the part at these positions."""
        names = CompactNames(self.names[i] for i in positions.tolist())
        return Listing(names, self.labels[positions])


class NoisyFiles(Dataset):
    """A data set of files whose training labels are noisy as shipped.

    Attributes:
        folder: Where it lies under ``--data-dir``.
    """

    folder: ClassVar[str] = ""

    @property
    def labels_are_clean(self) -> bool:
        """Nobody knows the true training labels."""
        return False

    def root(self, data_dir: Path | None) -> Path:
        """Return the data set's folder.

        Raises:
            DataError: if it is not there.
        """
        root = (Path() if data_dir is None else data_dir).expanduser().absolute() / self.folder
        if not root.is_dir():
            raise DataError(f"folder '{root}' does not exist: {self.how_to_get}")
        return root

    @abstractmethod
    def parts(self, root: Path) -> tuple[Listing, Listing]:
        """Read the lists of the training and the test part.

        Raises:
            DataError: if a list is missing or damaged.
        """

    def content_key(self, data_dir: Path | None) -> Mapping[str, str]:
        """Return a hash of names, labels and contents of all listed images."""
        root = self.root(data_dir)
        return {"content_sha256": self._content(root, self.parts(root)).hexdigest()}

    def _content(self, root: Path, parts: Sequence[Listing]) -> hashlib._Hash:
        names = [name for listing in parts for name in listing.names]
        check_inside(f"the lists of '{root}'", names)
        check_files(root, names, self.how_to_get)
        digest = new_digest()
        add_contents(digest, names, digests(root, names))
        for listing in parts:
            digest.update(listing.labels.astype("<i8").tobytes())
        return digest

    def image_data(
        self, name: str, classes: Sequence[str], root: Path, train: Listing, test: Listing,
        split: str,
    ) -> ImageData:  # fmt: skip
        """Check both listings against the disk and return the data set.

        The fingerprint covers names, labels and the contents of the files.
        """
        for part, listing in (("training", train), ("test", test)):
            check_listing(f"the {part} part of {name!r}", listing, len(classes))
        digest = self._content(root, (train, test))
        digest.update(f"{name}\0{split}\0{list(classes)}".encode())
        return ImageData(
            name=name,
            class_names=tuple(classes),
            train_images=FileImages(root, train.names),
            train_labels=train.labels,
            train_ids=train.names,
            test_images=FileImages(root, test.names),
            test_labels=test.labels,
            fingerprint=digest.hexdigest(),
            split=split,
            labels_are_clean=False,
            copies=_copies(root, train, test),
        )


def _copies(root: Path, train: Listing, test: Listing) -> Copies:
    every = [value.tobytes() for value in digests(root, [*train.names, *test.names])]
    n = len(train.names)
    return find_copies(
        (every[:n], every[n:]), (train.labels, test.labels), (train.names, test.names)
    )


def read_lines(path: Path, how_to_get: str) -> list[str]:
    """Return the lines of a list without the empty ones.

    Raises:
        DataError: if the file is missing or is not text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"file '{path}' does not exist: {how_to_get}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"list '{path}' cannot be read: {error}. Download it again.") from None
    return [line for line in (raw.strip() for raw in text.splitlines()) if line]


def read_labels(path: Path, how_to_get: str, prefix: str = "") -> dict[str, int]:
    """Read lines ``NAME LABEL``; names may hold spaces.

    Args:
        path: The list.
        how_to_get: Where it comes from, for messages.
        prefix: Put before each name.

    Raises:
        DataError: if a line has another form or a name comes twice.
    """
    lines = read_lines(path, how_to_get)
    labels: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name, _, label = line.replace("\t", " ").rpartition(" ")
        if not name or not label.isascii() or not label.isdigit():
            raise DataError(
                f"list '{path}' must have lines 'FILE LABEL', entry {number} is {line!r}. "
                "Download the list again."
            )
        labels[prefix + name.strip()] = int(label)
    if len(labels) != len(lines):
        _refuse_twice(path, [line.replace("\t", " ").rpartition(" ")[0].strip() for line in lines])
    return labels


def read_keys(path: Path, how_to_get: str) -> list[str]:
    """Read a list of one name per line.

    Raises:
        DataError: if a name comes twice.
    """
    keys = read_lines(path, how_to_get)
    if len(set(keys)) != len(keys):
        _refuse_twice(path, keys)
    return keys


def join_labels(
    keys: Sequence[str], labels: dict[str, int], keys_file: Path, file: Path
) -> Listing:
    """Return the keys with their labels.

    Raises:
        DataError: if a key has none.
    """
    lost = [key for key in keys if key not in labels]
    if lost:
        raise DataError(
            f"{len(lost)} of {len(keys)} files in '{keys_file}' have no label in '{file}': "
            f"{some(lost)}. Download both lists again."
        )
    return Listing.of((key, labels[key]) for key in keys)


def check_listing(what: str, listing: Listing, n_classes: int) -> None:
    """Check that there are images, that labels are in range and that no name leaves the root.

    Raises:
        DataError: naming the first wrong entries and their number.
    """
    if not len(listing.names):
        raise DataError(f"{what} contains no images. Download the data set again.")
    wrong = np.flatnonzero((listing.labels < 0) | (listing.labels >= n_classes))
    if len(wrong):
        entries = [f"{listing.names[i]} {listing.labels[i]}" for i in wrong[:SHOWN].tolist()]
        raise DataError(
            f"{len(wrong)} labels of {what} are not in [0, {n_classes}): "
            f"{some(entries, len(wrong))}. Download the list again."
        )
    check_inside(what, listing.names)


def check_inside(what: str, names: Iterable[str]) -> None:
    """Check that no name leaves the folder it starts from.

    Raises:
        DataError: naming the first that do and their number.
    """
    outside = [name for name in names if name.startswith("/") or ".." in name.split("/")]
    if outside:
        raise DataError(f"{len(outside)} names of {what} leave its folder: {some(outside)}.")


def check_files(root: Path, names: Iterable[str], how_to_get: str) -> None:
    """Check that each file is there and not empty, from one listing per directory.

    Raises:
        DataError: naming the first missing or empty files and their number.
    """
    folders: dict[str, dict[str, int]] = {}
    n_files = 0
    missing: list[str] = []
    empty: list[str] = []
    for name in names:
        n_files += 1
        folder, _, file = name.rpartition("/")
        if folder not in folders:
            folders[folder] = _sizes_in(root / folder)
        size = folders[folder].get(file)
        if not size:
            (missing if size is None else empty).append(name)
    if missing:
        raise DataError(
            f"{len(missing)} of {n_files} listed images are not under '{root}': "
            f"{some(missing)}: {how_to_get}"
        )
    if empty:
        raise DataError(
            f"{len(empty)} of {n_files} listed images under '{root}' have 0 bytes: "
            f"{some(empty)}. Unpack or download them again."
        )


def some(names: Sequence[str], total: int | None = None) -> str:
    """Return the first names, and dots where there are more."""
    more = (len(names) if total is None else total) > SHOWN
    return ", ".join(names[:SHOWN]) + (", ..." if more else "")


def _sizes_in(folder: Path) -> dict[str, int]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _refuse_twice(path: Path, names: Sequence[str]) -> None:
    twice = [name for name, n in Counter(names).items() if n > 1]
    raise DataError(
        f"{len(twice)} files are listed more than once in '{path}': {some(twice)}. "
        "Download the list again."
    )
