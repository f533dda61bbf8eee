"""One training, read top to bottom: the same for every selector."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nlbench.data.images import StoredImages
from nlbench.selector import Selection
from nlbench.training.precision import Precision

# What fits into a CPU's cache is evaluated twice as fast; a GPU needs large batches.
_EVAL_BATCH = {"cpu": 256}
_EVAL_BATCH_ELSEWHERE = 2048
_EVAL_PIXELS = 2**24  # fewer at once where images are large

# (epochs done, the selector's selection, logits of all training samples) -> what to train on next.
Refine = Callable[[int, Selection, Tensor], Selection]
# (epochs done, losses and logits of each network) -> what each trains on next.
Reselect = Callable[[int, Sequence[Tensor], Sequence[Tensor]], Sequence[Selection]]


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """The input of a trainer. It contains no clean training labels.

    Attributes:
        images: (N, C, H, W) uint8 on the device, or in a file and read from there to the device.
        noisy_labels: (N,) int64.
        val_images, val_labels: Held-out part with *noisy* labels, empty if `val_fraction` is 0.
        test_images, test_labels: The clean test set; evaluated, never used to choose an epoch.
        selection: What to train on first.
        other_tests: Images of further test sets by name, predicted after the last epoch.
        reselect: For online selectors: (epoch, losses, logits) -> the next epoch's selections,
            one (N,), (N, K) and answer for each network.
        n_networks: Networks to train side by side; results are of the first.
        on_labels: For trainers that enlarge or relabel the set that they train on: called
            with (epoch, (N,) bool kept, (N,) int64 labels) of what the first network gets next.
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
    reselect: Reselect | None = None
    n_networks: int = 1
    on_labels: Callable[[int, Tensor, Tensor], None] = lambda epoch, keep, labels: None
    progress: Callable[[int, int], None] = lambda done, total: None


@dataclass(eq=False)
class TrainingOutcome:
    """The result of a training: curves with one value per epoch, and the last predictions.

    All of it is of the first network, except the curve ``ensemble_test_accuracy``: the mean of the
    probabilities of all networks, if there are several.
    """

    selection: Selection
    curves: dict[str, list[float | None]] = field(default_factory=dict)
    test_predictions: Tensor = field(default_factory=lambda: torch.empty(0))
    test_predictions_noisy_val: Tensor | None = None
    other_predictions: dict[str, Tensor] = field(default_factory=dict)
    reselect_s: float = 0.0
    n_steps: int = 0
    precision: Precision = "float32"


class Trainer(ABC):
    """A way to train on a selection; a dataclass whose fields are its settings."""

    @abstractmethod
    def train(self, task: TrainingTask) -> TrainingOutcome:
        """Train and evaluate after every epoch."""

    def check(self, image_size: int) -> None:  # noqa: B027, many have nothing to refuse
        """Refuse settings that do not fit images of this side, before anything is computed.

        Raises:
            ConfigError: naming the first of them.
        """


