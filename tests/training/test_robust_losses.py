"""Losses of ELR, SOP, GCE, JoCoR and CORES2: formulas sample by sample, and their states."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from training_tasks import bright_and_dark, make_task, seeded

from nlbench.errors import ConfigError
from nlbench.plugins.registry import find, make_selector
from nlbench.training.cores2 import Cores2Loss
from nlbench.training.cross_entropy import CrossEntropy
from nlbench.training.elr import Elr
from nlbench.training.gce import Gce
from nlbench.training.jocor import JoCoRLoss
from nlbench.training.sop import Sop
from nlbench.training.task import TrainingBatch

N, K, B = 12, 3, 5
NAMES = ("elr", "sop", "gce", "jocor", "cores2")
Row = list[float]


def make_batch(positions: list[int], epoch: int = 1, n_epochs: int = 100) -> TrainingBatch:
    where = torch.tensor(positions)
    return TrainingBatch(where, epoch, 1, n_epochs, 4, torch.empty(0), where % K)


def make_outputs(m: int = 1, n: int = B, seed: int = 0) -> Tensor:
    return 2 * torch.randn(m, n, K, generator=seeded(seed), dtype=torch.float64)


def softmax(row: Row) -> Row:
    parts = [math.exp(x - max(row)) for x in row]
    return [part / sum(parts) for part in parts]


def numeric_gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Return the derivative of a sum by each entry, by differences."""
    gradient = torch.zeros_like(at)
    for i in range(at.numel()):
        step = torch.zeros_like(at).flatten()
        step[i] = 1e-3
        up, down = at + step.view_as(at), at - step.view_as(at)
        gradient.view(-1)[i] = (function(up).sum() - function(down).sum()) / 2e-3
    return gradient


# ELR ---------------------------------------------------------------------------------------------


def slow_elr(row: Row, label: int, target: Row, beta: float, strength: float) -> tuple[float, Row]:
    p = [min(max(x, 1e-4), 1 - 1e-4) for x in softmax(row)]
    target = [beta * t + (1 - beta) * x / sum(p) for t, x in zip(target, p, strict=True)]
    agreement = sum(t * x for t, x in zip(target, p, strict=True))
    return -math.log(softmax(row)[label]) + strength * math.log(1 - agreement), target


def test_elr_is_the_papers_loss_and_targets_follow_their_samples() -> None:
    trainer = Elr(beta=0.6, strength=2.0)
    state = trainer.make_state(N, K)
    targets = [[0.0] * K for _ in range(N)]
    for step, positions in enumerate([[0, 3, 4, 7, 11], [4, 1, 0, 9, 2], [11, 4, 3, 8, 0]]):
        outputs, batch = make_outputs(seed=step), make_batch(positions)
        losses = trainer.batch_loss(batch, outputs, batch.labels, state)
        for i, position in enumerate(positions):
            expected, targets[position] = slow_elr(
                outputs[0, i].tolist(), position % K, targets[position], 0.6, 2.0
            )
            assert float(losses[0, i]) == pytest.approx(expected, abs=1e-5)
    assert state["target"].tolist() == [pytest.approx(row, abs=1e-6) for row in targets]
    assert state["target"][5].tolist() == [0.0] * K  # never drawn


def test_elrs_target_takes_no_gradient() -> None:
    """The pull is towards a constant: -strength x p_k (t_k - <p, t>) / (1 - <p, t>)."""
    trainer = Elr(beta=0.5, strength=3.0)
    state = trainer.make_state(N, K)
    batch = make_batch([0, 1, 2, 3, 4])
    outputs = make_outputs().float().requires_grad_()
    trainer.batch_loss(batch, outputs, batch.labels, state).sum().backward()
    target = state["target"][batch.positions]

    def with_a_constant(logits: Tensor) -> Tensor:
        p = logits.softmax(dim=2)
        fit = -p[0, torch.arange(B), batch.labels].log()
        return fit + 3.0 * (1 - (p * target).sum(dim=2)).log()

    gradient = numeric_gradient(with_a_constant, outputs.detach().double())
    assert outputs.grad is not None
    torch.testing.assert_close(outputs.grad.double(), gradient, atol=1e-3, rtol=1e-3)


