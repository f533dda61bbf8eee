"""A folder of images: which directories are classes, which are splits, what is passed over.

What a file is, its content says: an extension of an image format, or else its first bytes. Links
are followed, each directory once per class. What is hidden, or made by systems and tools, is not
data. Everything that is passed over is counted by reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nlbench.data.decoding import opens, suffixes, warnings_name_the_image
from nlbench.data.file_memory import remembered
from nlbench.errors import DataError
from nlbench.files import cache_dir, home_dir, readable

TRAIN = frozenset(["train", "training", "trn"])
TEST = frozenset(["test", "testing", "tst"])
VALIDATION = frozenset(["val", "valid", "validation", "dev", "eval", "evaluation"])

# In lower case: of Synology, Windows, macOS, Linux, QNAP, and of trackers and Python.
_JUNK = frozenset(
    {
        *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "network trash folder"),
        *("$recycle.bin", "recycler", "system volume information", "thumbs.db", "desktop.ini"),
        *("__macosx", "lost+found", "lost.dir", "found.000"),
        *("mlruns", "mlartifacts", "wandb", "lightning_logs", "nlbench-runs"),
        *("__pycache__", "node_modules"),
    }
)

SHOWN = 5

PassedOver = Mapping[str, tuple[int, tuple[str, ...]]]


class ClassFile(NamedTuple):
    """An image file: its class's folder name, and its name relative to the root."""

    label: str
    name: str


