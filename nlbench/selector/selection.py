"""What a selector answers, and whether that fits the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nlbench.checkpoints import storable
from nlbench.errors import PluginError
from nlbench.selector.training_data import TrainingData

_ROW_SUM_TOLERANCE = 1e-3


@storable
@dataclass(frozen=True, eq=False)
class Selection:
    """A selector's answer.

    Attributes:
        keep: (N,) bool, the samples to train on.
        score: (N,) float, higher = cleaner; ranks all samples, also those not kept.
        labels: (N,) int64 corrected labels, or None to train on the noisy ones.
        weights: (N,) float >= 0, how often a kept sample is drawn relative to others, or None.
        soft_labels: (N, K) float, rows >= 0 that sum to 1, instead of `labels`, or None.
        loss_weights: (N,) float >= 0, how much a drawn sample's loss counts, or None for alike:
            the loss of a batch is sum(w l) / sum(w).
        restart: For selectors that train in rounds: throw the network away and train a new one,
            from the same initial weights, on this answer.
        diagnostics: JSON-serialisable facts for the record.

    Raises:
        PluginError: on construction, if a shape, dtype or value is not as above.
    """

    keep: Tensor
    score: Tensor
    labels: Tensor | None = None
    weights: Tensor | None = None
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    soft_labels: Tensor | None = None
    loss_weights: Tensor | None = None
    restart: bool = False

    def __post_init__(self) -> None:
        _require("keep", self.keep, self.keep, kind="bool")
        _require("score", self.score, self.keep, kind="float")
        if self.labels is not None:
            _require("labels", self.labels, self.keep, kind="int64")
        for name in ("weights", "loss_weights"):
            values = getattr(self, name)
            if values is not None:
                _require(name, values, self.keep, kind="float")
                if bool((values < 0).any()):
                    raise PluginError(f"Selection.{name} must be >= 0, got a negative one.")
        if self.soft_labels is not None:
            _require_soft(self.soft_labels, self.keep, self.labels)

    def training_labels(self, noisy_labels: Tensor) -> Tensor:
        """Return what to train on: (N,) int64, or (N, K) float where the labels are soft."""
        if self.soft_labels is not None:
            return self.soft_labels
        return noisy_labels if self.labels is None else self.labels


def checked_answer(answer: Any, data: TrainingData, extra_classes: int = 0) -> Selection:
    """Return a selector's answer if it fits `data`.

    Args:
        answer: What the selector gave.
        data: What it was asked about.
        extra_classes: Classes beyond K that its labels may name (`OnlineSelector.extra_classes`).

    Raises:
        PluginError: if it is not a `Selection`, or length, device or labels do not fit, or it keeps
            nothing.
    """
    if not isinstance(answer, Selection):
        raise PluginError(
            f"select must return an nlbench.Selection, got {type(answer).__name__}: "
            "`return Selection(keep=keep, score=score)`."
        )
    if answer.keep.shape != data.noisy_labels.shape or answer.keep.device != data.device:
        raise PluginError(
            f"Selection.keep must have shape {tuple(data.noisy_labels.shape)} on "
            f"{data.device}, got {tuple(answer.keep.shape)} on {answer.keep.device}."
        )
    if not bool(answer.keep.any()):
        raise PluginError(
            "the selector kept no sample: there is nothing to train on. Look at its threshold."
        )
    for name in ("weights", "loss_weights"):
        values = getattr(answer, name)
        if values is not None and not bool((values[answer.keep] > 0).any()):
            raise PluginError(
                f"Selection.{name} must be > 0 for at least one kept sample, got 0 for all of them."
            )
    n_classes = data.n_classes + extra_classes
    if answer.labels is not None:
        low, high = int(answer.labels.min()), int(answer.labels.max())
        if low < 0 or high >= n_classes:
            raise PluginError(
                f"Selection.labels must lie in [0, {n_classes}), got {low} to {high}."
            )
    if answer.soft_labels is not None and answer.soft_labels.shape[1] != n_classes:
        raise PluginError(
            f"Selection.soft_labels must have {n_classes} columns, one per class, got "
            f"{answer.soft_labels.shape[1]}."
        )
    return without_gradients(answer)


def without_gradients(answer: Selection) -> Selection:
    """Return an answer whose tensors belong to no computation; the same one where none does.

    A score that a network computed asks for a gradient, and nothing after it could read it.
    """
    tensors = ("keep", "score", "labels", "weights", "soft_labels", "loss_weights")
    changes = {
        name: value.detach().clone()
        for name in tensors
        if (value := getattr(answer, name)) is not None
        and (value.requires_grad or value.is_inference())
    }
    return replace(answer, **changes) if changes else answer


def _require(name: str, value: Any, like: Any, kind: str) -> None:
    if not isinstance(value, Tensor) or value.ndim != 1:
        raise PluginError(f"Selection.{name} must be a 1-D tensor, got {_kind(value)}.")
    fits = {
        "bool": value.dtype == torch.bool,
        "float": value.is_floating_point(),
        "int64": value.dtype == torch.int64,
    }[kind]
    if not fits:
        raise PluginError(f"Selection.{name} must be of dtype {kind}, got {value.dtype}.")
    if value.shape != like.shape or value.device != like.device:
        raise PluginError(
            f"Selection.{name} must have keep's shape {tuple(like.shape)} and device "
            f"{like.device}, got {tuple(value.shape)} on {value.device}."
        )
    if kind == "float" and not bool(torch.isfinite(value).all()):
        raise PluginError(f"Selection.{name} must be finite, got NaN or infinity.")


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"one of shape {tuple(value.shape)}"
    return type(value).__name__


def _require_soft(soft_labels: Any, keep: Tensor, labels: Tensor | None) -> None:
    if not isinstance(soft_labels, Tensor) or soft_labels.ndim != 2:
        raise PluginError(
            f"Selection.soft_labels must be an (N, K) tensor, got {_kind(soft_labels)}."
        )
    if labels is not None:
        raise PluginError(
            "Selection must have `labels` or `soft_labels`, got both. Leave one of them out."
        )
    if len(soft_labels) != len(keep) or soft_labels.device != keep.device:
        raise PluginError(
            f"Selection.soft_labels must have a row for each of keep's {len(keep)} samples on "
            f"{keep.device}, got {tuple(soft_labels.shape)} on {soft_labels.device}."
        )
    rows_fit = (soft_labels.sum(dim=1) - 1).abs() <= _ROW_SUM_TOLERANCE  # False for NaN
    fits = (soft_labels >= 0).all(dim=1) & rows_fit
    if not soft_labels.is_floating_point() or not bool(fits.all()):
        raise PluginError(
            "Selection.soft_labels must be float rows >= 0 that sum to 1, got others. "
            "`soft_labels.softmax(dim=1)` of logits gives such rows."
        )
