"""How far a training is: all that its next epoch depends on, saved and put back."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nlbench.checkpoints import ResumeError, restored, saved
from nlbench.selector import Selection
from nlbench.training.learner import Learner
from nlbench.training.task import TrainingOutcome

_OF_OUTCOME = ("curves", "test_predictions", "test_predictions_noisy_val", "n_steps", "n_rounds")


@dataclass(eq=False)
class TrainingProgress:
    """A training between two epochs.

    Attributes:
        learners: What trains.
        current: What each of them trains on next.
        outcome: The results so far; seconds are those of this process.
        memory: What the trainer itself changes from epoch to epoch; None for nothing.
        epoch: Epochs done in this round.
        best_noisy_val: The best noisy validation accuracy of this round.
    """

    learners: Sequence[Learner]
    current: list[Selection]
    outcome: TrainingOutcome
    memory: dict[str, Any] | None = None
    epoch: int = 0
    best_noisy_val: float = -1.0
    _is_resumed: bool = False

    def restart(self, learners: Sequence[Learner]) -> None:
        """Begin another round with new networks."""
        self.learners, self.epoch, self.best_noisy_val = learners, 0, -1.0
        self.outcome.n_rounds += 1

    def saved(self) -> Any:
        """Return it as plain data.

        Raises:
            ResumeError: naming what cannot be saved.
        """
        outcome = self.outcome
        return saved(
            {
                "epoch": self.epoch,
                "best_noisy_val": self.best_noisy_val,
                "precision": outcome.precision,
                "current": self.current,
                "selection": outcome.selection,
                "outcome": {name: getattr(outcome, name) for name in _OF_OUTCOME},
                "learners": [_parts(learner) for learner in self.learners],
                "memory": self.memory or {},
                "draws": _draws(self.learners[0]),
            },
            "the training",
        )

    def restore(self, plain: Any) -> None:
        """Take over what `saved` returned in another process.

        Raises:
            ResumeError: if it does not fit; nothing that it was put into can be used any more.
        """
        live = [_parts(learner) for learner in self.learners]
        state = restored(plain, {"learners": live, "memory": self.memory or {}})
        if state["precision"] != self.outcome.precision:
            raise ResumeError(
                f"it was trained in {state['precision']}, and here it would go on in "
                f"{self.outcome.precision}."
            )
        for learner, parts in zip(self.learners, state["learners"], strict=True):
            _take_over(learner.memory or {}, parts["memory"])
        _take_over(self.memory or {}, state["memory"])
        self.epoch, self.best_noisy_val = state["epoch"], state["best_noisy_val"]
        self.current, self.outcome.selection = state["current"], state["selection"]
        for name, value in state["outcome"].items():
            setattr(self.outcome, name, value)
        self._is_resumed = True
        _set_draws(state["draws"])

    @contextmanager
    def draws_kept(self) -> Iterator[None]:
        """Put NumPy's and Python's own generators back at the end, where `restore` has set them."""
        before = np.random.get_state(), random.getstate()
        try:
            yield
        finally:
            if self._is_resumed:
                np.random.set_state(before[0])
                random.setstate(before[1])


def _take_over(held: dict[str, Any], values: dict[str, Any]) -> None:
    """Fill the maps that steps hold; networks and the like have their state already."""
    for name, value in values.items():
        before = held.get(name)
        if type(before) is dict:
            before.clear()
            before.update(value)
        else:
            held[name] = value


def _parts(learner: Learner) -> dict[str, Any]:
    if learner.memory is None:
        raise ResumeError(
            "this trainer does not say what its steps change. Name it in `Learner.memory`, or in "
            "the `memory` of `fit`."
        )
    return {
        "networks": learner.networks,
        "batches": learner.batches,
        "unlabelled": learner.unlabelled,
        "memory": learner.memory,
    }


def _draws(learner: Learner) -> dict[str, Any]:
    """Return the states of the generators that belong to nobody: dropout draws from torch's."""
    device = next(learner.network.parameters()).device
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    }


def _set_draws(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"].cpu())
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])
