"""Mixup and label smoothing: what they minimise, and that only the loss differs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn
from training_tasks import make_task, seeded

from nlbench.errors import ConfigError
from nlbench.plugins.registry import find, make_selector
from nlbench.training.cross_entropy import CrossEntropy
from nlbench.training.label_smoothing import LabelSmoothing
from nlbench.training.mixup import Mixup, draw_mix, mix, mixup_loss

TRAINERS = ("cross-entropy", "label-smoothing", "mixup", "mixfix")


def slow_mix(batch: list[float], partners: list[int], share: float) -> list[float]:
    return [share * x + (1 - share) * batch[j] for x, j in zip(batch, partners, strict=True)]


@given(
    batch=st.lists(st.floats(-5, 5), min_size=1, max_size=12),
    share=st.floats(0.5, 1),
    data=st.data(),
)
def test_mixing_is_the_weighted_mean(batch: list[float], share: float, data: Any) -> None:
    partners = data.draw(st.permutations(range(len(batch))))
    mixed = mix(torch.tensor(batch, dtype=torch.float64), torch.tensor(partners), share)
    assert mixed.tolist() == pytest.approx(slow_mix(batch, partners, share), abs=1e-9)


def slow_mixup_loss(
    logits: Tensor, labels: Tensor, partners: Tensor, share: float, n_classes: int
) -> float:
    """Cross-entropy against mixed one-hot targets, sample by sample."""
    total = 0.0
    for i, row in enumerate(logits.double()):
        target = [0.0] * n_classes
        target[int(labels[i])] += share
        target[int(labels[partners[i]])] += 1 - share
        logs = row.log_softmax(dim=0).tolist()
        total -= sum(t * log for t, log in zip(target, logs, strict=True))
    return total / len(logits)


def test_the_loss_is_that_against_mixed_targets() -> None:
    batch = torch.randn(9, 5, generator=seeded(1))
    labels = torch.randint(0, 3, (9,), generator=seeded(2))
    network = nn.Linear(5, 3)
    loss = mixup_loss(network, batch, labels, beta=1.0, draws=seeded(3))
    share, partners = draw_mix(9, 1.0, seeded(3))
    rows = torch.stack([share * x + (1 - share) * batch[j] for x, j in zip(batch, partners)])  # noqa: B905
    expected = slow_mixup_loss(network(rows).detach(), labels, partners, share, 3)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("beta", [0.2, 0.5, 1.0, 4.0])
def test_lambda_follows_the_folded_beta_distribution(beta: float) -> None:
    generator = seeded(4)
    shares = [draw_mix(1, beta, generator)[0] for _ in range(2000)]
    assert min(shares) >= 0.5
    folded = 2 * stats.beta(beta, beta).cdf(shares) - 1
    assert stats.kstest(folded, "uniform").pvalue > 0.001


def test_partners_are_a_permutation_of_the_generator_alone() -> None:
    before = torch.get_rng_state()
    share, partners = draw_mix(50, 1.0, seeded(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert sorted(partners.tolist()) == list(range(50))
    again = draw_mix(50, 1.0, seeded(1))
    assert (again[0], again[1].tolist()) == (share, partners.tolist())
    assert draw_mix(50, 1.0, seeded(2))[0] != share


def test_smoothed_labels_share_with_all_classes() -> None:
    logits = torch.randn(6, 4, generator=seeded(1), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    trainer = LabelSmoothing(smoothing=0.2)
    loss = trainer.loss(nn.Identity(), logits, labels, seeded())
    logs = logits.log_softmax(dim=1)
    rows = [0.8 * float(logs[i, y]) + 0.2 * float(logs[i].mean()) for i, y in enumerate(labels)]
    assert float(loss) == pytest.approx(-sum(rows) / 6)
    plain = CrossEntropy().loss(nn.Identity(), logits, labels, seeded())
    assert float(
        LabelSmoothing(smoothing=0).loss(nn.Identity(), logits, labels, seeded())
    ) == float(plain)


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_learns_and_is_repeatable(name: str) -> None:
    cls = find("trainers", name).load()
    trainer = cls(epochs=6, batch_size=16, lr=0.05, network="small-cnn", augmentation="none")
    first = trainer.train(make_task())
    torch.manual_seed(5)
    again = trainer.train(make_task())
    assert first.curves == again.curves
    assert first.n_steps == 6 * 8
    assert max(a for a in first.curves["test_accuracy"] if a is not None) > 0.9
    assert trainer.train(make_task(seed=1)).curves != first.curves


def test_dropout_is_repeatable_and_leaves_the_global_generator_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dropping(*_: Any) -> nn.Module:
        linear = nn.utils.skip_init(nn.Linear, 64, 2)
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), linear)

    monkeypatch.setattr("nlbench.training.sgd.make_network", dropping)
    losses = []
    for other in (1, 2):
        torch.manual_seed(other)
        task = make_task()
        before = torch.get_rng_state()
        trainer = CrossEntropy(epochs=2, batch_size=16, augmentation="none")
        losses.append(trainer.train(task).curves["train_loss"])
        assert torch.equal(torch.get_rng_state(), before)
    assert losses[0] == losses[1]
    assert trainer.train(make_task(seed=1)).curves["train_loss"] != losses[0]


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_has_the_settings_that_the_runner_reads(name: str) -> None:
    cls = find("trainers", name).load()
    made: Any = make_selector(cls, {"epochs": 7}, name=name, kind="trainers")
    assert made.epochs == 7
    with pytest.raises(ConfigError, match="'epochs'"):
        make_selector(cls, {"epochs": 0}, name=name, kind="trainers")


def test_trainers_see_the_same_batches_from_the_same_first_weights() -> None:
    """Comparing them compares losses, not luck."""
    seen: dict[type, tuple[list[Tensor], Tensor]] = {}

    def spy(cls: Any) -> None:
        batches: list[Tensor] = []

        class Spy(cls):  # type: ignore[misc]
            def loss(self, network: Any, batch: Tensor, labels: Tensor, draws: Any) -> Tensor:
                note(network, batch)
                return super().loss(network, batch, labels, draws)  # type: ignore[no-any-return]

            def outputs(self, batch: Any) -> Tensor:
                note(batch.networks[0], batch.images)
                return super().outputs(batch)  # type: ignore[no-any-return]

        def note(network: Any, images: Tensor) -> None:
            if not batches:
                seen[cls] = (batches, copy.deepcopy(network.head.weight.detach()))
            batches.append(images.clone())

        Spy(epochs=2, batch_size=32, augmentation="randaugment").train(make_task())

    for cls in (CrossEntropy, LabelSmoothing, Mixup):
        spy(cls)
    batches, weight = seen[CrossEntropy]
    for other, other_weight in (seen[LabelSmoothing], seen[Mixup]):
        assert torch.equal(weight, other_weight)
        assert all(torch.equal(a, b) for a, b in zip(batches, other, strict=True))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("mixup", "beta", 0),
        ("label-smoothing", "smoothing", 1.0),
        ("mixfix", "theta_r", 1.5),
        ("mixfix", "theta_r2", -0.1),
        ("mixfix", "milestones", [0.0]),
    ],
)
def test_settings_out_of_range(name: str, key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=key):
        make_selector(find("trainers", name).load(), {key: value}, name=name, kind="trainers")