def test_without_a_pull_elr_is_cross_entropy() -> None:
    batch, outputs = make_batch([0, 1, 2, 3, 4]), make_outputs(m=2)
    plain = CrossEntropy().batch_loss(batch, outputs, batch.labels, {})
    trainer = Elr(strength=0)
    state = trainer.make_state(N, K)
    assert torch.equal(trainer.batch_loss(batch, outputs, batch.labels, state), plain)


# SOP ---------------------------------------------------------------------------------------------


def slow_sop(row: Row, label: int, u: float, v: Row) -> float:
    p = softmax(row)
    up = [min(u * u, 1.0) if k == label else 0.0 for k in range(K)]
    down = [0.0 if k == label else min(v[k] * v[k], 1.0) for k in range(K)]
    explained = [max(p[k] + up[k] - down[k], 1e-4) for k in range(K)]
    fit = -math.log(max(explained[label] / sum(explained), 1e-4))
    predicted = p.index(max(p))
    return fit + sum(((k == predicted) + up[k] - down[k] - (k == label)) ** 2 for k in range(K))


@pytest.mark.parametrize("scale", [1e-8, 0.3, 2.0])
def test_sop_is_the_released_loss(scale: float) -> None:
    trainer = Sop()
    state = {
        "u": scale * torch.randn(N, 1, generator=seeded(1), dtype=torch.float64),
        "v": scale * torch.randn(N, K, generator=seeded(2), dtype=torch.float64),
    }
    batch, outputs = make_batch([3, 0, 8, 11, 4]), make_outputs(m=2)
    losses = trainer.batch_loss(batch, outputs, batch.labels, state)
    for m in range(2):
        for i, position in enumerate(batch.positions.tolist()):
            u, v = float(state["u"][position]), state["v"][position].tolist()
            expected = slow_sop(outputs[m, i].tolist(), position % K, u, v)
            assert float(losses[m, i]) == pytest.approx(expected, rel=1e-5)


def test_sops_v_learns_from_the_distance_alone() -> None:
    """The fit sees v as a constant, so its gradient is that of the squared distance."""
    trainer = Sop()
    state = {"u": torch.full((N, 1), 0.5), "v": torch.full((N, K), 0.5, requires_grad=True)}
    batch = make_batch([0])
    outputs = torch.tensor([[[0.0, 4.0, 0.0]]])  # predicts 1, the label is 0
    trainer.batch_loss(batch, outputs, batch.labels, state).sum().backward()
    # d/dv (predicted_k - v*v)^2 = -4 v (predicted_k - v*v)
    assert state["v"].grad is not None
    assert state["v"].grad[0].tolist() == pytest.approx([0.0, -4 * 0.5 * 0.75, 4 * 0.5 * 0.25])
    assert not bool(state["v"].grad[1:].any())


def test_sop_starts_near_zero_and_the_rates_are_its_own() -> None:
    trainer = Sop(lr_u=3.0, lr_v=7.0)
    state = trainer.make_state(4000, 5)
    assert (state["u"].shape, state["v"].shape) == ((4000, 1), (4000, 5))
    for values in state.values():
        assert float(values.std()) == pytest.approx(1e-8, rel=0.05)
        assert bool((values != 0).all())
    assert torch.equal(state["v"], trainer.make_state(4000, 5)["v"])
    rates = [group["lr"] for group in trainer.extra_parameters(state)]
    assert rates == [3.0, 7.0]


def test_sops_parameters_end_up_on_wrong_labels() -> None:
    images, labels = bright_and_dark(64, seed=1)
    noisy = labels.clone()
    noisy[:8] = 1 - noisy[:8]
    states: list[dict[str, Tensor]] = []

    class Spy(Sop):
        def make_state(self, n: int, k: int) -> dict[str, Tensor]:
            states.append(super().make_state(n, k))
            return states[-1]

    task = make_task(64, images=images, noisy_labels=noisy)
    Spy(epochs=50, batch_size=16, augmentation="none", lr_u=10.0, lr_v=10.0).train(task)
    u = states[0]["u"].detach().square().flatten()
    assert float(u[:8].median()) > 100 * float(u[8:].median())