@dataclass
class Tally:
    """Files and folders that were passed over, by reason."""

    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count a file or folder (with a slash at its end)."""
        self.names.setdefault(reason, []).append(name)

    def summary(self) -> PassedOver:
        """Return for each reason the number and the first names, in a text that can be written."""
        return {
            reason: (len(names), tuple(readable(name) for name in sorted(names)[:SHOWN]))
            for reason, names in sorted(self.names.items())
        }


class Splits(NamedTuple):
    """The folders of the training and the test part."""

    train: Path
    test: Path


def find_splits(root: Path, tally: Tally) -> Splits | None:
    """Return the folders of the two parts by their names, in any case; None where there are none.

    A folder that is named like a split is a class where it lies alone among classes and holds
    images itself.

    Raises:
        DataError: if it cannot be told which folders are splits.
    """
    folders = sub_folders(root)
    train, test, validation = (
        [name for name in folders if name.lower() in kind] for kind in (TRAIN, TEST, VALIDATION)
    )
    if not (train or test or validation):
        return None
    of_splits = [*train, *test, *validation]
    if len(of_splits) == 1 and len(folders) > 1 and _has_files(root / of_splits[0]):
        return None  # a class of that name: trains, exam papers
    second = test or validation
    if not train or not second:
        raise DataError(
            f"folder '{root}' has only one of train/ and test/ (or val/): {_listed(of_splits)}. "
            "Give both, or put the class directories directly under it to have them split."
        )
    if len(train) > 1 or len(second) > 1:
        raise DataError(
            f"folder '{root}' has several folders for one part: {_listed([*train, *second])}. "
            "Keep one for training and one for testing."
        )
    for name in folders:
        if name in validation and name not in second:
            tally.add("validation folder beside train and test, not used", f"{name}/")
        elif name not in (*train, *second):
            tally.add("outside the folders of train and test", f"{name}/")
    return Splits(root / train[0], root / second[0])


def sub_folders(folder: Path) -> list[str]:
    """Return the names of the folders directly in a folder, sorted; hidden and junk ones aside.

    Raises:
        DataError: if the folder cannot be read.
    """
    return sorted(e.name for e in _visible(folder, folder, Tally()) if _is_folder(e))


def class_files(root: Path, top: Path, merge_sub_folders: bool, tally: Tally) -> list[ClassFile]:
    """Return the image files of every class folder under `top`, sorted.

    Args:
        root: The data set's folder; names are relative to it.
        top: What holds the class folders: the root or one of its splits.
        merge_sub_folders: Whether sub-folders of the same names in all classes are no sign that
            they are the classes.
        tally: Where to count what is passed over.

    Raises:
        DataError: if a class folder yields no image, or the sub-folders look like the classes.
    """
    folders = []
    for entry in _visible(root, top, tally):
        if _is_folder(entry):
            folders.append(entry.name)
        else:
            tally.add("outside the class folders", _relative(root, entry.path))
    if not merge_sub_folders:
        _check_sub_folders(top, sorted(folders))
    candidates = [
        ClassFile(folder, name)
        for folder in sorted(folders)
        for name in sorted(_Walk(root, top, tally).files(top / folder))
    ]
    images = _images(root, candidates, tally)
    _check_empty(top, sorted(folders), candidates, images)
    return sorted(images)


def _images(root: Path, files: Sequence[ClassFile], tally: Tally) -> list[ClassFile]:
    """Return the files that are images by their extension, or else by their content."""
    by_suffix = [_suffix(file.name) in suffixes() for file in files]
    others = [file.name for file, is_image in zip(files, by_suffix, strict=True) if not is_image]
    by_content: set[str] = set()
    if others:
        with warnings_name_the_image():
            sniffed = remembered(root, others, "opens-1", np.dtype("?"), opens)
        by_content = {name for name, opens_ in zip(others, sniffed, strict=True) if opens_}
    out = []
    for file, is_image in zip(files, by_suffix, strict=True):
        if is_image or file.name in by_content:
            out.append(file)
        else:
            suffix = _suffix(file.name)
            tally.add(f"not an image ({suffix or 'no extension'})", file.name)
    return out


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a million times


class _Walk:
    """Files below one class folder, each directory once, real files before links to them."""

    def __init__(self, root: Path, top: Path, tally: Tally) -> None:
        self.root, self.tally = root, tally
        # What a link must not lead back to.
        self.seen = {_identity(folder) for folder in (root, top)}
        self.files_seen: set[tuple[int, int]] = set()

    def files(self, folder: Path) -> list[str]:
        """Return the names of all files, relative to the root."""
        names, links = self._below(folder)
        for link in links:
            try:
                identity = _identity(self.root / link)
            except OSError:
                self.tally.add("broken link", link)
                continue
            if identity in self.files_seen:
                self.tally.add("link to a file that is already in the class", link)
            else:
                self.files_seen.add(identity)
                names.append(link)
        return names

    def _below(self, folder: Path) -> tuple[list[str], list[str]]:
        identity = _identity(folder)
        if identity in self.seen:
            what = "link to a folder that is already read"
            self.tally.add(what, _relative(self.root, str(folder)) + "/")
            return [], []
        self.seen.add(identity)
        names, links, folders = [], [], []
        for entry in _visible(self.root, folder, self.tally):
            name = _relative(self.root, entry.path)
            if _is_folder(entry):
                folders.append((entry.is_symlink(), Path(entry.path)))
            elif entry.is_symlink():  # also a broken one, or one that leads to itself
                links.append(name)
            elif entry.is_file():
                names.append(name)
                self.files_seen.add((identity[0], entry.inode()))
            else:
                self.tally.add("neither file nor folder", name)
        for _, below in sorted(folders):
            more, more_links = self._below(below)
            names += more
            links += more_links
        return names, links


def _visible(root: Path, folder: Path, tally: Tally) -> Iterator[os.DirEntry[str]]:
    """Return what is in a folder without hidden entries and those of systems and tools."""
    own = {str(home_dir()), str(cache_dir())}
    try:
        with os.scandir(folder) as entries:
            every = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"folder '{folder}' cannot be read: {error.strerror}.") from None
    for entry in every:
        is_junk = entry.name.lower() in _JUNK or entry.path in own
        if not is_junk and not entry.name.startswith("."):
            yield entry
            continue
        slash = "/" if _is_folder(entry) else ""
        reason = "of the system or of a tool" if is_junk else "hidden"
        tally.add(reason, _relative(root, entry.path) + slash)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _has_files(folder: Path) -> bool:
    return any(not _is_folder(entry) for entry in _visible(folder, folder, Tally()))


def _check_sub_folders(top: Path, folders: Sequence[str]) -> None:
    """Refuse classes that all have the same sub-folders and no image of their own."""
    common: list[list[str]] = []
    for folder in folders:
        entries = list(_visible(top, top / folder, Tally()))
        if any(_suffix(e.name) in suffixes() and not _is_folder(e) for e in entries):
            return
        common.append([entry.name for entry in entries if _is_folder(entry)])
    if len(common) < 2 or len(common[0]) < 2 or any(names != common[0] for names in common):
        return
    raise DataError(
        f"every folder in '{top}' ({_listed(folders)}) has the same sub-folders "
        f"({_listed(common[0])}): these look like the classes. If the outer folders are parts, "
        "name them train/ and test/; if they are the classes, say so with "
        "--set data.merge_sub_folders=true."
    )


def _check_empty(
    top: Path, folders: Sequence[str], files: Sequence[ClassFile], images: Sequence[ClassFile]
) -> None:
    full = {file.label for file in images}
    empty = [folder for folder in folders if folder not in full]
    if not empty:
        return
    counts = [sum(file.label == folder for file in files) for folder in empty[:SHOWN]]
    said = [f"{readable(name)} ({n} files)" for name, n in zip(empty, counts, strict=False)]
    raise DataError(
        f"{len(empty)} of {len(folders)} class folders in '{readable(str(top))}' hold no "
        f"image that Pillow can open: {', '.join(said)}{', ...' if len(empty) > SHOWN else ''}. "
        "Add images, or move these folders elsewhere."
    )


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    return ", ".join(readable(name) for name in names[:SHOWN]) + more


def _identity(folder: Path) -> tuple[int, int]:
    seen = folder.stat()
    return seen.st_dev, seen.st_ino


def _relative(root: Path, path: str) -> str:
    return path[len(str(root)) + 1 :]
