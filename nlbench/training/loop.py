"""One training, read top to bottom: the same for every selector."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nlbench.data.images import StoredImages
from nlbench.errors import DivergedError, PluginError
from nlbench.selector import Selection
from nlbench.training.agreement import require_same
from nlbench.training.divergence import curves_to_the_end, diverged, is_broken, require_finite
from nlbench.training.evaluate import predict
from nlbench.training.learner import Learner
from nlbench.training.observed import looks_of
from nlbench.training.precision import Precision
from nlbench.training.progress import TrainingProgress
from nlbench.training.shared_network import share_out
from nlbench.training.task import TrainingBatch, TrainingOutcome, TrainingTask

_CURVES = ("train_loss", "test_accuracy", "noisy_val_accuracy")


def run_epochs(
    task: TrainingTask,
    learners: Sequence[Learner],
    n_epochs: int,
    batch_size: int,
    precision: Precision = "float32",
    rebuild: Callable[[], Sequence[Learner]] | None = None,
    memory: dict[str, Any] | None = None,
) -> TrainingOutcome:
    """Train for `n_epochs` of N // batch_size steps each, whatever the selection keeps.

    Args:
        task: Data and selection.
        learners: `task.n_networks` of them; the results are those of the first.
        n_epochs: Number of epochs.
        batch_size: Samples per step; at most N.
        precision: Of the steps, which evaluation shares.
        rebuild: Makes the learners anew, for selectors that retrain from scratch.
        memory: What the trainer itself changes from epoch to epoch, for checkpoints.

    Returns:
        Curves ``train_loss``, ``test_accuracy``, ``noisy_val_accuracy``, and the predictions of
        the last epoch and of the epoch with the best *noisy* validation accuracy (the earliest of
        equals).
    """
    outcome = TrainingOutcome(selection=task.selection, precision=precision)
    _share_out(learners)
    at = TrainingProgress(learners, [task.selection] * len(learners), outcome, memory)
    with at.draws_kept():
        if task.checkpoints is not None:
            task.checkpoints.begin(at)
        while _round(task, at, n_epochs, batch_size):
            if rebuild is None:
                raise PluginError("this trainer cannot restart. Train with another one.")
            at.restart(rebuild())
            _share_out(at.learners)
            if task.checkpoints is not None:
                task.checkpoints.reached(at, n_epochs)
    for name, images in task.other_tests.items():
        logits = _predicted(task, at.learners[0].network, images, precision == "bfloat16")
        outcome.other_predictions[name] = logits.argmax(dim=1)
    return outcome


def _round(task: TrainingTask, at: TrainingProgress, n_epochs: int, batch_size: int) -> bool:
    """Train to the last epoch or to a restart; return whether a restart was asked for."""
    outcome, learners = at.outcome, at.learners
    autocast = outcome.precision == "bfloat16"
    if at.epoch == 0:
        outcome.curves = {name: [] for name in _CURVES}
    for epoch in range(at.epoch + 1, n_epochs + 1):
        try:
            losses = _train_learners(task, learners, at.current, batch_size, epoch, n_epochs)
            outcome.n_steps += len(losses[0])
            outcome.test_predictions = _test(task, learners, outcome, autocast, losses)
        except DivergedError as error:
            error.curves = curves_to_the_end(outcome.curves, epoch)
            raise
        noisy_val = _noisy_val(task, learners[0].network, autocast)
        outcome.curves["noisy_val_accuracy"].append(noisy_val)
        if noisy_val is not None and noisy_val > at.best_noisy_val:
            at.best_noisy_val = noisy_val
            outcome.test_predictions_noisy_val = outcome.test_predictions
        outcome.curves["train_loss"].append(float(losses[0].mean()))
        at.current = _next_sets(task, learners, epoch, outcome, autocast)
        at.epoch = epoch
        require_same(epoch, learners, at.current)
        task.progress(epoch, n_epochs)
        if at.current[0].restart:
            return True
        if task.checkpoints is not None and epoch < n_epochs:
            task.checkpoints.reached(at, n_epochs)
    return False


def _share_out(learners: Sequence[Learner]) -> None:
    for learner in learners:
        for network in learner.networks:
            share_out(network)


def _train_learners(
    task: TrainingTask,
    learners: Sequence[Learner],
    current: Sequence[Selection],
    batch_size: int,
    epoch: int,
    n_epochs: int,
) -> list[Tensor]:
    """Train each learner for an epoch; return the losses of its steps."""
    losses = []
    for learner, selection in zip(learners, current, strict=True):
        try:
            losses.append(_train_epoch(task, learner, selection, batch_size, epoch, n_epochs))
        except DivergedError:
            raise
        except Exception as error:
            # What a loss or a selector says of NaN is not what went wrong.
            if is_broken(learner.networks):
                raise diverged(epoch, "training loss") from error
            raise
    return losses


def _train_epoch(
    task: TrainingTask,
    learner: Learner,
    selection: Selection,
    batch_size: int,
    epoch: int,
    n_epochs: int,
) -> Tensor:
    """Train for an epoch; return the losses of its steps."""
    steps = max(1, len(task.images) // batch_size)
    parts = learner.batches.epoch(selection, steps * batch_size).to(task.device).split(batch_size)
    dropped = _dropped_parts(task, learner, selection, steps, batch_size)
    labels = selection.training_labels(task.noisy_labels)
    weights = selection.loss_weights
    for network in learner.networks:
        network.train()
    for peer in learner.peers:
        peer.eval()  # who asks it for labels must not move its batch statistics
    if learner.seen is not None:
        learner.seen.forget()
    losses = []
    for i, part in enumerate(parts):
        where = (epoch, i + 1, n_epochs, len(parts))
        rest = next(dropped, None)
        unlabelled = None
        if rest is not None:
            unlabelled = TrainingBatch(rest, *where, task.images[rest], task.noisy_labels[rest])
        batch = TrainingBatch(
            part,
            *where,
            task.images[part],
            labels[part],
            None if weights is None else weights[part],
            unlabelled,
            learner.networks,
            learner.peers,
            selection=selection,
        )
        losses.append(learner.step(batch))
    return torch.stack(losses)


def _dropped_parts(
    task: TrainingTask, learner: Learner, selection: Selection, steps: int, batch_size: int
) -> Iterator[Tensor]:
    """Return positions of dropped samples, as many as of kept ones; none where nobody asks."""
    if learner.unlabelled is None:
        return iter(())
    rest = (~selection.keep).nonzero().flatten().cpu()
    if not len(rest):
        return iter(())
    drawn = learner.unlabelled.passes(rest, steps * batch_size).to(task.device)
    return iter(drawn.split(batch_size))


def _test(
    task: TrainingTask,
    learners: Sequence[Learner],
    outcome: TrainingOutcome,
    autocast: bool,
    losses: Sequence[Tensor],
) -> Tensor:
    """Record the test accuracy of an epoch with these losses; return the first's predictions."""
    networks = [network for learner in learners for network in learner.networks]
    logits = [_predicted(task, network, task.test_images, autocast) for network in networks]
    require_finite(len(outcome.curves["test_accuracy"]) + 1, losses, logits)
    predictions = logits[0].argmax(dim=1)
    outcome.curves["test_accuracy"].append(_share(predictions == task.test_labels))
    if len(networks) > 1:
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
    """Ask the selector, then the trainer; the outcome keeps the selector's answer."""
    if task.choose is not None:
        # The record's answer. The next epoch draws from everything again.
        outcome.selection = task.choose.end_epoch()
        outcome.reselect_s = task.choose.seconds
    refines = learners[0].refine is not None
    selections = [task.selection if task.choose else outcome.selection] * len(learners)
    if task.reselect is None and not refines:
        return selections
    started = time.perf_counter()
    logits = [
        [_predicted(task, network, task.images, autocast) for network in networks]
        for networks in (each.networks if refines else (each.network,) for each in learners)
    ]
    if task.reselect is not None:
        first = [each[0] for each in logits]
        cross_entropy = nn.functional.cross_entropy
        losses = [cross_entropy(each, task.noisy_labels, reduction="none") for each in first]
        # A selector that writes into its input must not reach the trainer.
        shown = [each.clone() for each in first] if refines else first
        looks = [looks_of(task, each.network, autocast, each.seen) for each in learners]
        selections = list(task.reselect(epoch, losses, shown, looks))
        outcome.selection = selections[0]
        outcome.reselect_s += time.perf_counter() - started
    for i, learner in enumerate(learners):
        if learner.refine is not None:
            selections[i] = learner.refine(epoch, selections[i], logits[i])
    if refines:
        chosen = selections[0]
        labels = chosen.training_labels(task.noisy_labels)
        task.on_labels(epoch, chosen.keep, labels if labels.ndim == 1 else labels.argmax(dim=1))
    return selections


def _noisy_val(task: TrainingTask, network: nn.Module, autocast: bool) -> float | None:
    if len(task.val_images) == 0:
        return None
    predictions = _predicted(task, network, task.val_images, autocast).argmax(dim=1)
    return _share(predictions == task.val_labels)


def _predicted(
    task: TrainingTask, network: nn.Module, images: StoredImages, autocast: bool
) -> Tensor:
    """Return (N, K): extra classes are for training only."""
    logits = predict(network, images, autocast)
    return logits[:, : task.n_classes] if task.extra_classes else logits


def _share(right: Tensor) -> float:
    return float(right.double().mean())
