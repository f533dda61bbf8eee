"""CIFAR-10 and CIFAR-100, with the published labels or those that people gave (CIFAR-N)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from nlbench.data import cifar_files
from nlbench.data.cifar100_classes import CIFAR100_CLASSES
from nlbench.data.class_shares import exact_share_per_class
from nlbench.data.file_contents import contents_sha256
from nlbench.data.image_data import Dataset, ImageData
from nlbench.data.images import TensorImages
from nlbench.errors import ConfigError, DataError
from nlbench.seeds import derive_seed

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
)  # fmt: skip

_ORIGIN = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
_LICENCE = "none stated by its authors; research use with citation is customary"
_HUMAN_ORIGIN = "; human labels: Wei et al., ICLR 2022 (arXiv 2110.12088)"
_HUMAN_LICENCE = f"images: {_LICENCE}; human labels: CC BY-NC 4.0"
_HUMAN_HOW = "; labels: {} from https://github.com/UCSC-REAL/cifar-10-100n (folder data)"


_DOWNLOAD = "nlbench can: `--download`; goes on where it was cut off, checks the archive's MD5"
_HUMAN_DOWNLOAD = f"images: {_DOWNLOAD}; labels: by hand"


def _how(name: str, archive: str) -> str:
    return (
        f"`nlbench data check {name} --data-dir DIR --download`; or fetch "
        f"https://www.cs.toronto.edu/~kriz/{archive}; or "
        f"`hf download uoft-cs/{name} --repo-type dataset --local-dir DIR/{name}`"
    )


@dataclass(frozen=True)
class _Cifar(Dataset):
    n_train: Annotated[int, Field(ge=1)] | None = None
    subset_seed: Annotated[int, Field(ge=0)] = 0
    download: bool = False

    images: ClassVar[str]
    names: ClassVar[tuple[str, ...]]
    record_name: ClassVar[str]
    label_file_name: ClassVar[str]

    def load(self, data_dir: Path | None) -> ImageData:
        """Read and decode the images that are asked for."""
        files = self._files(data_dir)
        labels = {part: self._labels(files, part) for part in ("train", "test")}
        subset = self._subset(labels["train"])
        n = len(labels["train"])
        rows = np.arange(n) if subset is None else np.flatnonzero(subset)
        every = np.arange(len(labels["test"]))
        train, test = files.images("train", rows), files.images("test", every)
        digest = hashlib.sha256()
        for part in (train, labels["train"][rows], test, labels["test"]):
            digest.update(np.ascontiguousarray(part).tobytes())
        return ImageData(
            name=self.record_name,
            class_names=self.names,
            train_images=TensorImages(torch.from_numpy(np.ascontiguousarray(train))),
            train_labels=labels["train"][rows],
            train_ids=tuple(f"{self.images}/train/{i:05d}" for i in rows.tolist()),
            test_images=TensorImages(torch.from_numpy(np.ascontiguousarray(test))),
            test_labels=labels["test"],
            fingerprint=digest.hexdigest(),
            split=self._split_text(n, len(every), subset is not None),
            train_subset=subset,
        )

    def content_key(self, data_dir: Path | None) -> Mapping[str, str]:
        """Return a hash of the files' contents; downloads first where that is asked for."""
        files = self._files(data_dir).files
        folder = Path(os.path.commonpath([file.parent for file in files]))
        names = [file.relative_to(folder).as_posix() for file in files]
        return {"content_sha256": contents_sha256(folder, names)}

    def paths(self, data_dir: Path | None) -> list[Path]:
        """Return the files that are read."""
        return list(self._files(data_dir).files)

    def label_file(self, data_dir: Path | None) -> Path | None:
        """Return where CIFAR-N's labels of these images belong."""
        return None if data_dir is None else data_dir.expanduser() / self.label_file_name

    def _files(self, data_dir: Path | None) -> cifar_files.CifarFiles:
        if data_dir is None:
            raise DataError(
                f"data set {self.record_name!r} needs --data-dir DIR, the folder that holds it. "
                f"To get it: {self.how_to_get}. It goes to {self.where}."
            )
        data_dir = data_dir.expanduser()
        files = cifar_files.find_files(self.images, data_dir)
        if self.download and not isinstance(files, cifar_files.ParquetFiles):
            # torchvision compares checksums first: what is there and whole is not fetched again.
            root = data_dir if files is None else files.root
            files = cifar_files.download(self.images, root)
        if files is None:
            raise DataError(
                f"data set {self.record_name!r} is not in '{data_dir}'. To get it: "
                f"{self.how_to_get}. It goes to {self.where}."
            )
        return files

    def _labels(
        self, files: cifar_files.CifarFiles, part: cifar_files.Part
    ) -> npt.NDArray[np.int64]:
        labels = files.labels(part)
        low, high = labels.min(initial=0), labels.max(initial=0)
        if not len(labels) or low < 0 or high >= len(self.names):
            raise DataError(
                f"the {len(labels)} {part} labels of {self.record_name!r} must lie in "
                f"[0, {len(self.names)}), got {low} to {high}. Check that '{files.files[0]}' "
                f"belongs to {self.images}."
            )
        return labels

    def _subset(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        n, k = len(labels), len(self.names)
        if self.n_train is None or self.n_train == n:
            return None
        if not k <= self.n_train < n:
            raise ConfigError(
                f"`data.n_train` must lie in [{k}, {n}] for {self.record_name!r}, "
                f"got {self.n_train}."
            )
        rng = np.random.default_rng(derive_seed("subset", self.n_train, self.subset_seed))
        return exact_share_per_class(labels, np.full(k, self.n_train / n), rng)

    def _split_text(self, n_train: int, n_test: int, is_subset: bool) -> str:
        if not is_subset:
            return f"published, {n_train} train / {n_test} test"
        return (
            f"published, {self.n_train} of {n_train} train (stratified, subset seed "
            f"{self.subset_seed}) / {n_test} test"
        )


@dataclass(frozen=True)
class Cifar10(_Cifar):
    """CIFAR-10: 60 000 photographs of 10 kinds of animals and vehicles, 32 x 32 pixels.

    Attributes:
        n_train: Use a stratified subset of this many training images; all if left out.
        subset_seed: Seed of that subset; it does not change with the run's seed.
        download: Download it into ``--data-dir`` if it is not there.
    """

    version: ClassVar[int] = 1

    images: ClassVar[str] = "cifar10"
    record_name: ClassVar[str] = "cifar10"
    title: ClassVar[str] = "CIFAR-10"
    names: ClassVar[tuple[str, ...]] = CIFAR10_CLASSES
    label_file_name: ClassVar[str] = "cifar_n/CIFAR-10_human.pt"
    origin: ClassVar[str] = _ORIGIN
    licence: ClassVar[str] = _LICENCE
    size: ClassVar[str] = "50 000 + 10 000 images, 163 MiB to download"
    download_note: ClassVar[str] = _DOWNLOAD
    how_to_get: ClassVar[str] = _how("cifar10", "cifar-10-python.tar.gz")
    where: ClassVar[str] = (
        "DIR/cifar-10-batches-py/ (torchvision), or DIR/cifar10/train-*.parquet and test-*.parquet"
    )
    recipe: ClassVar[str] = "standard/cifar10"


@dataclass(frozen=True)
class Cifar100(_Cifar):
    """CIFAR-100: 60 000 photographs of 100 kinds of things, 32 x 32 pixels.

    Attributes:
        n_train: Use a stratified subset of this many training images; all if left out.
        subset_seed: Seed of that subset; it does not change with the run's seed.
        download: Download it into ``--data-dir`` if it is not there.
    """

    version: ClassVar[int] = 1

    images: ClassVar[str] = "cifar100"
    record_name: ClassVar[str] = "cifar100"
    title: ClassVar[str] = "CIFAR-100"
    names: ClassVar[tuple[str, ...]] = CIFAR100_CLASSES
    label_file_name: ClassVar[str] = "cifar_n/CIFAR-100_human.pt"
    origin: ClassVar[str] = _ORIGIN
    licence: ClassVar[str] = _LICENCE
    size: ClassVar[str] = "50 000 + 10 000 images, 161 MiB to download"
    download_note: ClassVar[str] = _DOWNLOAD
    how_to_get: ClassVar[str] = _how("cifar100", "cifar-100-python.tar.gz")
    where: ClassVar[str] = (
        "DIR/cifar-100-python/ (torchvision), or DIR/cifar100/train-*.parquet and test-*.parquet"
    )
    recipe: ClassVar[str] = "standard/cifar100"


@dataclass(frozen=True)
class Cifar10N(Cifar10):
    """CIFAR-10N: CIFAR-10 with labels that people gave, five sets of them (noise ``human``)."""

    version: ClassVar[int] = 1

    record_name: ClassVar[str] = "cifar10n"
    title: ClassVar[str] = "CIFAR-10N"
    origin: ClassVar[str] = Cifar10.origin + _HUMAN_ORIGIN
    licence: ClassVar[str] = _HUMAN_LICENCE
    size: ClassVar[str] = f"{Cifar10.size}; labels 3 MB"
    download_note: ClassVar[str] = _HUMAN_DOWNLOAD
    how_to_get: ClassVar[str] = Cifar10.how_to_get + _HUMAN_HOW.format("CIFAR-10_human.pt")
    where: ClassVar[str] = f"{Cifar10.where}; labels in DIR/{Cifar10.label_file_name}"
    recipe: ClassVar[str] = "standard/cifar10n"
    needs_label_file: ClassVar[bool] = True


@dataclass(frozen=True)
class Cifar100N(Cifar100):
    """CIFAR-100N: CIFAR-100 with labels that people gave (noise ``human``)."""

    version: ClassVar[int] = 1

    record_name: ClassVar[str] = "cifar100n"
    title: ClassVar[str] = "CIFAR-100N"
    origin: ClassVar[str] = Cifar100.origin + _HUMAN_ORIGIN
    licence: ClassVar[str] = _HUMAN_LICENCE
    size: ClassVar[str] = f"{Cifar100.size}; labels 2 MB"
    download_note: ClassVar[str] = _HUMAN_DOWNLOAD
    how_to_get: ClassVar[str] = Cifar100.how_to_get + _HUMAN_HOW.format("CIFAR-100_human.pt")
    where: ClassVar[str] = f"{Cifar100.where}; labels in DIR/{Cifar100.label_file_name}"
    recipe: ClassVar[str] = "standard/cifar100n"
    needs_label_file: ClassVar[bool] = True
