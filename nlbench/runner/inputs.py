"""What a run starts from: its data, noisy labels and the parts they are split into."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlbench.config.file_hashes import require_unchanged
from nlbench.config.run_config import DataConfig, RunConfig
from nlbench.data.image_data import ImageData
from nlbench.data.images import ImageRows, StoredImages
from nlbench.data.pixels import check_space, stored_images
from nlbench.errors import ConfigError
from nlbench.noise.corrupt import NoisyLabels, corrupt
from nlbench.noise.unknown_truth import no_truth, refuse_noise, shipped_labels
from nlbench.plugins import registry
from nlbench.plugins.registry import make_component, plugin_name
from nlbench.runner.workplace import Progress, Workplace, no_progress
from nlbench.seeds import derive_seed
from nlbench.surroundings import kept

log = logging.getLogger("nlbench")


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a run starts from.

    Attributes:
        data: The data set.
        noisy: The noisy labels of its whole training split.
        fit: (F,) positions in the training split that are selected from and trained on.
        val: (V,) positions that are held out.
        read_s: Seconds that reading and corrupting took.
    """

    config: RunConfig
    workplace: Workplace
    data: ImageData
    noisy: NoisyLabels
    fit: Tensor
    val: Tensor
    read_s: float

    @property
    def n_pixels(self) -> int:
        """Pixels of the training set at the protocol's size."""
        return len(self.data.train_labels) * self.config.protocol.image_size**2

    @property
    def clean_labels(self) -> Tensor | None:
        """(F,) clean labels on the device; None where nobody knows them."""
        if not self.data.labels_are_clean:
            return None
        return torch.from_numpy(self.data.train_labels)[self.fit].to(self.workplace.device)

    def noisy_labels(self, positions: Tensor) -> Tensor:
        """Return the noisy labels at positions of the training split, on the device."""
        return torch.from_numpy(self.noisy.labels)[positions].to(self.workplace.device)

    def images(self, part: str, progress: Progress = no_progress) -> StoredImages:
        """Return the images of "train", "test" or another test set, at the protocol's size."""
        size, place = self.config.protocol.image_size, self.workplace
        tell = partial(progress, "decode")
        return stored_images(self.data, part, size, place.device, place.pixel_folder, tell)


def prepare(config: RunConfig, workplace: Workplace) -> Inputs:
    """Read the data, corrupt its labels, hold out the validation part.

    Raises:
        ConfigError, DataError: if the data is missing or damaged, or the noise does not fit it.
    """
    started = time.perf_counter()
    data = data_at(config.dataset, workplace)
    check_space(data, config.protocol.image_size, workplace.pixel_folder)
    noisy = noisy_labels_of(config, data, workplace.data_dir)
    fit, val = validation_split(data, config)
    return Inputs(config, workplace, data, noisy, fit, val, time.perf_counter() - started)


def data_at(dataset: DataConfig, workplace: Workplace) -> ImageData:
    """Return a data set, read here or by another machine that shares it.

    Raises:
        ConfigError, DataError: if the data is missing or damaged.
    """
    data = None if workplace.shared is None else workplace.shared.data(dataset)
    return data_of(dataset, workplace.data_dir) if data is None else data


def data_of(dataset: DataConfig, data_dir: Path | None) -> ImageData:
    """Read a data set; a sweep reads it once.

    Raises:
        ConfigError, DataError: if the data is missing or damaged.
    """
    options = tuple(sorted(dataset.options.items()))
    # The content and the working directory are part of the key: the same words may name other
    # files by now.
    key = (tuple(dataset.content.items()), str(Path.cwd()))
    return load_data(dataset.name, options, data_dir, key)


@lru_cache(maxsize=2)
def load_data(
    name: str, options: tuple[tuple[str, Any], ...], data_dir: Path | None, key: Hashable
) -> ImageData:
    """Read a data set, the last two of which are kept."""
    with kept(plugin_name("datasets", name)):
        data: ImageData = make_component("datasets", name, dict(options)).load(data_dir)
    if data.unreadable:
        log.warning(
            "%d images cannot be decoded and are left out: %s",
            len(data.unreadable),
            ", ".join(data.unreadable[:5]),
        )
    data.log_what_stands_out()
    return data


def noisy_labels_of(config: RunConfig, data: ImageData, data_dir: Path | None) -> NoisyLabels:
    """Return the noisy labels of the whole training split, as every selector of this board gets."""
    if data.labels_are_clean:
        return _corrupted(config, data, data_dir)
    refuse_noise(data.name, config.noise.kind)
    if registry.selector_class(config.selector.name).is_bound:
        raise no_truth(config.selector.name, data.name)
    return shipped_labels(data.train_labels, data.n_classes)


def _corrupted(config: RunConfig, data: ImageData, data_dir: Path | None) -> NoisyLabels:
    source = make_component("datasets", config.dataset.name, config.dataset.options)
    label_file = source.label_file(data_dir)
    with kept(plugin_name("noises", config.noise.kind)):
        noisy = corrupt(
            data.train_labels,
            n_classes=data.n_classes,
            kind=config.noise.kind,
            rate=config.noise.rate,
            seed=config.seed,
            features=ImageRows(data.train_images),
            subset=data.train_subset,
            dataset=data.name,
            dataset_label_file=label_file,
            sample_names=data.train_ids,
            class_names=data.class_names,
            **config.noise.options,
        )
    read = {"label_file": label_file, **config.noise.options}
    require_unchanged(
        config.files, {f"noise.{key}": value for key, value in read.items() if value is not None}
    )
    return noisy


def validation_split(data: ImageData, config: RunConfig) -> tuple[Tensor, Tensor]:
    """Return the positions to train on and those held out, by (seed, data set).

    Raises:
        ConfigError: if fewer are left to train on than classes, or half of the samples.
    """
    n = len(data.train_labels)
    rng = np.random.default_rng(derive_seed("validation", data.fingerprint, config.seed))
    order = rng.permutation(n)
    n_val = round(config.protocol.val_fraction * n)
    needed = max(1, min(n // 2, data.n_classes))
    if n - n_val < needed:
        raise ConfigError(
            f"'protocol.val_fraction' must leave at least {needed} training samples of "
            f"{n}, got {config.protocol.val_fraction:g}, which leaves {n - n_val}. Hold out less, "
            "such as --set protocol.val_fraction=0.1."
        )
    return torch.from_numpy(np.sort(order[n_val:])), torch.from_numpy(np.sort(order[:n_val]))
