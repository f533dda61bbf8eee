"""CIFAR-10's test images as a data set to clean, their labels as shipped; for outside_truth.py."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nlbench import Dataset, ImageData
from nlbench.data.cifar import Cifar10

# The runner measures accuracy on something; nobody looks at it here.
_ONE_PER_CLASS = len(Cifar10.names)


@dataclass(frozen=True)
class Cifar10Test(Dataset):
    """The 10 000 test images to train on and select from, ten training images to test on."""

    recipe: ClassVar[str] = "features/cifar10"

    @property
    def labels_are_clean(self) -> bool:
        """No: which labels are wrong is the question."""
        return False

    def load(self, data_dir: Path | None) -> ImageData:
        """Read CIFAR-10 with its parts exchanged."""
        data = Cifar10(n_train=_ONE_PER_CLASS).load(data_dir)
        return ImageData(
            name="cifar10-test",
            class_names=data.class_names,
            train_images=data.test_images,
            train_labels=data.test_labels,
            train_ids=tuple(f"cifar10/test/{i:05d}" for i in range(len(data.test_labels))),
            test_images=data.train_images,
            test_labels=data.train_labels,
            # Not CIFAR-10's own: the cache of embeddings tells parts apart by it.
            fingerprint=hashlib.sha256(f"exchanged {data.fingerprint}".encode()).hexdigest(),
            split="the published test images; ten training images to test on",
            labels_are_clean=False,
        )

    def content_key(self, data_dir: Path | None) -> Mapping[str, str]:
        """Return a hash of the files' contents."""
        return Cifar10().content_key(data_dir)