class BatchOrder:
    """Endless positions of kept samples: every pass is a fresh permutation, weights aside.

    The number of steps never depends on how many samples are kept.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def epoch(self, selection: Selection, n_draws: int) -> Tensor:
        """Return (n_draws,) positions of kept samples."""
        kept = selection.keep.nonzero().flatten().cpu()
        if selection.weights is not None:
            weights = selection.weights.cpu()[kept].double()
            drawn = torch.multinomial(weights, n_draws, replacement=True, generator=self._generator)
            return kept[drawn]
        passes = -(-n_draws // len(kept))
        orders = [torch.randperm(len(kept), generator=self._generator) for _ in range(passes)]
        return kept[torch.cat(orders)[:n_draws]]


@dataclass(eq=False)
class Learner:
    """One network in training.

    Attributes:
        network: On the device.
        step: Takes (uint8 images, labels), updates the weights, returns the detached loss.
        batches: Where the order of samples comes from.
        refine: A trainer's own choice of the next training set, made from the selector's.
    """

    network: nn.Module
    step: Callable[[Tensor, Tensor], Tensor]
    batches: BatchOrder
    refine: Refine | None = None


def as_input(images: Tensor) -> Tensor:
    """Return uint8 images as floats with mean about 0: (x / 255 - 0.5) / 0.5."""
    return images.float().div_(127.5).sub_(1.0)


@torch.no_grad()
def predict(network: nn.Module, images: StoredImages, autocast: bool) -> Tensor:
    """Return float32 logits (N, K) in eval mode, without augmentation."""
    network.eval()
    parts = []
    most = _EVAL_BATCH.get(images.device.type, _EVAL_BATCH_ELSEWHERE)
    n_at_once = min(most, max(1, _EVAL_PIXELS // images.shape[2:].numel()))
    for batch in images.split(n_at_once):
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=autocast):
            parts.append(network(as_input(batch)).float())
    return torch.cat(parts)


def run_epochs(
    task: TrainingTask,
    learners: Sequence[Learner],
    n_epochs: int,
    batch_size: int,
    precision: Precision = "float32",
) -> TrainingOutcome:
    """Train for `n_epochs` of N // batch_size steps each, whatever the selection keeps.

    Args:
        task: Data and selection.
        learners: `task.n_networks` of them; the results are those of the first.
        n_epochs: Number of epochs.
        batch_size: Samples per step; at most N.
        precision: Of the steps, which evaluation shares.

    Returns:
        Curves ``train_loss``, ``test_accuracy``, ``noisy_val_accuracy``, and the predictions of
        the last epoch and of the epoch with the best *noisy* validation accuracy (the earliest of
        equals).
    """
    curves: dict[str, list[float | None]] = {name: [] for name in _CURVES}
    outcome = TrainingOutcome(selection=task.selection, curves=curves, precision=precision)
    autocast = precision == "bfloat16"
    current: list[Selection] = [task.selection] * len(learners)
    best_noisy_val = -1.0
    for epoch in range(1, n_epochs + 1):
        losses = [
            _train_epoch(task, learner, selection, batch_size)
            for learner, selection in zip(learners, current, strict=True)
        ]
        outcome.n_steps += len(losses[0])
        outcome.test_predictions = _test(task, learners, outcome, autocast)
        noisy_val = _accuracy(learners[0].network, task.val_images, task.val_labels, autocast)
        outcome.curves["noisy_val_accuracy"].append(noisy_val)
        if noisy_val is not None and noisy_val > best_noisy_val:
            best_noisy_val = noisy_val
            outcome.test_predictions_noisy_val = outcome.test_predictions
        loss = float(losses[0].mean())
        # A diverged loss has no value that JSON knows.
        outcome.curves["train_loss"].append(loss if math.isfinite(loss) else None)
        current = _next_sets(task, learners, epoch, outcome, autocast)
        task.progress(epoch, n_epochs)
    for name, images in task.other_tests.items():
        logits = predict(learners[0].network, images, autocast)
        outcome.other_predictions[name] = logits.argmax(dim=1)
    return outcome


_CURVES = ("train_loss", "test_accuracy", "noisy_val_accuracy")


def _train_epoch(
    task: TrainingTask, learner: Learner, selection: Selection, batch_size: int
) -> Tensor:
    """Train for an epoch; return the losses of its steps."""
    steps = max(1, len(task.images) // batch_size)
    order = learner.batches.epoch(selection, steps * batch_size).to(task.device)
    labels = task.noisy_labels if selection.labels is None else selection.labels
    learner.network.train()
    parts = order.split(batch_size)
    return torch.stack([learner.step(task.images[part], labels[part]) for part in parts])


def _test(
    task: TrainingTask, learners: Sequence[Learner], outcome: TrainingOutcome, autocast: bool
) -> Tensor:
    """Record the test accuracy; return the first network's predictions."""
    logits = [predict(learner.network, task.test_images, autocast) for learner in learners]
    predictions = logits[0].argmax(dim=1)
    outcome.curves["test_accuracy"].append(_share(predictions == task.test_labels))
    if len(learners) > 1:
        together = torch.stack(logits).softmax(dim=2).mean(dim=0).argmax(dim=1)
        curve = outcome.curves.setdefault("ensemble_test_accuracy", [])
        curve.append(_share(together == task.test_labels))
    return predictions


def _next_sets(
    task: TrainingTask,
    learners: Sequence[Learner],
    epoch: int,
    outcome: TrainingOutcome,
    autocast: bool,
) -> list[Selection]:
    """Ask an online selector, then the trainer; the outcome keeps the selector's answer."""
    refines = learners[0].refine is not None
    if task.reselect is None and not refines:
        return [outcome.selection] * len(learners)
    started = time.perf_counter()
    logits = [predict(learner.network, task.images, autocast) for learner in learners]
    selections = [outcome.selection] * len(learners)
    if task.reselect is not None:
        cross_entropy = nn.functional.cross_entropy
        losses = [cross_entropy(each, task.noisy_labels, reduction="none") for each in logits]
        # A selector that writes into its input must not reach the trainer.
        shown = [each.clone() for each in logits] if refines else logits
        selections = list(task.reselect(epoch, losses, shown))
        outcome.selection = selections[0]
        outcome.reselect_s += time.perf_counter() - started
    for i, learner in enumerate(learners):
        if learner.refine is not None:
            selections[i] = learner.refine(epoch, selections[i], logits[i])
    if refines:
        first = selections[0]
        labels = task.noisy_labels if first.labels is None else first.labels
        task.on_labels(epoch, first.keep, labels)
    return selections


def _accuracy(
    network: nn.Module, images: StoredImages, labels: Tensor, autocast: bool
) -> float | None:
    if len(images) == 0:
        return None
    return _share(predict(network, images, autocast).argmax(dim=1) == labels)


def _share(right: Tensor) -> float:
    return float(right.double().mean())
