"""Between the training loop and what it may not see: online selectors, and the truth."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from nlbench.equal_keep import keep_top_share_after_warmup
from nlbench.selector import Dynamics, OnlineSelector, Selection, TrainingData, checked_answer


class OnlineSelection:
    """Asks an online selector after every epoch and keeps the curves of its answers.

    Attributes:
        curves: ``kept_fraction`` and, where the clean labels are known, ``selection_f1``; one
            value per epoch.
    """

    def __init__(
        self,
        selector: OnlineSelector,
        data: TrainingData,
        n_epochs: int,
        is_clean: Tensor | None,
        equal_keep: float | None = None,
    ) -> None:
        self._selector = selector
        self._data = data
        self._n_epochs = n_epochs
        self._is_clean = is_clean
        self._equal_keep = equal_keep
        self._history: deque[Tensor] = deque(maxlen=max(1, selector.history_epochs))
        names = ("kept_fraction",) if is_clean is None else ("selection_f1", "kept_fraction")
        self.curves: dict[str, list[float | None]] = {name: [] for name in names}

    def first(self) -> Selection:
        """Give everything: before the first epoch there are no dynamics."""
        keep = torch.ones_like(self._data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=torch.zeros_like(keep, dtype=torch.float32))

    def __call__(self, epoch: int, losses: Tensor, logits: Tensor) -> Selection:
        """Ask for the next epoch's selection."""
        # A selector that writes into what it is given must not reach the next epoch's history.
        self._history.append(losses.clone())
        dynamics = Dynamics(
            epoch=epoch,
            n_epochs=self._n_epochs,
            losses=losses,
            logits=logits,
            loss_history=torch.stack(list(self._history)),
        )
        answer = checked_answer(self._selector.select(self._data, dynamics), self._data)
        selection = keep_top_share_after_warmup(answer, self._data, self._equal_keep)
        if self._is_clean is not None:
            hits = float((selection.keep & self._is_clean).sum())
            total = float(selection.keep.sum() + self._is_clean.sum())
            self.curves["selection_f1"].append(2 * hits / total if total else 0.0)
        self.curves["kept_fraction"].append(float(selection.keep.float().mean()))
        return selection


class RelabelAccuracy:
    """Watches the labels that a trainer goes on with, and measures those it made up.

    Attributes:
        curves: ``relabel_accuracy``: of the samples in training whose label is not the noisy one,
            the share whose label is the clean one; None where there is no such sample. Empty for
            trainers that change no labels, and where the clean labels are not known.
    """

    def __init__(self, noisy_labels: Tensor, clean_labels: Tensor | None) -> None:
        self._noisy_labels = noisy_labels
        self._clean_labels = clean_labels
        self.curves: dict[str, list[float | None]] = {}

    def __call__(self, epoch: int, keep: Tensor, labels: Tensor) -> None:
        """Take note of the next epoch's samples and labels."""
        if self._clean_labels is None:  # nobody knows which label is right
            return
        changed = keep & (labels != self._noisy_labels)
        right = changed & (labels == self._clean_labels)
        n_changed = int(changed.sum())
        accuracy = int(right.sum()) / n_changed if n_changed else None
        self.curves.setdefault("relabel_accuracy", []).append(accuracy)
