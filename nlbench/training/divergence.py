"""Whether a training is still made of numbers, and how it ends where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nlbench.errors import DivergedError


def require_finite(epoch: int, losses: Sequence[Tensor], logits: Sequence[Tensor]) -> None:
    """Refuse an epoch whose losses or logits are NaN or infinite.

    Args:
        epoch: The epoch that has ended, from 1.
        losses: Mean losses of the steps, of each learner.
        logits: (M, K) of the test set, of each network.

    Raises:
        DivergedError: naming the epoch and what is not finite.
    """
    for what, parts in (("training loss", losses), ("output on the test set", logits)):
        if not all(bool(torch.isfinite(part).all()) for part in parts):
            raise diverged(epoch, what)


def diverged(epoch: int, what: str) -> DivergedError:
    """Return the error of a training whose `what` is not finite."""
    error = DivergedError(
        f"the training diverged at epoch {epoch}: its {what} is NaN or infinite, so the run has no "
        "result. Train with a lower learning rate, such as --set trainer.lr=0.01."
    )
    error.epoch = epoch
    return error


def is_broken(networks: Sequence[nn.Module]) -> bool:
    """Return whether a network has a weight that is NaN or infinite."""
    return any(
        not bool(torch.isfinite(weights).all())
        for network in networks
        for weights in network.parameters()
    )


def curves_to_the_end(
    curves: Mapping[str, Sequence[float | None]], epoch: int
) -> dict[str, list[float | None]]:
    """Return the curves up to the epoch that diverged, whose loss is None: the record's mark."""
    whole = {name: list(curve[: epoch - 1]) for name, curve in curves.items()}
    return {**whole, "train_loss": [*whole.get("train_loss", []), None]}
