"""Planted trainings: a linear softmax classifier that an online selector can look at and restart.

It shows all that `OnlineSelector` may declare, at the cost of a few matrix products an epoch. What
it trains on is the selector's `first` answer and, after a restart, the answer that asked for it.
Answers in between are not fed back: a difference in the last bits would grow from epoch to epoch,
and the checks that compare two trainings would compare that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from nlbench.selector import Dynamics, OnlineSelector, Selection, TrainingData

N_EPOCHS = 30
_STEPS_PER_EPOCH = 4
_LEARNING_RATE = 5.0
_HELD_OUT_SHARE = 0.1
_HELD_OUT_SPREAD = 0.05


@dataclass(frozen=True)
class Shown:
    """What a training shows of itself; the fields are those of `OnlineSelector`."""

    history_epochs: int = 1
    n_networks: int = 1
    observes: tuple[str, ...] = ()
    rounds: int = 1
    extra_classes: int = 0

    @classmethod
    def to(cls, selector: OnlineSelector) -> Shown:
        """Return what a selector declares."""
        return cls(
            selector.history_epochs,
            selector.n_networks,
            selector.observes,
            selector.rounds_used(),
            selector.extra_classes,
        )


@dataclass(frozen=True, eq=False)
class PlantedDynamics(Dynamics):
    """Dynamics of a planted training, which is told the answer to them."""

    _answers: list[Selection] = field(default_factory=list, repr=False)

    def tell(self, answer: Selection) -> None:
        """Let the training know the selector's answer; without one it goes on as before."""
        self._answers[:] = [answer]


def planted_dynamics(
    data: TrainingData, history_epochs: int = 1, n_networks: int = 1, n_epochs: int = N_EPOCHS
) -> Iterator[Dynamics]:
    """Train linear softmax classifiers on the noisy labels and give every epoch's dynamics.

    Full-batch gradient descent from zero weights: a permutation of samples or of class ids
    permutes the answer, up to float error. The first classifier trains on all samples; each of
    its peers on a half of its own, drawn by the samples' ids.

    Args:
        data: What to train on.
        history_epochs: Epochs of losses to give, as an online selector asks for.
        n_networks: Classifiers; the dynamics given are the first one's, with those of its peers.
        n_epochs: Epochs to train.
    """
    yield from planted_training(data, Shown(history_epochs, n_networks), None, n_epochs)


def planted_training(
    data: TrainingData,
    shown: Shown,
    first: Selection | None = None,
    n_epochs: int = N_EPOCHS,
) -> Iterator[PlantedDynamics]:
    """Train as `planted_dynamics` does, showing what a selector declares, restarting as it asks.

    Args:
        data: What to train on.
        shown: What the selector declares.
        first: What the first classifier trains on before any answer; None for everything.
        n_epochs: Epochs of each round.
    """
    halves = [data.uniform(f"planted peer {i}") < 0.5 for i in range(1, shown.n_networks)]
    everything = torch.ones_like(data.noisy_labels, dtype=torch.bool)
    trained_on = [everything if first is None else first.keep, *halves]
    labels = data.noisy_labels if first is None else first.training_labels(data.noisy_labels)
    histories = [_Histories(shown) for _ in trained_on]
    answers: list[Selection] = []
    for number in range(1, max(1, shown.rounds) + 1):
        targets = [labels] + [data.noisy_labels] * len(halves)
        networks = [
            _epochs(data, seen, target, history, shown, n_epochs)
            for seen, target, history in zip(trained_on, targets, histories, strict=True)
        ]
        for first_one, *peers in zip(*networks, strict=True):
            previous = replace(answers[0], restart=False) if answers else None
            told = replace(first_one, round=number, previous=previous, _answers=answers)
            yield replace(told, peers=tuple(replace(p, round=number) for p in peers))
            if answers and answers[0].restart and number < shown.rounds:
                break
        else:
            return
        trained_on[0] = answers[0].keep
        labels = answers[0].training_labels(data.noisy_labels)


