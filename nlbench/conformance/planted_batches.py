"""A planted training in mini-batches: what a batch selector would see of linear classifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nlbench.runner.batch_selection import BatchSelection
from nlbench.seeds import derive_seed
from nlbench.selector import Batch, BatchSelector, Selection, TrainingData

N_EPOCHS = 14
BATCH_SIZE = 60
_LEARNING_RATE = 2.0
_START = 0.05  # spread of the first weights, so that networks differ


@dataclass(frozen=True, eq=False)
class BatchView:
    """What a batch selector is shown in one step.

    Attributes:
        batch: Which samples, and where in the training.
        losses: (M, B) cross-entropy in nats.
        logits: (M, B, K).
    """

    batch: Batch
    losses: Tensor
    logits: Tensor


# Returns the selector to go on with after an epoch.
TakeUp = Callable[[Any, TrainingData], Any]


def same_selector(selector: Any, data: TrainingData) -> Any:
    """Return the same one."""
    return selector


def planted_batches(
    selector: BatchSelector,
    data: TrainingData,
    inputs: Tensor | None = None,
    take_up: TakeUp = same_selector,
) -> Selection:
    """Train M linear classifiers as the selector weighs their batches; return its selection.

    Args:
        selector: Asked in every step.
        data: Planted data; its noisy labels are the targets.
        inputs: (N, d) of the classifiers; the data's embeddings where left out.
        take_up: Returns the selector to go on with after an epoch.

    Returns:
        What the record of a run would have as the selection.
    """
    account = BatchSelection(selector, data, is_clean=None)
    selection = account.first()
    inputs = data.embeddings() if inputs is None else inputs
    for view, learn in _steps(data, inputs, max(1, selector.n_networks)):
        learn(account(view.batch, view.losses, view.logits))
        if view.batch.step == view.batch.n_steps:
            selection = account.end_epoch()
            account.selector = take_up(account.selector, data)
    return selection


def first_batch(data: TrainingData, n_networks: int, epoch: int = N_EPOCHS) -> BatchView:
    """Return the first step of an epoch of a training in which every sample counts alike."""
    for view, learn in _steps(data, data.embeddings(), n_networks):
        if view.batch.epoch == epoch:
            return view
        learn(torch.ones_like(view.losses))
    raise ValueError(f"epoch must be at most {N_EPOCHS}, got {epoch}")


def _steps(
    data: TrainingData, inputs: Tensor, n_networks: int
) -> Iterator[tuple[BatchView, Callable[[Tensor], None]]]:
    """Yield each step's view, and the function that takes the step with the weights."""
    inputs = inputs.double()
    targets = torch.nn.functional.one_hot(data.noisy_labels, data.n_classes).double()
    weights = _first_weights(n_networks, inputs, targets)
    size = min(BATCH_SIZE, data.n_samples)
    n_steps = data.n_samples // size
    for epoch in range(1, N_EPOCHS + 1):
        # By a draw that stays with the sample: batches are the same sets in any order of the data.
        order = data.uniform(f"planted batches {epoch}").argsort()[: n_steps * size]
        for step, positions in enumerate(order.split(size), start=1):
            x, y = inputs[positions], targets[positions]
            logits = x @ weights
            losses = (logits.logsumexp(dim=2) - (logits * y).sum(dim=2)).float()
            batch = Batch(positions, epoch, step, N_EPOCHS, n_steps)

            def learn(chosen: Tensor, x: Tensor = x, y: Tensor = y, z: Tensor = logits) -> None:
                share = chosen.double() / chosen.double().sum(dim=1, keepdim=True).clamp_min(1e-12)
                error = (z.softmax(dim=2) - y) * share[:, :, None]
                weights.sub_(_LEARNING_RATE * (x.T @ error))

            yield BatchView(batch, losses, logits.float()), learn


def _first_weights(n_networks: int, inputs: Tensor, targets: Tensor) -> Tensor:
    # By the input's dimension, not by the class: classes with other ids start alike.
    draws = torch.Generator().manual_seed(derive_seed("planted", "first weights", 0))
    start = torch.randn(n_networks, inputs.shape[1], 1, generator=draws, dtype=torch.float64)
    shape = (n_networks, inputs.shape[1], targets.shape[1])
    scale = 1 + torch.rand(n_networks, 1, 1, generator=draws, dtype=torch.float64)
    return (_START * start * scale).expand(shape).clone().to(inputs.device)
