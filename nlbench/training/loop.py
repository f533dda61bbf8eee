"""One training, read top to bottom: the same for every selector."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nlbench.images import StoredImages
from nlbench.selector import Selection

EVAL_BATCH = 2048
EVAL_PIXELS = 2**24  # less than 2048 images where they have more than 90 x 90 pixels

# (epochs done, the selector's selection, logits of all training samples) -> what to train on next.
Refine = Callable[[int, Selection, Tensor], Selection]


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """What a trainer is given. It has no clean training labels.

    Attributes:
        images: (N, C, H, W) uint8 on the device, or in a file and read from there to the device.
        noisy_labels: (N,) int64.
        val_images, val_labels: Held-out part with *noisy* labels, empty where there is none.
        test_images, test_labels: The clean test set; evaluated, never chosen by.
        selection: What to train on first.
        other_tests: Images of further test sets by name, predicted after the last epoch.
        reselect: For online selectors: (epoch, losses, logits) -> the next epoch's selection.
        on_labels: For trainers that enlarge or relabel the set that they train on: told (epoch,
            (N,) bool kept, (N,) int64 labels) of what comes next; answers nothing.
        seed: The run's seed.
        progress: Called with (epochs done, epochs).
    """

    images: StoredImages
    noisy_labels: Tensor
    val_images: StoredImages
    val_labels: Tensor
    test_images: StoredImages
    test_labels: Tensor
    n_classes: int
    selection: Selection
    seed: int
    device: torch.device
    other_tests: Mapping[str, StoredImages] = field(default_factory=dict)
    reselect: Callable[[int, Tensor, Tensor], Selection] | None = None
    on_labels: Callable[[int, Tensor, Tensor], None] = lambda epoch, keep, labels: None
    progress: Callable[[int, int], None] = lambda done, total: None


@dataclass(eq=False)
class TrainingOutcome:
    """What a training gave: curves with one value per epoch, and the last epoch's answers."""

    selection: Selection
    curves: dict[str, list[float | None]] = field(default_factory=dict)
    test_predictions: Tensor = field(default_factory=lambda: torch.empty(0))
    test_predictions_noisy_val: Tensor | None = None
    other_predictions: dict[str, Tensor] = field(default_factory=dict)
    reselect_s: float = 0.0
    n_steps: int = 0


class Trainer(ABC):
    """A way to train on a selection; a dataclass whose fields are its settings."""

    @abstractmethod
    def train(self, task: TrainingTask) -> TrainingOutcome:
        """Train and evaluate after every epoch."""

    def check(self, image_size: int) -> None:  # noqa: B027, many have nothing to refuse
        """Refuse settings that do not fit images of this side, before anything is computed.

        Raises:
            ConfigError: if there are any.
        """


