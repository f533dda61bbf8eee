"""What every data source yields: images by position, labels beside them, never inside them."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.data.images import CENTRE, Fit, ImageSource

QUIET = ("hidden", "of the system or of a tool")
"""Reasons to pass something over that need no attention."""

log = logging.getLogger("nlbench")


class LabelledImages(NamedTuple):
    """A further test set; `labels` are (M,) int64, the truth."""

    images: ImageSource
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set in memory or on disk.

    Attributes:
        name: As it stands in records.
        class_names: K names; K is their number.
        train_labels: (N,) int64 clean labels, or the labels as shipped where `labels_are_clean`
            is False. They stay with the runner.
        train_ids: N names (paths relative to the data set), for people; selectors get opaque keys.
        fingerprint: SHA-256 of everything that could change a result.
        split: How train and test were told apart, in words.
        unreadable: Files that were left out because they could not be decoded.
        labels_are_clean: Whether `train_labels` are the truth. Where they are not, no noise is
            added and nothing is measured against them.
        test_labels_are_clean: Whether `test_labels` are the truth. False where the test set was
            cut from images whose labels are noisy: accuracy on it is against noisy labels.
        passed_over: Files and folders that were not taken: reason -> number, first names.
        copies: Images that are there more than once: what -> number, first names (see `copies`).
        warnings: What makes a result doubtful, in sentences.
        train_subset: (M,) bool, which of the M published training samples are here, in their
            order; None where they are all here or there is no published order.
        other_tests: Further test sets by name, measured after the last epoch and never ranked. A
            run without them is the same run, so they are no part of `fingerprint`.
        fit: How images become squares for training and for tests; encoders have fits of their own.
    """

    name: str
    class_names: tuple[str, ...]
    train_images: ImageSource
    train_labels: npt.NDArray[np.int64]
    train_ids: Sequence[str]
    test_images: ImageSource
    test_labels: npt.NDArray[np.int64]
    fingerprint: str
    split: str
    unreadable: tuple[str, ...] = field(default=())
    labels_are_clean: bool = True
    test_labels_are_clean: bool = True
    passed_over: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    copies: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    train_subset: npt.NDArray[np.bool_] | None = None
    other_tests: Mapping[str, LabelledImages] = field(default_factory=dict)
    fit: Fit = CENTRE

    @property
    def n_classes(self) -> int:
        """K, from the class names and never from the labels that are present."""
        return len(self.class_names)

    def log_what_stands_out(self) -> None:
        """Write what was passed over, copies and warnings to the log."""
        for what, (number, names) in (*self.passed_over.items(), *self.copies.items()):
            level = logging.INFO if what in QUIET else logging.WARNING
            log.log(level, "%s: %s", self.name, counted(what, number, names))
        for text in self.warnings:
            log.warning("%s: %s", self.name, text)


def counted(what: str, number: int, names: Sequence[str]) -> str:
    """Return a line of a report: what, how many, and which first.

    >>> counted("hidden", 7, ("a", "b"))
    'hidden: 7 (a, b, ...)'
    """
    return f"{what}: {number} ({', '.join(names)}{', ...' if number > len(names) else ''})"


class Dataset(ABC):
    """A data source; a dataclass whose fields are its options.

    Attributes:
        title: Its name in its usual spelling; empty where a path or address is the name.
        size: How much it is, and how much to download.
        published: Number of training and of test images that its authors publish; None where that
            depends on the options or nobody published it.
        published_is_rounded: Whether these are given as "about"; 5 % off is then no doubt.
        how_to_get: Where the data comes from, for messages and ``show``.
        where: Where to put it under ``--data-dir DIR``.
        download_note: Who fetches it: nlbench, and what it verifies, or you.
        needs_label_file: Whether the data is not complete without its human labels.
        images_may_be_shown: Whether the licence lets anyone show its images, so that a run keeps a
            few for its page. False where nobody said so; `NLBENCH_SHOW_IMAGES` is the user's word.
        recipe: The recipe that holds this data set's default protocol.
    """

    title: ClassVar[str] = ""
    origin: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    size: ClassVar[str] = ""
    published: ClassVar[tuple[int, int] | None] = None
    published_is_rounded: ClassVar[bool] = False
    how_to_get: ClassVar[str] = ""
    where: ClassVar[str] = ""
    download_note: ClassVar[str] = "by hand: nlbench does not download it"
    images_may_be_shown: ClassVar[bool] = False
    recipe: ClassVar[str] = "standard/folder"
    takes_path: ClassVar[bool] = False
    needs_label_file: ClassVar[bool] = False

    @property
    def labels_are_clean(self) -> bool:
        """Whether the training labels are the truth, so that noise can be added to them."""
        return True

    @abstractmethod
    def load(self, data_dir: Path | None) -> ImageData:
        """Read the data.

        Raises:
            DataError: if it is missing or damaged; says where to get it and where to put it.
        """

    def content_key(self, data_dir: Path | None) -> Mapping[str, str]:
        """Return what identifies the content without reading it; part of a run's fingerprint."""
        return {}

    def paths(self, data_dir: Path | None) -> list[Path]:
        """Return the files or folders that `load` reads; nothing where it is bundled."""
        return []

    def label_file(self, data_dir: Path | None) -> Path | None:
        """Return where the human labels of this data belong; None where there are none."""
        return None


def all_positions(images: ImageSource) -> Tensor:
    """Return the positions of all images."""
    return torch.arange(len(images))
