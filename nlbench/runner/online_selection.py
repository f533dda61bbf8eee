"""Between the training loop and what it may not see: online selectors, and the truth."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nlbench.runner.equal_keep import keep_top_share_after_warmup
from nlbench.selector import Dynamics, OnlineSelector, Selection, TrainingData, checked_answer


class OnlineSelection:
    """Asks an online selector after every epoch and keeps the curves of its answers.

    Attributes:
        n_networks: Networks in training, each of which gets an answer of its own.
        curves: ``kept_fraction`` and, where the clean labels are known, ``selection_f1``; one
            value per epoch, of the first network.
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
        self.n_networks = max(1, selector.n_networks)
        epochs = max(1, selector.history_epochs)
        self._histories = [deque[Tensor](maxlen=epochs) for _ in range(self.n_networks)]
        names = ("kept_fraction",) if is_clean is None else ("selection_f1", "kept_fraction")
        self.curves: dict[str, list[float | None]] = {name: [] for name in names}

    def first(self) -> Selection:
        """Return everything: before the first epoch there are no dynamics."""
        keep = torch.ones_like(self._data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=torch.zeros_like(keep, dtype=torch.float32))

    def __call__(
        self, epoch: int, losses: Sequence[Tensor], logits: Sequence[Tensor]
    ) -> list[Selection]:
        """Ask for what each network trains on next.

        Args:
            epoch: Epochs trained so far.
            losses: (N,) of each network.
            logits: (N, K) of each network.
        """
        views = []
        for history, loss, logit in zip(self._histories, losses, logits, strict=True):
            # A selector that writes into what it is given must not reach the next epoch's history.
            history.append(loss.clone())
            views.append(Dynamics(epoch, self._n_epochs, loss, logit, torch.stack(list(history))))
        answers = []
        for i, view in enumerate(views):
            dynamics = replace(view, peers=(*views[:i], *views[i + 1 :]))
            answer = checked_answer(self._selector.select(self._data, dynamics), self._data)
            answers.append(keep_top_share_after_warmup(answer, self._data, self._equal_keep))
        self._note(answers[0])
        return answers

    def _note(self, selection: Selection) -> None:
        if self._is_clean is not None:
            hits = float((selection.keep & self._is_clean).sum())
            total = float(selection.keep.sum() + self._is_clean.sum())
            self.curves["selection_f1"].append(2 * hits / total if total else 0.0)
        self.curves["kept_fraction"].append(float(selection.keep.float().mean()))


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