class BatchOrder:
    """Endless positions of kept samples: every pass is a fresh permutation, weights aside.

    The number of steps never depends on how many samples are kept.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def epoch(self, selection: Selection, n_draws: int) -> Tensor:
        """Give (n_draws,) positions of kept samples."""
        kept = selection.keep.nonzero().flatten().cpu()
        if selection.weights is not None:
            weights = selection.weights.cpu()[kept].double()
            drawn = torch.multinomial(weights, n_draws, replacement=True, generator=self._generator)
            return kept[drawn]
        passes = -(-n_draws // len(kept))
        orders = [torch.randperm(len(kept), generator=self._generator) for _ in range(passes)]
        return kept[torch.cat(orders)[:n_draws]]


def as_input(images: Tensor) -> Tensor:
    """Give uint8 images as floats with mean about 0: (x / 255 - 0.5) / 0.5."""
    return images.float().div_(127.5).sub_(1.0)


@torch.no_grad()
def predict(network: nn.Module, images: StoredImages, autocast: bool) -> Tensor:
    """Give float32 logits (N, K) in eval mode, without augmentation."""
    network.eval()
    parts = []
    n_at_once = min(EVAL_BATCH, max(1, EVAL_PIXELS // images.shape[2:].numel()))
    for batch in images.split(n_at_once):
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=autocast):
            parts.append(network(as_input(batch)).float())
    return torch.cat(parts)


def run_epochs(
    task: TrainingTask,
    network: nn.Module,
    step: Callable[[Tensor, Tensor], Tensor],
    n_epochs: int,
    batch_size: int,
    batches: BatchOrder,
    autocast: bool,
    refine: Refine | None = None,
) -> TrainingOutcome:
    """Train for `n_epochs` of N // batch_size steps each, whatever the selection keeps.

    Args:
        task: Data and selection.
        network: On the device.
        step: Takes (uint8 images, labels), updates the weights, gives the detached loss.
        n_epochs: Number of epochs.
        batch_size: Samples per step; at most N.
        batches: Where the order of samples comes from.
        autocast: Whether evaluation uses bf16, as training does.
        refine: A trainer's own choice of the next training set, made from the selector's.

    Returns:
        Curves ``train_loss``, ``test_accuracy``, ``noisy_val_accuracy``, and the predictions of
        the last epoch and of the epoch with the best *noisy* validation accuracy (the earliest of
        equals).
    """
    steps = max(1, len(task.images) // batch_size)
    outcome = TrainingOutcome(selection=task.selection)
    current = task.selection
    curves: dict[str, list[float | None]] = {k: [] for k in _CURVES}
    best_noisy_val = -1.0
    for epoch in range(1, n_epochs + 1):
        order = batches.epoch(current, steps * batch_size).to(task.device)
        given = current.labels
        labels = task.noisy_labels if given is None else given
        network.train()
        losses = [step(task.images[part], labels[part]) for part in order.split(batch_size)]
        outcome.n_steps += len(losses)
        test_logits = predict(network, task.test_images, autocast)
        outcome.test_predictions = test_logits.argmax(dim=1)
        noisy_val = _accuracy(network, task.val_images, task.val_labels, autocast)
        if noisy_val is not None and noisy_val > best_noisy_val:
            best_noisy_val = noisy_val
            outcome.test_predictions_noisy_val = outcome.test_predictions
        loss = float(torch.stack(losses).mean())
        # A diverged loss has no value that JSON knows.
        curves["train_loss"].append(loss if math.isfinite(loss) else None)
        right = outcome.test_predictions == task.test_labels
        curves["test_accuracy"].append(float(right.double().mean()))
        curves["noisy_val_accuracy"].append(noisy_val)
        current = _next_set(task, network, epoch, outcome, autocast, refine)
        task.progress(epoch, n_epochs)
    outcome.curves = curves
    for name, images in task.other_tests.items():
        outcome.other_predictions[name] = predict(network, images, autocast).argmax(dim=1)
    return outcome


_CURVES = ("train_loss", "test_accuracy", "noisy_val_accuracy")


def _next_set(
    task: TrainingTask,
    network: nn.Module,
    epoch: int,
    outcome: TrainingOutcome,
    autocast: bool,
    refine: Refine | None,
) -> Selection:
    """Ask an online selector, then the trainer; the outcome keeps the selector's answer."""
    if task.reselect is None and refine is None:
        return outcome.selection
    started = time.perf_counter()
    logits = predict(network, task.images, autocast)
    if task.reselect is not None:
        losses = nn.functional.cross_entropy(logits, task.noisy_labels, reduction="none")
        # A selector that writes into what it is given must not reach the trainer.
        shown = logits if refine is None else logits.clone()
        outcome.selection = task.reselect(epoch, losses, shown)
        outcome.reselect_s += time.perf_counter() - started
    if refine is None:
        return outcome.selection
    chosen = refine(epoch, outcome.selection, logits)
    labels = task.noisy_labels if chosen.labels is None else chosen.labels
    task.on_labels(epoch, chosen.keep, labels)
    return chosen


def _accuracy(
    network: nn.Module, images: StoredImages, labels: Tensor, autocast: bool
) -> float | None:
    if len(images) == 0:
        return None
    right = predict(network, images, autocast).argmax(dim=1) == labels
    return float(right.double().mean())
