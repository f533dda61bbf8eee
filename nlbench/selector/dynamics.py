"""What a selector sees of training: after an epoch, or inside a mini-batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from nlbench.errors import PluginError
from nlbench.selector.selection import Selection

Observation = Literal[
    "features",
    "training predictions",
    "prediction history",
    "margin history",
    "held-out logits",
    "input gradients",
]


@dataclass(frozen=True, eq=False)
class Batch:
    """Where a mini-batch is in the training, and of which samples it is.

    Attributes:
        positions: (B,) int64 positions of its samples in the training data.
        epoch: The epoch in training, from 1.
        step: The step of this epoch, from 1.
        n_epochs: Epochs of the whole run.
        n_steps: Steps of each epoch.
    """

    positions: Tensor
    epoch: int
    step: int
    n_epochs: int
    n_steps: int

    def ramped(self, value: float, epochs: int) -> float:
        """Return a value that grows with the epochs: ``numpy.linspace(0, value, epochs)[epoch]``.

        To the last bit, and `value` from the last of these epochs on. Co-teaching's released code
        forgets by this schedule (Han et al., NeurIPS 2018): the first entry, 0, is never used.

        >>> import torch
        >>> Batch(torch.arange(4), epoch=3, step=1, n_epochs=30, n_steps=9).ramped(0.45, 10)
        0.15000000000000002
        """
        last = epochs - 1
        return value if self.epoch >= last else self.epoch * (value / last)


@dataclass(frozen=True, eq=False)
class Dynamics:
    """What training looked like after an epoch, for online selectors.

    What costs more than a look at the losses is there for selectors that declare it in `observes`.

    Attributes:
        epoch: Epochs trained so far in this round, from 1.
        n_epochs: Epochs of a round; without restarts, of the whole run.
        losses: (N,) float32 cross-entropy in nats against the noisy labels, eval mode, no
            augmentation.
        logits: (N, K) float32, same pass.
        loss_history: (H, N) float32, the latest epochs' losses, newest last, H up to the
            selector's `history_epochs`. Histories go on over a restart.
        peers: The same of the other networks, for selectors with `n_networks` above 1.
        round: The round, from 1: 1 + how often the selector asked for a restart.
        previous: The selector's answer before this one for this network; None after the first
            epoch. A decision that is made once is kept by giving it back.
    """

    epoch: int
    n_epochs: int
    losses: Tensor
    logits: Tensor
    loss_history: Tensor
    peers: tuple[Dynamics, ...] = ()
    round: int = 1
    previous: Selection | None = None
    _observed: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict, repr=False)

    @property
    def features(self) -> Tensor:
        """(N, d) float32 input of the network's last linear layer, eval mode; "features"."""
        return self._look("features")

    @property
    def training_predictions(self) -> Tensor:
        """(H, N) int64 predictions in training mode, augmented; "training predictions".

        Of each of the latest epochs, newest last, the last time that a sample was drawn; -1 where
        it was not drawn.
        """
        return self._look("training predictions")

    @property
    def prediction_history(self) -> Tensor:
        """(H, N) int64 predictions after the latest epochs, eval mode; "prediction history"."""
        return self._look("prediction history")

    @property
    def margin_history(self) -> Tensor:
        """(H, N) float32 margins in training mode, augmented; "margin history".

        A margin is the logit of the label that was trained on minus the largest other one; NaN
        where a sample was not drawn in that epoch.
        """
        return self._look("margin history")

    @property
    def held_out_logits(self) -> Tensor:
        """(V, K) float32 logits of the held-out samples, eval mode; "held-out logits"."""
        return self._look("held-out logits")

    @property
    def held_out_labels(self) -> Tensor:
        """(V,) int64 noisy labels of the held-out samples; comes with "held-out logits"."""
        return self._look("held-out logits", "held-out labels")

    @property
    def input_gradients(self) -> Tensor:
        """(N,) float32 norm of the loss's gradient by the input, eval mode; "input gradients"."""
        return self._look("input gradients")

    def _look(self, declared: Observation, what: str = "") -> Tensor:
        look = self._observed.get(what or declared)
        if look is None:
            raise PluginError(
                f"dynamics have {what or declared!r} only for selectors that declare it, because "
                f"it costs: write `observes = ({declared!r},)` into the class."
            )
        return look()
