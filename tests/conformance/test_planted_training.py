"""What the planted trainings show to an online selector, against autograd and plain loops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, get_args

import pytest
import torch
from torch import Tensor

from nlbench import Dynamics, Observation, OnlineSelector, PluginError, Selection, TrainingData
from nlbench.conformance import Plan, check_selector, planted_clean_labels, planted_data
from nlbench.conformance.harness import Case, case_for, dynamics_for, select
from nlbench.conformance.planted_training import PlantedDynamics, Shown, planted_training

PLAN = Plan(class_counts=(30, 25, 20))
EVERYTHING = Shown(history_epochs=2, observes=get_args(Observation), rounds=3, extra_classes=1)


def kept(data: TrainingData, keep: Tensor, **parts: object) -> Selection:
    return Selection(keep=keep, score=keep.float(), **parts)  # type: ignore[arg-type]


def epochs(shown: Shown = EVERYTHING, n_epochs: int = 3) -> Iterator[PlantedDynamics]:
    return planted_training(planted_data(PLAN), shown, n_epochs=n_epochs)


def test_what_is_not_declared_is_refused() -> None:
    dynamics = next(epochs(Shown(observes=("features",))))
    assert dynamics.features.shape == (75, 32)
    with pytest.raises(PluginError, match="margin history"):
        _ = dynamics.margin_history
    with pytest.raises(PluginError, match="held-out logits"):
        _ = dynamics.held_out_logits


def test_shapes_and_histories() -> None:
    for i, dynamics in enumerate(epochs(), 1):
        rows = (min(i, 2), 75)
        for name in ("training_predictions", "prediction_history", "margin_history"):
            assert getattr(dynamics, name).shape == rows
        assert dynamics.loss_history.shape == rows
        assert dynamics.logits.shape == (75, 3)
        assert dynamics.input_gradients.shape == (75,)
        assert dynamics.held_out_logits.shape == (len(dynamics.held_out_labels), 3)
        assert torch.equal(dynamics.prediction_history[-1], dynamics.logits.argmax(dim=1))
        assert 0 < len(dynamics.held_out_labels) < 25


def test_the_last_layer_on_the_features_gives_logits_and_gradients() -> None:
    """The weights are solved for from features and logits; the rest follows by autograd."""
    shown = Shown(observes=("features", "input gradients"))
    *_, dynamics = epochs(shown, n_epochs=5)
    features, labels = dynamics.features.double(), planted_data(PLAN).noisy_labels
    weights = torch.linalg.lstsq(features, dynamics.logits.double()).solution
    assert (features @ weights).allclose(dynamics.logits.double(), atol=1e-4)
    for i in (0, 40, 74):
        x = features[i : i + 1].clone().requires_grad_()
        torch.nn.functional.cross_entropy(x @ weights, labels[i : i + 1]).backward()
        assert x.grad is not None
        assert float(dynamics.input_gradients[i]) == pytest.approx(float(x.grad.norm()), rel=1e-3)


def test_margins_are_of_the_labels_trained_on_and_only_where_trained() -> None:
    data = planted_data(PLAN)
    keep, labels = torch.arange(75) % 5 != 0, data.noisy_labels.clone()
    labels[:10] = 3  # the extra class
    first = kept(data, keep, labels=labels)
    *_, last = planted_training(data, EVERYTHING, first, n_epochs=30)
    margins, predictions = last.margin_history[-1], last.training_predictions[-1]
    assert torch.equal(margins.isnan(), ~keep)
    assert torch.equal(predictions == -1, ~keep)
    assert torch.equal((margins > 0)[keep], (predictions == labels)[keep])
    clean = planted_clean_labels(PLAN) == data.noisy_labels
    trained = keep & (torch.arange(75) >= 10)
    assert margins[trained & clean].mean() > margins[trained & ~clean].mean()
    assert margins[:10].nanmean() < margins[trained & clean].mean()


def test_a_restart_begins_anew_on_the_answer_that_asked_for_it() -> None:
    data, seen = planted_data(PLAN), []
    half = torch.arange(75) % 2 == 0
    for dynamics in planted_training(data, EVERYTHING, n_epochs=3):
        seen.append((dynamics.round, dynamics.epoch, dynamics.losses, dynamics.previous))
        # The third round may not be left: there is no further one.
        dynamics.tell(kept(data, half, restart=dynamics.epoch == 2))
    assert [(r, e) for r, e, _, _ in seen] == [(r, e) for r in (1, 2) for e in (1, 2)] + [
        (3, 1),
        (3, 2),
        (3, 3),
    ]
    by_round = {(r, e): losses for r, e, losses, _ in seen}
    assert torch.equal(by_round[2, 1], by_round[3, 1])
    assert not torch.equal(by_round[1, 1], by_round[2, 1])
    assert seen[0][3] is None
    assert all(answer is not None and not answer.restart for *_, answer in seen[1:])


def test_all_of_it_follows_a_permutation_of_the_samples() -> None:
    case = Case(planted_data(PLAN), lambda: planted_clean_labels(PLAN))
    order = torch.randperm(75, generator=torch.Generator().manual_seed(0))
    *_, first = planted_training(case.data, EVERYTHING, n_epochs=4)
    *_, moved = planted_training(case.permuted(order).data, EVERYTHING, n_epochs=4)
    for name in ("features", "input_gradients"):
        assert getattr(first, name)[order].allclose(getattr(moved, name), atol=1e-5)
    assert first.margin_history[:, order].allclose(moved.margin_history, atol=1e-5)
    logits = [sorted(map(tuple, d.held_out_logits.tolist())) for d in (first, moved)]
    assert torch.tensor(logits[0]).allclose(torch.tensor(logits[1]), atol=1e-5)


@dataclass(frozen=True)
class InRounds(OnlineSelector):
    """Trains on the small losses of a first round."""

    rounds: ClassVar[int] = 2
    observes: ClassVar[tuple[Observation, ...]] = ("features",)

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        score = -dynamics.losses
        if dynamics.round == 2:
            assert dynamics.previous is not None
            return dynamics.previous
        ends = dynamics.epoch == dynamics.n_epochs
        return Selection(keep=score >= score.median(), score=score, restart=ends)


@dataclass(frozen=True)
class Undeclared(InRounds):
    """Looks at what it does not declare."""

    observes: ClassVar[tuple[Observation, ...]] = ()

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        _ = dynamics.features
        return super().select(data, dynamics)


@dataclass(frozen=True)
class ExtraClass(InRounds):
    """Names a class that it does not declare, until its last round."""

    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        answer = super().select(data, dynamics)
        labels = torch.full_like(data.noisy_labels, data.n_classes)
        return Selection(answer.keep, answer.score, labels, restart=answer.restart)


def test_a_selector_in_rounds_is_checked_to_its_last_round() -> None:
    case = case_for(InRounds)
    answer = select(InRounds, case)
    shown = list(dynamics_for(InRounds, case.data))
    assert torch.equal(answer.score, -shown[-1].losses)
    assert [r.name for r in check_selector(InRounds) if r.status == "failed"] == []


@pytest.mark.parametrize(
    ("selector", "message"),
    [(Undeclared, "observes = \\('features',\\)"), (ExtraClass, "must lie in \\[0, 5\\)")],
)
def test_what_breaks_the_contract_inside_a_round_is_told(
    selector: type[OnlineSelector], message: str
) -> None:
    with pytest.raises(PluginError, match=message):
        select(selector, case_for(selector))
