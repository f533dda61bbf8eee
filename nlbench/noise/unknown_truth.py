"""Labels that are noisy as shipped: what can be said and done where the truth is not known."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from nlbench.data.labels import checked_labels
from nlbench.errors import ConfigError
from nlbench.noise.corrupt import NoisyLabels


def shipped_labels(labels: Any, n_classes: int) -> NoisyLabels:
    """Return the labels as they are, with every rate unknown.

    Args:
        labels: (N,) integers in [0, K).
        n_classes: K.

    Raises:
        ConfigError: if a label is out of range.
    """
    checked = checked_labels("labels", labels, n_classes)
    return NoisyLabels(
        kind="none",
        labels=checked.copy(),
        transition_matrix=np.empty((0, 0)),
        nominal_rate=None,
        realized_rate=None,
        realized_rate_per_class=np.empty(0),
        sha256=hashlib.sha256(checked.astype("<i8").tobytes()).hexdigest(),
    )


def refuse_noise(dataset: str, kind: str) -> None:
    """Refuse to add noise to labels that are noisy already.

    Raises:
        ConfigError: if `kind` is anything but ``none``.
    """
    if kind != "none":
        raise ConfigError(
            f"the training labels of {dataset!r} are noisy as shipped and the clean ones are not "
            f"known, so noise {kind!r} on top of them could not be measured. Use --noise none."
        )


def no_truth(selector: str, dataset: str) -> ConfigError:
    """Return the error of a bound that needs clean labels where they are not known."""
    return ConfigError(
        f"{selector!r} needs the clean labels, and those of {dataset!r} are not known: this data "
        "set has no such bound. Leave the selector out."
    )