def _epochs(
    data: TrainingData,
    seen: Tensor,
    labels: Tensor,
    history: _Histories,
    shown: Shown,
    n_epochs: int,
) -> Iterator[PlantedDynamics]:
    """Train one classifier from zero weights."""
    inputs, n_outputs = data.embeddings().double(), data.n_classes + shown.extra_classes
    targets = labels if labels.ndim == 2 else torch.nn.functional.one_hot(labels, n_outputs)
    targets = targets.double()
    weights = torch.zeros(inputs.shape[1], n_outputs, dtype=inputs.dtype, device=data.device)
    rate = _LEARNING_RATE / int(seen.sum())
    for epoch in range(1, n_epochs + 1):
        for _ in range(_STEPS_PER_EPOCH):
            before = inputs @ weights
            error = torch.softmax(before, dim=1) - targets
            weights = weights - rate * (inputs.T @ (error * seen[:, None]))
        logits = (inputs @ weights)[:, : data.n_classes].float()
        losses = torch.nn.functional.cross_entropy(logits, data.noisy_labels, reduction="none")
        history.add(
            losses=losses,
            predictions=logits.argmax(dim=1),
            training=torch.where(seen, before.argmax(dim=1), -1),
            margins=torch.where(seen, _margins(before, targets), torch.nan).float(),
        )
        looks = {**_looks(data, weights), **history.looks()}
        # "held-out labels" come with the logits.
        wanted = {*shown.observes, "held-out labels"}
        yield PlantedDynamics(
            epoch,
            n_epochs,
            losses.clone(),
            logits,
            history.losses(),
            _observed={name: look for name, look in looks.items() if name in wanted},
        )


def _margins(logits: Tensor, targets: Tensor) -> Tensor:
    labels = targets.argmax(dim=1, keepdim=True)
    others = logits.scatter(1, labels, -torch.inf).max(dim=1).values
    return logits.gather(1, labels).squeeze(1) - others


def _looks(data: TrainingData, weights: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return what is computed from the weights when it is asked for."""

    def input_gradients() -> Tensor:
        p = torch.softmax(data.embeddings().double() @ weights, dim=1)
        error = p - torch.nn.functional.one_hot(data.noisy_labels, weights.shape[1])
        return (error @ weights.T).norm(dim=1).float()

    def held_out_logits() -> Tensor:
        rows = _held_out(data)
        inputs = (data.embeddings() + _spread(data))[rows].double()
        return (inputs @ weights)[:, : data.n_classes].float()

    return {
        "features": lambda: data.embeddings().float().clone(),
        "input gradients": input_gradients,
        "held-out logits": held_out_logits,
        "held-out labels": lambda: data.noisy_labels[_held_out(data)],
    }


def _held_out(data: TrainingData) -> Tensor:
    """Return positions of samples whose slightly moved copies are the held-out part."""
    drawn = data.uniform("planted held-out")
    return (drawn <= max(_HELD_OUT_SHARE, float(drawn.min()))).nonzero().flatten()


def _spread(data: TrainingData) -> Tensor:
    columns = range(data.embeddings().shape[1])
    drawn = [data.uniform(f"planted held-out {column}") for column in columns]
    return (_HELD_OUT_SPREAD * (torch.stack(drawn, dim=1) - 0.5)).float()


class _Histories:
    """The latest epochs of one classifier; they go on over a restart."""

    def __init__(self, shown: Shown) -> None:
        names = {
            "losses": "losses",
            "predictions": "prediction history",
            "training": "training predictions",
            "margins": "margin history",
        }
        n = max(1, shown.history_epochs)
        self._rows: dict[str, deque[Tensor]] = {
            name: deque(maxlen=n)
            for name, observation in names.items()
            if name == "losses" or observation in shown.observes
        }
        self._names = names

    def add(self, **latest: Tensor) -> None:
        for name, rows in self._rows.items():
            rows.append(latest[name])

    def losses(self) -> Tensor:
        return torch.stack(list(self._rows["losses"]))

    def looks(self) -> dict[str, Callable[[], Tensor]]:
        return {
            self._names[name]: partial(torch.stack, list(rows))
            for name, rows in self._rows.items()
            if name != "losses"
        }
