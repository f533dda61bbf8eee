"""What a run starts from: its data, noisy labels and the parts they are split into."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlbench.config.run_config import RunConfig
from nlbench.data.image_data import ImageData
from nlbench.data.images import ImageRows
from nlbench.noise.corrupt import NoisyLabels, corrupt
from nlbench.noise.unknown_truth import no_truth, refuse_noise, shipped_labels
from nlbench.plugins import registry
from nlbench.plugins.registry import make_component
from nlbench.seeds import derive_seed

log = logging.getLogger("nlbench")


@lru_cache(maxsize=2)
def load_data(
    name: str, options: tuple[tuple[str, Any], ...], data_dir: Path | None, key: Hashable
) -> ImageData:
    """Read a data set; a sweep reads it once."""
    data: ImageData = make_component("datasets", name, dict(options)).load(data_dir)
    if data.unreadable:
        log.warning(
            "%d images cannot be decoded and are left out: %s",
            len(data.unreadable),
            ", ".join(data.unreadable[:5]),
        )
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
    return corrupt(
        data.train_labels,
        n_classes=data.n_classes,
        kind=config.noise.kind,
        rate=config.noise.rate,
        seed=config.seed,
        features=ImageRows(data.train_images),
        subset=data.train_subset,
        dataset=data.name,
        dataset_label_file=source.label_file(data_dir),
        **config.noise.options,
    )


def validation_split(data: ImageData, config: RunConfig) -> tuple[Tensor, Tensor]:
    """Return the positions to train on and those held out, by (seed, data set)."""
    n = len(data.train_labels)
    rng = np.random.default_rng(derive_seed("validation", data.fingerprint, config.seed))
    order = rng.permutation(n)
    n_val = round(config.protocol.val_fraction * n)
    return torch.from_numpy(np.sort(order[n_val:])), torch.from_numpy(np.sort(order[:n_val]))