# GCE ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_gce_is_a_power_of_the_labels_probability(q: float) -> None:
    batch, outputs = make_batch([0, 1, 2, 3, 4]), make_outputs(m=2)
    losses = Gce(q=q).batch_loss(batch, outputs, batch.labels, {})
    for m in range(2):
        for i in range(B):
            p = softmax(outputs[m, i].tolist())[i % K]
            assert float(losses[m, i]) == pytest.approx((1 - p**q) / q, abs=1e-6)


def test_gce_goes_from_cross_entropy_to_the_absolute_error() -> None:
    batch, outputs = make_batch([0, 1, 2, 3, 4]), make_outputs()
    plain = CrossEntropy().batch_loss(batch, outputs, batch.labels, {})
    almost = Gce(q=1e-4).batch_loss(batch, outputs.double(), batch.labels, {})
    torch.testing.assert_close(almost.double(), plain, rtol=5e-3, atol=5e-3)
    sure_of_another = torch.tensor([[[-200.0, 200.0, 0.0]]], requires_grad=True)
    loss = Gce().batch_loss(make_batch([0]), sure_of_another, torch.tensor([0]), {})
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(1 / 0.7)
    assert sure_of_another.grad is not None
    assert sure_of_another.grad.tolist() == [[[0.0, 0.0, 0.0]]]  # not NaN


# JoCoR -------------------------------------------------------------------------------------------


def slow_jocor(one: Row, other: Row, label: int, agreement: float) -> float:
    p, q = softmax(one), softmax(other)
    fit = -math.log(p[label]) - math.log(q[label])
    apart = sum(a * math.log(a / b) + b * math.log(b / a) for a, b in zip(p, q, strict=True))
    return (1 - agreement) * fit + agreement * apart


@pytest.mark.parametrize("agreement", [0.0, 0.1, 0.9])
def test_both_rows_are_jocors_joint_loss_and_their_sum_has_its_gradient(agreement: float) -> None:
    batch, outputs = make_batch([0, 1, 2, 3, 4]), make_outputs(m=2).float().requires_grad_()
    losses = JoCoRLoss(agreement=agreement).batch_loss(batch, outputs, batch.labels, {})
    rows = outputs.tolist()
    expected = [slow_jocor(rows[0][i], rows[1][i], i % K, agreement) for i in range(B)]
    assert losses.tolist() == [pytest.approx(expected, abs=1e-5)] * 2

    def joint(logits: Tensor) -> Tensor:
        each = logits.tolist()
        pairs = zip(*each, strict=True)
        return torch.tensor(
            [slow_jocor(a, b, i % K, agreement) for i, (a, b) in enumerate(pairs)],
            dtype=torch.float64,
        )

    losses.sum().backward()
    assert outputs.grad is not None
    gradient = numeric_gradient(joint, outputs.detach().double())
    torch.testing.assert_close(outputs.grad.double(), gradient, atol=1e-3, rtol=1e-3)


def test_a_row_of_jocor_teaches_its_own_network_only() -> None:
    batch, outputs = make_batch([0, 1, 2, 3, 4]), make_outputs(m=2).requires_grad_()
    JoCoRLoss().batch_loss(batch, outputs, batch.labels, {})[0].sum().backward()
    assert outputs.grad is not None
    assert bool(outputs.grad[0].any())
    assert not bool(outputs.grad[1].any())


# CORES2 ------------------------------------------------------------------------------------------


def released_beta() -> Row:
    """The schedule of the released loss.py: 100 epochs, the first one 0."""
    parts = (np.linspace(0, 0, 10), np.linspace(0, 2, 30), np.linspace(2, 2, 60))
    return np.concatenate(parts).tolist()  # type: ignore[no-any-return]


def test_beta_is_that_of_the_released_code() -> None:
    trainer = Cores2Loss()
    assert [trainer.beta_at(e, 100) for e in range(1, 101)] == pytest.approx(released_beta())
    # A longer training has the same epochs, a shorter one the same shares of it.
    assert [trainer.beta_at(e, 300) for e in range(1, 101)] == pytest.approx(released_beta())
    assert [trainer.beta_at(e, 50) for e in range(1, 51)] == pytest.approx(released_beta()[::2])
    assert [trainer.beta_at(e, 1) for e in (1,)] == [0.0]
    other = Cores2Loss(beta=4.0, warmup_epochs=0, ramp_epochs=1)
    assert [other.beta_at(e, 100) for e in (1, 2, 3)] == [0.0, 4.0, 4.0]


