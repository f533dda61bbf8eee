"""Between the training loop and a batch selector: asks it in every step, and keeps account."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nlbench.errors import PluginError
from nlbench.runner.selection_curves import SelectionCurves
from nlbench.runner.selector_calls import SelectorCalls
from nlbench.selector import Batch, BatchSelector, Selection, TrainingData


class BatchSelection:
    """Asks a batch selector and turns what it used into the record's selection.

    Attributes:
        n_networks: Networks that share the batches.
        seconds: Time spent in the selector.
        curves: ``kept_fraction`` and, where the clean labels are known, ``selection_f1``; one
            value per epoch, of the first network.
    """

    def __init__(
        self,
        selector: BatchSelector,
        data: TrainingData,
        is_clean: Tensor | None,
        calls: SelectorCalls | None = None,
    ) -> None:
        self._selector = selector
        self._data = data
        self._calls = calls or SelectorCalls("")
        self.n_networks = max(1, selector.n_networks)
        self.seconds = 0.0
        self._curves = SelectionCurves(is_clean)
        self.curves = self._curves.curves
        n = data.n_samples
        self._drawn = torch.zeros(n, device=data.device)
        self._used = torch.zeros(n, device=data.device)
        self._share = torch.ones(n, device=data.device)
        self._score = torch.ones(n, dtype=torch.float64, device=data.device)

    def first(self) -> Selection:
        """Return everything: batches are drawn from all samples."""
        keep = torch.ones_like(self._data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=torch.zeros_like(keep, dtype=torch.float32))

    def __call__(self, batch: Batch, losses: Tensor, logits: Tensor) -> Tensor:
        """Return the selector's (M, B) weights.

        Raises:
            PluginError: if they are not as the contract says.
        """
        started = time.perf_counter()
        # The selector sees where the batch is, not the networks in it.
        place = Batch(batch.positions, batch.epoch, batch.step, batch.n_epochs, batch.n_steps)
        with self._calls.step():
            weights = self._selector.choose(self._data, place, losses, logits)
        checked_weights(weights, losses)
        ones = torch.ones_like(weights[0], dtype=self._drawn.dtype)
        self._drawn.index_add_(0, batch.positions, ones)
        self._used.index_add_(0, batch.positions, (weights[0] > 0).to(ones.dtype))
        self.seconds += time.perf_counter() - started
        return weights.detach()

    def end_epoch(self) -> Selection:
        """Return what was used in the epoch that has ended, and begin another one.

        A sample that the last incomplete batch left out keeps its share of the epoch before.
        """
        seen = self._drawn > 0
        self._share = torch.where(seen, self._used / self._drawn.clamp_min(1), self._share)
        # The last epoch counts half, the one before a quarter, ...: equal shares are ordered by it.
        self._score = (self._score + self._share.double()) / 2
        self._drawn.zero_()
        self._used.zero_()
        keep = self._share >= 0.5
        if not bool(keep.any()):
            raise PluginError(
                "choose must give some sample a weight > 0 in at least half of its draws in an "
                "epoch, got none: the record would have no selection. Keep more of each batch."
            )
        self._curves.note(keep)
        return Selection(keep=keep, score=self._score.clone())

    def saved_state(self) -> Mapping[str, Any]:
        """Return what the next epoch depends on, the selector's own state in it."""
        return {
            "selector": self._selector,
            "share": self._share,
            "score": self._score,
            "curves": self.curves,
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there, at the beginning of an epoch."""
        self._share, self._score = state["share"], state["score"]
        self._curves.restore(state["curves"])


def checked_weights(weights: object, losses: Tensor) -> None:
    """Refuse what is not one weight for each network and sample.

    Raises:
        PluginError: naming what came instead.
    """
    shape = tuple(losses.shape)
    if not isinstance(weights, Tensor) or not weights.is_floating_point():
        got = weights.dtype if isinstance(weights, Tensor) else type(weights).__name__
        raise PluginError(
            f"choose must return a float tensor {shape}, got {got}. `keep.float()` makes one of a "
            "bool mask."
        )
    if tuple(weights.shape) != shape or weights.device != losses.device:
        raise PluginError(
            f"choose must return a weight for each network and sample, {shape} on "
            f"{losses.device}, got {tuple(weights.shape)} on {weights.device}."
        )
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise PluginError(
            "choose must return finite weights >= 0, got negative ones, NaN or infinity."
        )
