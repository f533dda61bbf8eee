"""Copies of training images in the test set, and pictures that are in two classes.

Two images are nearly identical where their thumbnails of 8 x 8 pixels differ by at most `NEAR` of
255 levels in every pixel and colour: what is left of a picture that was saved again as JPEG, or at
another size (scikit-learn's two photographs at JPEG quality 30 to 95, in full and at 200 x 133,
differ by at most 4). Images with less contrast than `CONTRAST` levels are left out, since all of
them are alike.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import adaptive_avg_pool2d

from nlbench.data.image_data import ImageData
from nlbench.data.images import ImageRows, ImageSource, TensorImages
from nlbench.data.looks import THUMBNAIL

NEAR = 6
CONTRAST = 32

IDENTICAL = "test images that are identical to a training image"
NEARLY = "further test images that are nearly identical to a training image"
TWO_LABELS = "identical images in several classes"

MOST = 100_000

_SHOWN = 5
_BATCH = 1024
_VALUES = 8 * 8 * 3

Copies = Mapping[str, tuple[int, tuple[str, ...]]]
Thumbnails = npt.NDArray[np.uint8]


def find_copies(
    contents: tuple[Sequence[bytes], Sequence[bytes]],
    labels: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    names: tuple[Sequence[str], Sequence[str]],
    thumbnails: tuple[Thumbnails, Thumbnails] | None = None,
) -> Copies:
    """Return how many images are in a data set more than once, with the first names.

    Args:
        contents: Digests of the N training and the M test images.
        labels: (N,) and (M,) int64.
        names: (N,) and (M,), for people.
        thumbnails: (N, 8, 8, 3) and (M, 8, 8, 3) uint8; nothing is said of nearly identical
            images without them.
    """
    train, test = contents
    first = {content: row for row, content in reversed(list(enumerate(train)))}
    identical = np.array([content in first for content in test], dtype=bool)
    copies = {IDENTICAL: [names[1][row] for row in np.flatnonzero(identical).tolist()]}
    if thumbnails is not None:
        near = near_copies(*thumbnails) & ~identical
        copies[NEARLY] = [names[1][row] for row in np.flatnonzero(near).tolist()]
    copies[TWO_LABELS] = _twice_labelled([*train, *test], labels, names)
    return {what: (len(of), tuple(of[:_SHOWN])) for what, of in copies.items() if of}


def copies_by_pixels(data: ImageData) -> Copies:
    """Return the copies in a data set that did not look for them when it was read.

    Identical means equal pixels here. Decodes every image; nothing is said of more than `MOST`.
    """
    if len(data.train_images) + len(data.test_images) > MOST:
        return {}
    parts = [_pixels(images) for images in (data.train_images, data.test_images)]
    test_names = [f"test image {row}" for row in range(len(data.test_images))]
    return find_copies(
        (parts[0][0], parts[1][0]),
        (data.train_labels, data.test_labels),
        (data.train_ids, test_names),
        (parts[0][1], parts[1][1]),
    )


def _pixels(images: ImageSource) -> tuple[list[bytes], Thumbnails]:
    contents, thumbnails = [], []
    for positions in torch.arange(len(images)).split(_BATCH):
        size = None if isinstance(images, TensorImages) else ImageRows.SIDE
        batch = images.load(positions, size)
        contents += [hashlib.sha256(image.numpy().tobytes()).digest() for image in batch.cpu()]
        small = adaptive_avg_pool2d(batch.double(), THUMBNAIL).round().byte().expand(-1, 3, -1, -1)
        thumbnails.append(small.permute(0, 2, 3, 1).cpu().numpy())
    return contents, np.concatenate(thumbnails)


def near_copies(train: Thumbnails, test: Thumbnails) -> npt.NDArray[np.bool_]:
    """Return which test images are nearly identical to a training image, (M,) bool."""
    from scipy.spatial import cKDTree

    near = np.zeros(len(test), dtype=bool)
    rows = np.flatnonzero(_has_contrast(test))
    tree = cKDTree(_points(train[_has_contrast(train)]))
    if len(rows) and tree.n:
        # The bound is exclusive, and values are whole numbers.
        distance, _ = tree.query(_points(test[rows]), p=np.inf, distance_upper_bound=NEAR + 0.5)
        near[rows] = np.isfinite(distance)
    return near


def _points(thumbnails: Thumbnails) -> npt.NDArray[np.float32]:
    return thumbnails.reshape(len(thumbnails), _VALUES).astype(np.float32)


def _has_contrast(thumbnails: Thumbnails) -> npt.NDArray[np.bool_]:
    span = np.ptp(thumbnails.astype(np.int64), axis=(1, 2)).max(axis=-1)
    contrast: npt.NDArray[np.bool_] = span >= CONTRAST
    return contrast


def _twice_labelled(
    contents: Sequence[bytes],
    labels: Sequence[npt.NDArray[np.int64]],
    names: Sequence[Sequence[str]],
) -> list[str]:
    """Return the names of images whose content has another label elsewhere."""
    every_label = np.concatenate(labels).tolist()
    label_of: dict[bytes, int] = {}
    two = {
        content
        for content, label in zip(contents, every_label, strict=True)
        if label_of.setdefault(content, label) != label
    }
    every_name = [name for part in names for name in part] if two else []
    return [n for n, c in zip(every_name, contents, strict=False) if c in two]


def group_of(contents: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return for every image the position of the first one with the same content."""
    _, first, inverse = np.unique(contents, return_index=True, return_inverse=True)
    groups: npt.NDArray[np.int64] = first[inverse]
    return groups


def class_of_groups(group: npt.NDArray[np.int64], classes: Sequence[str]) -> dict[int, str]:
    """Return one class for each group of identical images, to stratify a split of groups by.

    A group whose images are in several classes goes to the one of them with the fewest groups so
    far, so that no class is left without.

    Args:
        group: (N,) of each image.
        classes: (N,) of each image.
    """
    every: dict[int, set[str]] = {}
    for number, name in zip(group.tolist(), classes, strict=True):
        every.setdefault(number, set()).add(name)
    of_one = {number: next(iter(names)) for number, names in every.items() if len(names) == 1}
    size = Counter(of_one.values())
    for number, names in every.items():
        if number not in of_one:
            of_one[number] = min(sorted(names), key=lambda name: size[name])
            size[of_one[number]] += 1
    return of_one
