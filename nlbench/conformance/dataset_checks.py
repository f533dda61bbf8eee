"""Checks of a data set: its labels, images and names, and that it is the same on every load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlbench.config.recipe_files import load_recipe
from nlbench.conformance.harness import ConformanceFailure
from nlbench.conformance.observe import (
    lent_random_states,
    random_states,
    require_kept_surroundings,
)
from nlbench.data.image_data import Dataset, ImageData
from nlbench.data.images import ImageSource
from nlbench.errors import ConfigError
from nlbench.surroundings import watched

_SIDE = 8
_N_LOOKED_AT = 16


@dataclass(frozen=True)
class DatasetCase:
    """A data set with its options, and the folder where its files are."""

    source: Dataset
    data_dir: Path | None = None


def load_again(case: DatasetCase) -> ImageData:
    """Read the data.

    Raises:
        DataError: if it is not on this machine; says where to get it.
    """
    data = case.source.load(case.data_dir)
    if not isinstance(data, ImageData):
        raise ConformanceFailure(
            f"`load` must return an nlbench.ImageData, got {type(data).__name__}."
        )
    return data


# The checks look at the same data. One entry: they come data set by data set.
@lru_cache(maxsize=1)
def _loaded(case: DatasetCase) -> tuple[ImageData, tuple[str, ...]]:
    """Return the data, and the global random states that reading it changed."""
    with lent_random_states():
        states = random_states()
        data = load_again(case)
        changed = [name for name, state in random_states().items() if state != states[name]]
    return data, tuple(changed)


def check_is_dataclass(case: DatasetCase) -> None:
    """The class is a dataclass itself: its fields are its options.

    Options are validated, recorded and settable by name: `--set data.NAME=VALUE`.
    """
    cls = type(case.source)
    if not is_dataclass(cls) or "__dataclass_fields__" not in vars(cls):
        raise ConformanceFailure(
            f"{cls.__name__} must be a dataclass itself: put `@dataclass(frozen=True)` above it."
        )


def check_recipe(case: DatasetCase) -> None:
    """The recipe that it names exists: its default protocol.

    A run of this data set starts from that recipe.
    """
    try:
        load_recipe(case.source.recipe)
    except ConfigError as error:
        raise ConformanceFailure(
            f"`recipe` must name a recipe, got {case.source.recipe!r}: {error}"
        ) from error


def check_class_names(case: DatasetCase) -> None:
    """Class names are K different texts, K of at least 2.

    K is their number, and never guessed from the labels; prompts are made from the names.
    """
    names = _loaded(case)[0].class_names
    if not isinstance(names, tuple) or not all(isinstance(n, str) and n.strip() for n in names):
        raise ConformanceFailure(
            f"`class_names` must be a tuple of texts that are not empty, got {names!r:.200}."
        )
    if len(names) < 2 or len(set(names)) != len(names):
        raise ConformanceFailure(
            f"`class_names` must be at least 2 different names, got {names!r:.200}."
        )


def check_labels(case: DatasetCase) -> None:
    """All labels are int64 in [0, K), of training, test and further test sets.

    They index the class names, the network's outputs and the transition matrix.
    """
    data = _loaded(case)[0]
    for part, _, labels in _parts(data):
        if not isinstance(labels, np.ndarray) or labels.dtype != np.int64 or labels.ndim != 1:
            kind = getattr(labels, "dtype", type(labels).__name__)
            raise ConformanceFailure(
                f"labels of {part} must be a 1-D NumPy array of int64, got {kind} "
                f"{getattr(labels, 'shape', '')}: `np.asarray(labels, dtype=np.int64)`."
            )
        if len(labels) == 0 or labels.min() < 0 or labels.max() >= data.n_classes:
            span = f"{labels.min()} to {labels.max()}" if len(labels) else "none"
            raise ConformanceFailure(
                f"labels of {part} must lie in [0, {data.n_classes}), got {span}."
            )


def check_sizes(case: DatasetCase) -> None:
    """Images, labels and ids are as many as each other.

    They belong together by position.
    """
    data = _loaded(case)[0]
    for part, images, labels in _parts(data):
        if len(images) != len(labels):
            raise ConformanceFailure(
                f"{part} must have a label for each image, got {len(images)} images and "
                f"{len(labels)} labels."
            )
    if len(data.train_ids) != len(data.train_labels):
        raise ConformanceFailure(
            f"`train_ids` must name each of the {len(data.train_labels)} training images, got "
            f"{len(data.train_ids)}."
        )


def check_ids_are_unique(case: DatasetCase) -> None:
    """Every training image has a name of its own.

    Seeded draws stay with the names, label files find their images by them, and so do people.
    """
    ids = list(_loaded(case)[0].train_ids)
    if not all(isinstance(name, str) and name for name in ids):
        raise ConformanceFailure("`train_ids` must be texts that are not empty.")
    if len(set(ids)) != len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise ConformanceFailure(
            f"`train_ids` must be different, got {twice!r} more than once. Use the path below the "
            "data set's folder."
        )


def check_images(case: DatasetCase) -> None:
    """Images of every part are uint8 with 1 or 3 channels, and fit into a square when asked.

    Encoders, networks and pages read them so; the same position is the same image.
    """
    for part, images, _ in _parts(_loaded(case)[0]):
        positions = torch.linspace(0, len(images) - 1, min(_N_LOOKED_AT, len(images))).long()
        batch = images.load(positions, _SIDE)
        fits = batch.ndim == 4 and batch.shape[1] in (1, 3) and batch.shape[2:] == (_SIDE, _SIDE)
        if batch.dtype != torch.uint8 or not fits or len(batch) != len(positions):
            raise ConformanceFailure(
                f"images of {part} at size {_SIDE} must be uint8 "
                f"({len(positions)}, 1 or 3, {_SIDE}, {_SIDE}), got {batch.dtype} "
                f"{tuple(batch.shape)}. `nlbench.TensorImages` does that for a tensor in memory."
            )
        one = images.load(positions[-1:], _SIDE)
        if not torch.equal(one[0], batch[-1]):
            raise ConformanceFailure(
                f"an image of {part} must be the same alone and among others, got two "
                "different ones. Augmentation belongs in the trainer."
            )


def check_fingerprint(case: DatasetCase) -> None:
    """Two loads have the same fingerprint, labels and ids.

    Cached embeddings and finished runs are found by the fingerprint.
    """
    first, second = _loaded(case)[0], load_again(case)
    if not isinstance(first.fingerprint, str) or not first.fingerprint:
        raise ConformanceFailure(
            f"`fingerprint` must be a text that is not empty, got {first.fingerprint!r}: a SHA-256 "
            "of images, labels and split."
        )
    if first.fingerprint != second.fingerprint:
        raise ConformanceFailure(
            "`fingerprint` must be the same on every load, got two different ones. Sort files by "
            "name, and draw splits with a fixed seed."
        )
    if not np.array_equal(first.train_labels, second.train_labels) or list(first.train_ids) != list(
        second.train_ids
    ):
        raise ConformanceFailure(
            "labels and ids must be the same on every load, got others under the same fingerprint."
        )


def check_says_whether_labels_are_clean(case: DatasetCase) -> None:
    """Class and data agree on whether the training labels are the truth.

    Noise is only added to clean labels, and only they are measured against.
    """
    said, data = case.source.labels_are_clean, _loaded(case)[0]
    if said is not data.labels_are_clean:
        raise ConformanceFailure(
            f"`{type(case.source).__name__}.labels_are_clean` and that of what `load` returns must "
            f"be the same True or False, got {said!r} and {data.labels_are_clean!r}."
        )


def check_global_random_state(case: DatasetCase) -> None:
    """Reading leaves the global random states as they are.

    The first run of a process would differ from the second.
    """
    changed = _loaded(case)[1]
    if changed:
        raise ConformanceFailure(
            f"`load` must not touch the global random state of {' and '.join(changed)}. Split with "
            "a generator of its own: `np.random.default_rng(0)`."
        )


def check_surroundings(case: DatasetCase) -> None:
    """Torch, NumPy and the process are afterwards as they were before.

    A switch that is left behind changes the numbers of all that run after it, under their names.
    """
    with watched() as changed:
        load_again(case)
    require_kept_surroundings(changed, "a data set")


DATASET_CHECKS = (
    check_is_dataclass,
    check_recipe,
    check_class_names,
    check_labels,
    check_sizes,
    check_ids_are_unique,
    check_images,
    check_fingerprint,
    check_says_whether_labels_are_clean,
    check_global_random_state,
    check_surroundings,
)


def _parts(data: ImageData) -> Iterator[tuple[str, ImageSource, Any]]:
    yield "the training set", data.train_images, data.train_labels
    yield "the test set", data.test_images, data.test_labels
    for name, other in data.other_tests.items():
        yield f"test set {name!r}", other.images, other.labels