def test_the_rate_is_divided_by_one_plus_beta() -> None:
    trainer, plain, steps = Cores2Loss(epochs=100), CrossEntropy(epochs=100), 7
    for done in range(100 * steps):
        expected = plain.lr_factor(done, 100 * steps) / (1 + released_beta()[done // steps])
        assert trainer.lr_factor(done, 100 * steps) == pytest.approx(expected)


@pytest.mark.parametrize("prior", ["labels", "uniform"])
@pytest.mark.parametrize("epoch", [1, 20, 60])
def test_cores2_takes_the_loss_on_all_classes_off(prior: Any, epoch: int) -> None:
    trainer = Cores2Loss(prior=prior)
    state = trainer.make_state(N, K)
    earlier = make_batch([1, 4, 7, 10, 2])
    trainer.batch_loss(earlier, make_outputs(seed=5), earlier.labels, state)
    batch, outputs = make_batch([0, 1, 2, 3, 4], epoch), make_outputs(m=2)
    losses = trainer.batch_loss(batch, outputs, batch.labels, state)
    seen = [i % K for i in {1, 4, 7, 10, 2, 0, 3}]  # each sample once
    shares = [seen.count(k) / len(seen) if prior == "labels" else 1 / K for k in range(K)]
    beta = released_beta()[epoch - 1]
    for m in range(2):
        for i in range(B):
            p = softmax(outputs[m, i].tolist())
            mean = sum(s * -math.log(x + 1e-8) for s, x in zip(shares, p, strict=True))
            expected = -math.log(p[i % K]) - beta * mean
            assert float(losses[m, i]) == pytest.approx(expected, abs=1e-5)


# All of them -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_they_learn_are_repeatable_and_finite(name: str) -> None:
    cls = find("trainers", name).load()
    trainer = cls(epochs=6, batch_size=16, augmentation="none")
    first, again = trainer.train(make_task()), trainer.train(make_task())
    assert first.curves == again.curves
    assert max(a for a in first.curves["test_accuracy"] if a is not None) > 0.9
    assert None not in first.curves["train_loss"]
    assert ("ensemble_test_accuracy" in first.curves) == (name == "jocor")


@pytest.mark.parametrize("name", NAMES)
def test_logits_without_bound_stay_finite(name: str) -> None:
    trainer = find("trainers", name).load()()
    outputs = 300 * make_outputs(m=2).float()
    outputs.requires_grad_()
    batch = make_batch([0, 1, 2, 3, 4], epoch=60)
    losses = trainer.batch_loss(batch, outputs, batch.labels, trainer.make_state(N, K))
    losses.sum().backward()
    assert bool(torch.isfinite(losses).all())
    assert outputs.grad is not None
    assert bool(torch.isfinite(outputs.grad).all())


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_half_precision_cost_no_more_than_their_rounding(name: str) -> None:
    """On a GPU the networks answer in bfloat16."""
    trainer = find("trainers", name).load()()
    half = make_outputs(m=2).to(torch.bfloat16)
    batch = make_batch([0, 1, 2, 3, 4], epoch=60)
    losses = []
    for outputs in (half, half.float()):
        with torch.autocast("cpu", torch.bfloat16):
            state = trainer.make_state(N, K)
            losses.append(trainer.batch_loss(batch, outputs, batch.labels, state))
    assert losses[0].dtype == torch.float32
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)


def test_which_of_them_are_methods_without_a_selector() -> None:
    methods = {name: find("trainers", name).load().is_method for name in NAMES}
    assert methods == {"elr": True, "sop": True, "gce": True, "jocor": False, "cores2": False}


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("elr", "beta", 1.0),
        ("elr", "strength", -1),
        ("sop", "lr_u", -1),
        ("gce", "q", 0),
        ("gce", "q", 1.5),
        ("jocor", "agreement", 1.1),
        ("cores2", "prior", "others"),
        ("cores2", "ramp_epochs", 0),
    ],
)
def test_settings_out_of_range(name: str, key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=key):
        make_selector(find("trainers", name).load(), {key: value}, name=name, kind="trainers")
