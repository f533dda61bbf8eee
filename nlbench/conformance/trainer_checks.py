"""Checks that every trainer must pass: steps, seeds, what it may not see, and that it learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from nlbench.checkpoints import ResumeError
from nlbench.conformance.harness import ConformanceFailure
from nlbench.conformance.observe import random_states, require_kept_surroundings
from nlbench.conformance.planted_stop import StoppedAfter, TakenUp
from nlbench.conformance.planted_task import N_CLASSES, SETTINGS, planted_images, planted_task
from nlbench.conformance.reach import path_to_labels
from nlbench.errors import PausedError
from nlbench.selector import Selection
from nlbench.surroundings import watched
from nlbench.training.loss_trainer import LossTrainer, State
from nlbench.training.task import Trainer, TrainingBatch, TrainingOutcome, TrainingTask

MIN_ACCURACY = 0.6  # of three classes; a network that learns nothing has a third
_CLOSE = 1e-4


def check_trainer_class(trainer_class: type[Trainer]) -> None:
    """The class is a dataclass derived from a trainer, and its settings have defaults.

    Its fields are the settings, which are validated, recorded and settable by name.
    """
    if not issubclass(trainer_class, Trainer):
        raise ConformanceFailure(
            f"{trainer_class.__name__} must derive from nlbench.LossTrainer, or from "
            "nlbench.training.task.Trainer where it is not a loss."
        )
    if not is_dataclass(trainer_class) or "__dataclass_fields__" not in vars(trainer_class):
        raise ConformanceFailure(
            f"{trainer_class.__name__} must be a dataclass itself, got a plain class: put "
            "`@dataclass(frozen=True)` above it."
        )
    _made(trainer_class)


def check_trainer_outcome(trainer_class: type[Trainer]) -> None:
    """It trains N // batch_size steps an epoch, and its curves have a value for every epoch.

    Boards compare equal budgets: more steps would be a better score for nothing.
    """
    trainer, task = _made(trainer_class), planted_task()
    outcome = trainer.train(task)
    epochs, size = int(getattr(trainer, "epochs", 1)), int(getattr(trainer, "batch_size", 1))
    n_steps = epochs * (len(task.images) // size)
    if outcome.n_steps != n_steps:
        raise ConformanceFailure(
            f"a trainer must take {n_steps} steps here ({epochs} epochs of N // batch_size), got "
            f"{outcome.n_steps}: boards compare equal budgets."
        )
    for name in ("train_loss", "test_accuracy", "noisy_val_accuracy"):
        if len(outcome.curves.get(name, [])) != epochs:
            raise ConformanceFailure(
                f"curve {name!r} must have a value for each of {epochs} epochs, got "
                f"{len(outcome.curves.get(name, []))}."
            )
    if outcome.test_predictions.shape != task.test_labels.shape:
        raise ConformanceFailure(
            f"test_predictions must have shape {tuple(task.test_labels.shape)}, got "
            f"{tuple(outcome.test_predictions.shape)}."
        )


def check_trainer_learns(trainer_class: type[Trainer]) -> None:
    """A small network learns an easy problem with a fifth of the labels wrong.

    A loss of the wrong sign or scale is the commonest slip, and shows only in the ranks.
    """
    accuracy = _trained(trainer_class).curves["test_accuracy"][-1] or 0.0
    if accuracy < MIN_ACCURACY:
        raise ConformanceFailure(
            f"the network must learn three easy classes (test accuracy at least {MIN_ACCURACY:.0%})"
            f", got {accuracy:.1%}. Look at the sign and the scale of the loss."
        )


def check_trainer_same_seed(trainer_class: type[Trainer]) -> None:
    """The same task gives the same curves to the last bit; another seed gives others.

    A run that cannot be repeated cannot be verified by anyone.
    """
    first, again = _trained(trainer_class), _trained(trainer_class)
    if first.curves != again.curves:
        raise ConformanceFailure(
            "the same task and seed must give the same curves, got different ones. Draw only from "
            "`batch.draws`, and keep nothing on `self`: state belongs in `make_state`."
        )
    if _trained(trainer_class, seed=1).curves == first.curves:
        raise ConformanceFailure(
            "another seed must give another training, got the same curves. Initial weights and "
            "draws come from the task's seed."
        )


def check_trainer_resumes(trainer_class: type[Trainer]) -> None:
    """Stopped in mid-training and taken up by a new instance, it gives the same curves bit by bit.

    A run of hours goes on from a checkpoint where its process was killed, in another process.
    """
    whole, way = _trained(trainer_class), StoppedAfter(3)
    try:
        _trained(trainer_class, checkpoints=way)
    except PausedError:
        pass
    except ResumeError as error:
        raise ConformanceFailure(f"its state must be saved, got: {error}") from None
    if way.content is None:
        raise ConformanceFailure(
            "a trainer must tell `task.checkpoints` of its epochs, so that a run of hours is not "
            "lost with its process, got none. Train by `nlbench.training.loop.run_epochs`."
        )
    try:
        rest = _trained(trainer_class, checkpoints=TakenUp(way.content))
    except ResumeError as error:
        raise ConformanceFailure(f"its state must be put back, got: {error}") from None
    same = torch.equal(whole.test_predictions, rest.test_predictions)
    if whole.curves != rest.curves or not same:
        raise ConformanceFailure(
            "a training that was taken up must go on as if it had not been stopped, got other "
            "curves or predictions. Keep what you remember in `make_state`, and draw from "
            "`batch.draws`."
        )


def check_trainer_random_state(trainer_class: type[Trainer]) -> None:
    """The global random states stay as they are.

    Draws from there change what other parts of a run draw.
    """
    torch.rand(1)
    before = random_states()
    _trained(trainer_class)
    changed = [name for name, state in random_states().items() if state != before[name]]
    if changed:
        raise ConformanceFailure(
            f"a trainer must not touch the global random state of {' and '.join(changed)}. Draw "
            "from `batch.draws`, or inside `torch.random.fork_rng()`."
        )


def check_trainer_surroundings(trainer_class: type[Trainer]) -> None:
    """Torch, NumPy and the process are afterwards as they were before.

    A switch that is left behind changes the numbers of all that run after it, under their names.
    """
    with watched() as changed:
        _trained(trainer_class)
    require_kept_surroundings(changed, "a trainer")


def check_trainer_sees_no_test_labels(trainer_class: type[Trainer]) -> None:
    """With other test labels and other test images it trains exactly alike.

    What trains on the test set, or stops by it, measures nothing.
    """
    task = planted_task()
    other = planted_images(len(task.test_labels), "other test")[0]
    first = _trained(trainer_class)
    second = _trained(
        trainer_class, test_images=other, test_labels=(task.test_labels + 1) % N_CLASSES
    )
    for name in ("train_loss", "noisy_val_accuracy"):
        if first.curves[name] != second.curves[name]:
            raise ConformanceFailure(
                f"training must not depend on the test set, got another {name} curve with other "
                "test images and labels."
            )


def check_trainer_inputs_untouched(trainer_class: type[Trainer]) -> None:
    """Images, labels and selection are the same after the training as before.

    Other networks and the record use the same tensors.
    """
    task = planted_task()
    tensors = {f.name: getattr(task, f.name) for f in fields(task)}
    tensors |= {"selection.keep": task.selection.keep, "selection.score": task.selection.score}
    before = {k: v.clone() for k, v in tensors.items() if isinstance(v, Tensor)}
    _made(trainer_class).train(task)
    written = [name for name, value in before.items() if not torch.equal(value, tensors[name])]
    if written:
        raise ConformanceFailure(
            f"a trainer must leave its inputs as they are, but wrote into {', '.join(written)}."
        )


def check_trainer_drops_what_is_dropped(trainer_class: type[Trainer]) -> None:
    """Labels of samples that the selector dropped change nothing.

    A selector is judged by what it keeps; a trainer that trains on the rest undoes it.
    """
    task = planted_task()
    keep = torch.arange(len(task.images)) % 3 != 0
    selection = Selection(keep=keep, score=keep.float())
    other = torch.where(keep, task.noisy_labels, (task.noisy_labels + 1) % N_CLASSES)
    curves = [
        _trained(trainer_class, selection=selection, noisy_labels=labels).curves["train_loss"]
        for labels in (task.noisy_labels, other)
    ]
    if curves[0] != curves[1]:
        raise ConformanceFailure(
            "labels of dropped samples must change nothing, got another training with others. If "
            "the method uses them by design, name this check in `conformance_exempt` and say how."
        )


def check_trainer_takes_any_batch(trainer_class: type[Trainer]) -> None:
    """Batches with an absent class, of one class, of random labels and of one sample work.

    All of these happen in a long run, mostly in its middle.
    """
    if not issubclass(trainer_class, LossTrainer):
        return
    trainer, (batch, outputs) = _made(trainer_class), _batch(trainer_class)
    labels = batch.labels
    cases = {
        "a class absent": labels.clamp(max=N_CLASSES - 2),
        "one class": torch.zeros_like(labels),
        "random labels": torch.randperm(len(labels), generator=_draws()) % N_CLASSES,
    }
    for what, other in cases.items():
        _finite(trainer, replace(batch, labels=other), outputs, _state(trainer), what)
    one = replace(_part(batch, torch.tensor([0])), labels=labels[:1])
    _finite(trainer, one, outputs[..., :1, :], _state(trainer), "one sample")


def check_trainer_mean_is_of_its_losses(trainer_class: type[Trainer]) -> None:
    """A mean that the trainer computes itself is that of its losses.

    With a batch selector the losses are weighed one by one; both must be the same method.
    """
    if not issubclass(trainer_class, LossTrainer):
        return
    trainer, (batch, outputs) = _made(trainer_class), _batch(trainer_class)
    state, again = _state(trainer), _state(trainer)
    losses = _finite(trainer, batch, outputs, state, "a batch")
    whole = trainer.mean_loss(replace(batch, draws=_draws()), outputs, batch.labels, again)
    mean = losses if losses.ndim == 0 else losses.mean(dim=1).sum()
    if not torch.allclose(mean, whole.detach(), atol=_CLOSE):
        raise ConformanceFailure(
            f"mean_loss must be the mean of batch_loss, summed over networks, {float(mean):.6g}, "
            f"got {float(whole):.6g}. Leave mean_loss out if nothing is gained by it."
        )


def check_trainer_state_follows_samples(trainer_class: type[Trainer]) -> None:
    """A batch in another order has the same losses, and leaves the same state, sample by sample.

    Samples are drawn in another order in every epoch: a state by place mixes them up.
    """
    if not issubclass(trainer_class, LossTrainer):
        return
    trainer, (batch, outputs) = _made(trainer_class), _batch(trainer_class)
    order = torch.randperm(len(batch.positions), generator=_draws())
    one, two = _state(trainer), _state(trainer)
    before = {name: values.clone() for name, values in one.items()}
    first = _finite(trainer, batch, outputs, one, "a batch")
    second = _finite(trainer, _part(batch, order), outputs[..., order, :], two, "a batch")
    if first.ndim == 2 and not torch.allclose(first[:, order], second, atol=_CLOSE):
        raise ConformanceFailure(
            "batch_loss must give each sample its own loss in any order of the batch, got others. "
            "Use no position in the batch: `state[...][batch.positions]` are its samples' rows."
        )
    outside = torch.ones(len(planted_task().images), dtype=torch.bool)
    outside[batch.positions] = False
    for name, values in one.items():
        if not torch.allclose(values, two[name], atol=_CLOSE):
            raise ConformanceFailure(
                f"state {name!r} must follow its samples, got other rows after a batch in another "
                "order. Write at `batch.positions`."
            )
        if len(values) == len(outside) and not torch.equal(values[outside], before[name][outside]):
            raise ConformanceFailure(
                f"state {name!r} must stay as it is for samples that are not in the batch, got "
                "rows that changed."
            )


def check_trainer_cannot_reach_test_labels(trainer_class: type[Trainer]) -> None:
    """Nothing that a step is given leads to the test labels.

    Whoever can see them in training can train on them, and nobody would notice.
    """
    if not issubclass(trainer_class, LossTrainer):
        return
    given: list[Any] = []

    def watched(self: Any, batch: TrainingBatch, *rest: Any) -> Tensor:
        given[:] = [batch, *rest]
        return trainer_class.batch_loss(self, batch, *rest)

    settings = {"batch_loss": watched, "__module__": trainer_class.__module__}
    spy = type(f"_Watched{trainer_class.__name__}", (trainer_class,), settings)
    task = planted_task()
    _made(spy).train(task)
    path = path_to_labels(given, task.test_labels, (task.test_labels + 1) % N_CLASSES)
    if path is not None:
        raise ConformanceFailure(
            f"test labels must not be reachable from a batch or a state, found them at {path}."
        )


TRAINER_CHECKS: tuple[Callable[[type[Trainer]], None], ...] = (
    check_trainer_class,
    check_trainer_outcome,
    check_trainer_learns,
    check_trainer_same_seed,
    check_trainer_resumes,
    check_trainer_random_state,
    check_trainer_surroundings,
    check_trainer_sees_no_test_labels,
    check_trainer_cannot_reach_test_labels,
    check_trainer_inputs_untouched,
    check_trainer_drops_what_is_dropped,
    check_trainer_takes_any_batch,
    check_trainer_mean_is_of_its_losses,
    check_trainer_state_follows_samples,
)


def _made(trainer_class: type[Trainer]) -> Any:
    from nlbench.plugins.registry import make_selector

    names = {f.name for f in fields(trainer_class)}  # type: ignore[arg-type]
    settings = {k: v for k, v in SETTINGS.items() if k in names}
    return make_selector(trainer_class, settings, kind="trainers")  # type: ignore[arg-type]


def _trained(trainer_class: type[Trainer], **changes: Any) -> TrainingOutcome:
    task: TrainingTask = planted_task(**changes)
    outcome: TrainingOutcome = _made(trainer_class).train(task)
    return outcome


def _draws() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def _batch(trainer_class: type[LossTrainer]) -> tuple[TrainingBatch, Tensor]:
    """Return a batch of every second sample and logits for it, views first where there are some."""
    task, draws = planted_task(), _draws()
    positions = torch.arange(0, 32, 2)
    views, m = trainer_class.n_views, trainer_class.n_networks
    images = task.images[positions].float()
    networks = tuple(nn.Sequential(nn.Flatten(), nn.LazyLinear(N_CLASSES)) for _ in range(m))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        for network in networks:
            network(images)
    stacked = images if views == 1 else torch.stack([images] * views)
    batch = TrainingBatch(
        positions, 2, 1, 6, 6, stacked, task.noisy_labels[positions], networks=networks,
        draws=_draws(),
    )  # fmt: skip
    shape = (m, len(positions), N_CLASSES) if views == 1 else (views, m, len(positions), N_CLASSES)
    return batch, torch.randn(shape, generator=draws)


def _state(trainer: LossTrainer) -> State:
    return trainer.make_state(len(planted_task().images), N_CLASSES)


def _part(batch: TrainingBatch, members: Tensor) -> TrainingBatch:
    images = batch.images[members] if batch.images.ndim == 4 else batch.images[:, members]
    return replace(
        batch,
        positions=batch.positions[members],
        labels=batch.labels[members],
        images=images,
        draws=_draws(),
    )


def _finite(
    trainer: LossTrainer, batch: TrainingBatch, outputs: Tensor, state: State, what: str
) -> Tensor:
    losses = trainer.batch_loss(batch, outputs, batch.labels, state)
    n = len(batch.positions)
    if not isinstance(losses, Tensor) or losses.shape not in ((), (trainer.n_networks, n)):
        got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ConformanceFailure(
            f"batch_loss must return ({trainer.n_networks}, {n}), a loss for each network and "
            f"sample, or a scalar, got {got} for {what}."
        )
    if not bool(torch.isfinite(losses).all()):
        raise ConformanceFailure(
            f"batch_loss must be finite, got NaN or infinity for {what}. Clamp what goes into a "
            "logarithm."
        )
    return losses.detach()
