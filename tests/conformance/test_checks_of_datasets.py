"""The checks of data sets: `digits` passes, and each check is shown to fail."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from nlbench import DataError, Dataset, ImageData, TensorImages
from nlbench.conformance import CHECKS_BY_KIND, check_dataset
from nlbench.plugins.registry import components, find, make_component

NAMES = [check.__name__ for check in CHECKS_BY_KIND["datasets"]]


@pytest.mark.parametrize("check", NAMES)
def test_digits(check: str) -> None:
    (result,) = check_dataset(find("datasets", "digits").load(), only=[check])
    assert result.status == "passed", result.report


@pytest.mark.parametrize("name", [n for n in components("datasets") if n != "digits"])
def test_data_that_is_not_here_is_neither_passed_nor_failed(name: str, tmp_path: Path) -> None:
    options = {"path": str(tmp_path / "x")} if name in ("folder", "parquet", "hf") else {}
    (result,) = check_dataset(make_component("datasets", name, options), name, data_dir=tmp_path)
    assert result.status == "unchecked"
    assert result.message


def some_data(n: int = 60) -> ImageData:
    rng = np.random.default_rng(0)
    images = TensorImages(torch.from_numpy(rng.integers(0, 256, (n, 3, 10, 12)).astype(np.uint8)))
    labels = np.resize(np.arange(3), n)
    return ImageData(
        name="some", class_names=("a", "b", "c"), train_images=images, train_labels=labels,
        train_ids=[f"{i}.png" for i in range(n)], test_images=images, test_labels=labels,
        fingerprint="some-1", split="all of it twice",
    )  # fmt: skip


@dataclass(frozen=True)
class Good(Dataset):
    size_of_it: int = 60

    def load(self, data_dir: Path | None) -> ImageData:
        return self.changed(some_data(self.size_of_it))

    def changed(self, data: ImageData) -> ImageData:
        return data


def test_a_good_data_set_passes() -> None:
    results = check_dataset(Good)
    assert [r.name for r in results] == NAMES
    assert [r.report for r in results if r.status != "passed"] == []
    assert check_dataset(Good(size_of_it=2), only=["labels"])[0].status == "passed"


class NoDataclass(Good):
    pass


@dataclass(frozen=True)
class NoSuchRecipe(Good):
    recipe: ClassVar[str] = "standard/digit"


@dataclass(frozen=True)
class OneNameTwice(Good):
    def changed(self, data: ImageData) -> ImageData:
        return replace(data, class_names=("a", "b", "b"))


@dataclass(frozen=True)
class NamesInAList(Good):
    def changed(self, data: ImageData) -> ImageData:
        return replace(data, class_names=["a", "b", "c"])  # type: ignore[arg-type]


@dataclass(frozen=True)
class LabelsFromOne(Good):
    def changed(self, data: ImageData) -> ImageData:
        return replace(data, test_labels=data.test_labels + 1)


@dataclass(frozen=True)
class SmallIntegers(Good):
    def changed(self, data: ImageData) -> ImageData:
        return replace(data, train_labels=data.train_labels.astype(np.uint8))  # type: ignore[arg-type]


@dataclass(frozen=True)
class OneLabelShort(Good):
    def changed(self, data: ImageData) -> ImageData:
        return replace(data, test_labels=data.test_labels[1:])


@dataclass(frozen=True)
class OneIdShort(Good):
    def changed(self, data: ImageData) -> ImageData:
        return replace(data, train_ids=data.train_ids[1:])


@dataclass(frozen=True)
class SameIds(Good):
    def changed(self, data: ImageData) -> ImageData:
        return replace(data, train_ids=[*data.train_ids[1:], "7.png"])


@dataclass(frozen=True)
class FloatImages(Good):
    def changed(self, data: ImageData) -> ImageData:
        images: Any = data.train_images
        return replace(data, train_images=TensorImages(images.images.float() / 255))


@dataclass(frozen=True)
class Augments(Good):
    calls: ClassVar[Iterator[int]] = itertools.count()

    def changed(self, data: ImageData) -> ImageData:
        images, calls = data.train_images, self.calls

        class Shifted:
            def __len__(self) -> int:
                return len(images)

            def load(self, *words: Any, **more: Any) -> torch.Tensor:
                return images.load(*words, **more).roll(next(calls), -1)

        return replace(data, train_images=Shifted())


@dataclass(frozen=True)
class NewFingerprint(Good):
    calls: ClassVar[Iterator[int]] = itertools.count()

    def changed(self, data: ImageData) -> ImageData:
        return replace(data, fingerprint=f"some-{next(self.calls)}")


@dataclass(frozen=True)
class NewSplit(Good):
    calls: ClassVar[Iterator[int]] = itertools.count()

    def changed(self, data: ImageData) -> ImageData:
        return replace(data, train_labels=np.roll(data.train_labels, next(self.calls)))


@dataclass(frozen=True)
class SaysCleanAndNot(Good):
    def changed(self, data: ImageData) -> ImageData:
        return replace(data, labels_are_clean=False)


@dataclass(frozen=True)
class SplitsGlobally(Good):
    def changed(self, data: ImageData) -> ImageData:
        np.random.seed(0)
        return data


@dataclass(frozen=True)
class GivesAList(Good):
    def changed(self, data: ImageData) -> Any:
        return [data.train_images, data.train_labels]


@dataclass(frozen=True)
class GoesElsewhere(Good):
    def changed(self, data: ImageData) -> Any:
        os.chdir("/")
        return data


BROKEN: list[tuple[type[Dataset], str, str]] = [
    (NoDataclass, "check_is_dataclass", r"@dataclass\(frozen=True\)"),
    (NoSuchRecipe, "check_recipe", "Did you mean 'standard/digits'"),
    (OneNameTwice, "check_class_names", "2 different names"),
    (NamesInAList, "check_class_names", "must be a tuple"),
    (LabelsFromOne, "check_labels", r"of the test set must lie in \[0, 3\), got 1 to 3"),
    (SmallIntegers, "check_labels", "int64, got uint8"),
    (OneLabelShort, "check_sizes", "60 images and 59 labels"),
    (OneIdShort, "check_sizes", "each of the 60 training images, got 59"),
    (SameIds, "check_ids_are_unique", "got '7.png' more than once"),
    (FloatImages, "check_images", "must be uint8.*got torch.float32"),
    (Augments, "check_images", "Augmentation belongs in the trainer"),
    (NewFingerprint, "check_fingerprint", "the same on every load"),
    (NewSplit, "check_fingerprint", "others under the same fingerprint"),
    (SaysCleanAndNot, "check_says_whether_labels_are_clean", "got True and False"),
    (SplitsGlobally, "check_global_random_state", "global random state of numpy"),
    (GoesElsewhere, "check_surroundings", "changed the working directory"),
    (GivesAList, "check_labels", "must return an nlbench.ImageData, got list"),
]


@pytest.mark.parametrize(
    ("dataset", "check", "says"), BROKEN, ids=[f"{b[1]}-{b[0].__name__}" for b in BROKEN]
)
def test_broken_data_set_fails_its_check(dataset: type[Dataset], check: str, says: str) -> None:
    (result,) = check_dataset(dataset, only=[check])
    assert result.status == "failed"
    assert re.search(says, result.message), result.message
    assert dataset.__name__ in result.reproduce


def test_every_check_is_shown_to_fail() -> None:
    assert {check for _, check, _ in BROKEN} == set(NAMES)


def test_data_that_vanishes_in_between_is_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = itertools.count()

    def load(self: Good, data_dir: Path | None) -> ImageData:
        if next(loads) > 0:
            raise DataError("gone")
        return some_data()

    monkeypatch.setattr(Good, "load", load)
    (result,) = check_dataset(Good(size_of_it=61), only=["labels"])
    assert (result.status, result.message) == ("unchecked", "cannot be checked here: gone")
