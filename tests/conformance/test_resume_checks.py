"""The checks that take a component up in mid-training find what would not go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch

from nlbench import Batch, BatchSelector, Dynamics, OnlineSelector, Selection, TrainingData
from nlbench.conformance import check_selector
from nlbench.conformance.by_kind import check_trainer
from nlbench.training.cross_entropy import CrossEntropy
from nlbench.training.task import Trainer, TrainingOutcome, TrainingTask

# Weak keys: the `id` of a selector that is gone is given to the next one, which would go on with
# what it remembered.
ELSEWHERE: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


@dataclass(eq=False)
class InAModule(OnlineSelector):
    """Remembers where nobody looks."""

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        n_seen, total = ELSEWHERE.get(self, (0, torch.zeros_like(dynamics.losses)))
        ELSEWHERE[self] = n_seen + 1, total + dynamics.losses
        score = -ELSEWHERE[self][1]
        return Selection(keep=score >= score.median(), score=score)


@dataclass
class InAttributes(OnlineSelector):
    """The same, remembered where it is seen."""

    total: Any = field(default=0.0, init=False)

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        self.total = self.total + dynamics.losses
        return Selection(keep=-self.total >= -self.total.median(), score=-self.total)


@dataclass
class InAnIterator(OnlineSelector):
    """Remembers what cannot be saved."""

    steps: Any = field(default_factory=lambda: iter(range(1000)), init=False)

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        score = -dynamics.losses + next(self.steps)
        return Selection(keep=score >= score.median(), score=score)


@dataclass(eq=False)
class BatchesInAModule(BatchSelector):
    """Remembers batches where nobody looks."""

    def choose(
        self, data: TrainingData, batch: Batch, losses: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        n = ELSEWHERE[self] = ELSEWHERE.get(self, 0) + 1
        return (losses < losses.median() * (1 + n / 20)).float()


def message(selector: type[Any]) -> str:
    (result,) = check_selector(selector, only=["resumed-in-mid-training"])
    return result.message


def test_what_is_remembered_in_attributes_goes_on() -> None:
    assert message(InAttributes) == ""


def test_what_is_remembered_elsewhere_is_found() -> None:
    assert "another keep in answer 2" in message(InAModule)
    assert "another" in message(BatchesInAModule)


def test_what_cannot_be_saved_is_named() -> None:
    assert "['steps'] cannot be saved: it is range_iterator" in message(InAnIterator)


@dataclass(frozen=True)
class OwnChoice(CrossEntropy):
    """Chooses by a counter in a closure, of which it says nothing."""

    def train(self, task: TrainingTask) -> TrainingOutcome:
        calls: list[int] = []

        def refine(epoch: int, selection: Selection, logits: Any) -> Selection:
            calls.append(epoch)
            keep = torch.arange(len(selection.keep)) % (1 + len(calls) % 5) == 0
            return Selection(keep=keep, score=selection.score)

        return self.fit(task, lambda index: refine, self.memory_of(calls))

    def memory_of(self, calls: list[int]) -> dict[str, Any] | None:
        return None


@dataclass(frozen=True)
class OwnChoiceForgotten(OwnChoice):
    """Says that it keeps nothing."""

    def memory_of(self, calls: list[int]) -> dict[str, Any] | None:
        return {}


@dataclass(frozen=True)
class OwnLoop(Trainer):
    """Tells nobody of its epochs."""

    def train(self, task: TrainingTask) -> TrainingOutcome:
        return TrainingOutcome(selection=task.selection)


def trainer_message(trainer: type[Trainer]) -> str:
    (result,) = check_trainer(trainer, only=["trainer-resumes"])
    return result.message


def test_trainers_that_would_not_go_on_are_found() -> None:
    assert trainer_message(CrossEntropy) == ""
    assert "the `memory` of `fit`" in trainer_message(OwnChoice)
    assert "other curves or predictions" in trainer_message(OwnChoiceForgotten)
    assert "must tell `task.checkpoints`" in trainer_message(OwnLoop)
