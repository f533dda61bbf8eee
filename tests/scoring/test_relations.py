"""Ordered neighbours, the relation graph and the robust head against slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from nlbench.scoring import (
    gce_probe_probabilities,
    nearest_neighbours,
    relation,
    relation_reliability,
)


def rows(n: int, d: int, seed: int) -> Tensor:
    drawn = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


def labelled(n: int, n_classes: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return features around a centre a class, and labels, one in five wrong."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(n) % n_classes
    x = rows(n_classes, d, seed + 1)[truth] + 0.6 * rows(n, d, seed + 2)
    wrong = torch.rand(n, generator=generator) < 0.2
    drawn = torch.randint(n_classes, (n,), generator=generator)
    return torch.nn.functional.normalize(x, dim=1), torch.where(wrong, drawn, truth)


# Ordered neighbours ------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), [(300, 7), (300, 299), (40, 100)])
def test_neighbours_are_the_sorted_similarities_without_the_own(n: int, k: int) -> None:
    x = rows(n, 9, seed=0)
    places, similarities = nearest_neighbours(x, k)
    assert places.shape == similarities.shape == (n, min(k, n - 1))
    for i in range(0, n, 17):
        others = [j for j in range(n) if j != i]
        of_others = {j: float(x[i] @ x[j]) for j in others}
        expected = sorted(others, key=lambda j: -of_others[j])[:k]
        assert places[i].tolist() == expected
        assert similarities[i].tolist() == pytest.approx([of_others[j] for j in expected], abs=1e-6)


def test_a_single_sample_has_no_neighbour() -> None:
    places, similarities = nearest_neighbours(torch.eye(1, 3), 5)
    assert places.shape == similarities.shape == (1, 0)


# Relation graph ----------------------------------------------------------------------------------


def slow_reliability(
    x: Tensor, p: Tensor, labels: Tensor, power: int, smallest: float, among: list[int]
) -> list[float]:
    out = []
    for i in range(len(x)):
        total = 0.0
        for j in among:
            strength = max(0.0, float(x[i] @ x[j])) * float(p[i] @ p[j])
            if strength > smallest:
                total += (1 if labels[i] == labels[j] else -1) * strength**power
        out.append(total)
    return out


@pytest.mark.parametrize(("power", "smallest"), [(4, 0.03), (1, 0.0), (2, 0.2)])
def test_reliability_is_the_double_sum(power: int, smallest: float) -> None:
    x, labels = labelled(60, 3, 6, seed=0)
    p = torch.softmax(4 * rows(60, 3, seed=5), dim=1)
    among = torch.arange(60) % 3 != 0
    for chosen in (None, among):
        of = list(range(60)) if chosen is None else among.nonzero().flatten().tolist()
        got = relation_reliability(x, p, labels, power, smallest, chosen)
        expected = slow_reliability(x, p, labels, power, smallest, of)
        assert got.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_tiles_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = labelled(200, 4, 6, seed=1)
    p = torch.softmax(4 * rows(200, 4, seed=5), dim=1)
    whole = relation_reliability(x, p, labels)
    monkeypatch.setattr(relation, "_ROWS", 7)
    monkeypatch.setattr(relation, "_COLUMNS", 11)
    torch.testing.assert_close(relation_reliability(x, p, labels), whole, atol=1e-5, rtol=0)


def test_no_tile_grows_with_the_number_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    clamped = Tensor.clamp_min_

    def watched(self: Tensor, least: float) -> Tensor:
        nonlocal largest
        largest = max(largest, self.numel())
        return clamped(self, least)

    monkeypatch.setattr(Tensor, "clamp_min_", watched)
    n = 6000
    x, labels = labelled(n, 4, 4, seed=1)
    relation_reliability(x, torch.full((n, 4), 0.25), labels)
    assert 0 < largest <= 128 * 4096


# Robust head -------------------------------------------------------------------------------------


def slow_gce(x: Tensor, labels: Tensor, n_classes: int, q: float, c: float) -> np.ndarray:
    """Minimise the loss as it is printed, with numeric slopes of its own making."""
    inputs, y = x.double().numpy(), labels.numpy()
    n, d = inputs.shape

    def probabilities(flat: np.ndarray) -> np.ndarray:
        weights = flat.reshape(n_classes, d + 1)
        logits = inputs @ weights[:, :d].T + weights[:, d]
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def loss(flat: np.ndarray) -> float:
        p = probabilities(flat)[np.arange(n), y]
        weights = flat.reshape(n_classes, d + 1)[:, :d]
        return float(((1 - p**q) / q).sum() + (weights**2).sum() / 2 / c)

    found = minimize(
        loss, np.zeros(n_classes * (d + 1)), method="L-BFGS-B", options={"ftol": 1e-14}
    )
    return probabilities(found.x)


@pytest.mark.parametrize(("q", "c"), [(0.7, 1.0), (0.3, 5.0), (1.0, 1.0)])
def test_robust_head_minimises_the_generalised_cross_entropy(q: float, c: float) -> None:
    x, labels = labelled(90, 3, 4, seed=2)
    got = gce_probe_probabilities(x, labels, 3, q, c)
    assert np.abs(got.numpy() - slow_gce(x, labels, 3, q, c)).max() < 2e-3


def test_robust_head_is_not_the_cross_entropy() -> None:
    from nlbench.scoring import probe_probabilities

    x, labels = labelled(600, 3, 8, seed=3)
    robust, plain = gce_probe_probabilities(x, labels, 3), probe_probabilities(x, labels, 3)
    assert (robust - plain).abs().max() > 0.05


def test_towards_zero_the_robust_head_is_the_cross_entropy_one() -> None:
    from nlbench.scoring import probe_probabilities

    x, labels = labelled(300, 3, 6, seed=4)
    labels = torch.cat([labels[labels == k][:80] for k in range(3)])  # no class weighs more
    x = x[: len(labels)]
    robust = gce_probe_probabilities(x, labels, 3, q=1e-3)
    torch.testing.assert_close(robust, probe_probabilities(x, labels, 3), atol=5e-3, rtol=0)


def test_robust_head_learns_with_many_classes() -> None:
    """At zero weights slopes are K^-q of cross-entropy's: no reason to stop there."""
    labels = torch.arange(2000) % 100
    x = torch.nn.functional.normalize(rows(100, 64, 0)[labels] + 0.3 * rows(2000, 64, 1), dim=1)
    predicted = gce_probe_probabilities(x, labels, 100, c=100.0).argmax(dim=1)
    assert (predicted == labels).float().mean() > 0.9


def test_robust_head_gives_absent_classes_nothing_and_one_class_all() -> None:
    x, labels = labelled(60, 3, 5, seed=5)
    got = gce_probe_probabilities(x, torch.tensor([0, 2, 5])[labels], 7)
    assert got[:, [1, 3, 4, 6]].abs().max() == 0
    torch.testing.assert_close(got.sum(dim=1), torch.ones(60))
    alone = gce_probe_probabilities(x[:3], torch.full((3,), 1), 2)
    assert alone.tolist() == [[0.0, 1.0]] * 3


def test_loss_of_the_head_is_bounded_by_the_formula() -> None:
    """What a wrong label costs at most is 1 / q; cross-entropy has no bound."""
    x, labels = labelled(200, 4, 8, seed=6)
    p = gce_probe_probabilities(x, labels, 4)[torch.arange(200), labels]
    assert float(((1 - p**0.7) / 0.7).max()) <= 1 / 0.7
    assert not math.isnan(float(p.sum()))
