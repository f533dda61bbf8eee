"""HOC against tables that are counted and equations that are solved the slow way."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from nlbench import PluginError
from nlbench.scoring import (
    entropy,
    estimate_noise_rate,
    hoc_transition_matrix,
    knn_probabilities,
    majority_vote,
    nearest_neighbours,
    of_label,
    probe_probabilities,
)
from nlbench.scoring import hoc as hoc_module


def planted(n: int, matrix: Tensor, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return well-separated unit-norm features, noisy labels drawn by `matrix`, clean labels."""
    generator, k = torch.Generator().manual_seed(seed), len(matrix)
    clean = torch.arange(n) % k
    x = torch.eye(k, 16)[clean] + 0.1 * torch.randn(n, 16, generator=generator)
    noisy = torch.multinomial(matrix[clean], 1, generator=generator).squeeze(1)
    return torch.nn.functional.normalize(x, dim=1), noisy, clean


def symmetric(k: int, rate: float) -> Tensor:
    return (1 - rate - rate / (k - 1)) * torch.eye(k) + rate / (k - 1)


def pair(k: int, rate: float) -> Tensor:
    return (1 - rate) * torch.eye(k) + rate * torch.eye(k).roll(1, dims=1)


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4])
def test_the_noise_rate_is_found(k: int, rate: float) -> None:
    x, noisy, clean = planted(2000, symmetric(k, rate))
    realized = float((noisy != clean).double().mean())
    assert estimate_noise_rate(x, noisy, k) == pytest.approx(realized, abs=0.05)


@pytest.mark.parametrize("make", [symmetric, pair])
def test_the_transition_matrix_is_found(make: object) -> None:
    matrix = make(4, 0.3)  # type: ignore[operator]
    x, noisy, _ = planted(10_000, matrix)
    found, prior = hoc_transition_matrix(x, noisy, 4)
    assert (found - matrix).abs().max() < 0.08
    assert (prior - 0.25).abs().max() < 0.05
    assert torch.allclose(found.sum(dim=1), torch.ones(4))
    assert float(prior.sum()) == pytest.approx(1)


def test_nothing_depends_on_the_order_of_the_samples_or_on_global_draws() -> None:
    x, noisy, _ = planted(400, symmetric(4, 0.3))
    state = torch.get_rng_state()
    first = hoc_transition_matrix(x, noisy, 4)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(1)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    for one, other in zip(first, hoc_transition_matrix(x[order], noisy[order], 4), strict=True):
        assert torch.equal(one, other)


def test_the_slope_is_that_of_the_tables_by_autograd() -> None:
    """All K^3 entries, every order within a triple counted alike, and torch's own slope."""
    k, generator = 3, torch.Generator().manual_seed(2)
    triples = torch.randint(k, (40, 3), generator=generator)
    tables = [torch.zeros((k,) * m).double() for m in (1, 2, 3)]
    for a, b, c in triples.tolist():
        tables[0][a] += 1 / 40
        for one, other in ((a, b), (a, c)):
            tables[1][one, other] += 0.25 / 40
            tables[1][other, one] += 0.25 / 40
        for one, other, third in permutations((a, b, c)):
            tables[2][one, other, third] += 1 / 6 / 40
    logits = torch.randn(k * k + k, generator=generator).double().requires_grad_()
    t, p = logits[: k * k].view(k, k).softmax(dim=1), logits[k * k :].softmax(dim=0)
    model = [
        torch.einsum("i,ij->j", p, t),
        torch.einsum("i,ij,il->jl", p, t, t),
        torch.einsum("i,ij,il,im->jlm", p, t, t, t),
    ]
    sum((m - c).square().sum() for m, c in zip(model, tables, strict=True)).backward()  # type: ignore[union-attr]
    pairs = torch.cat([triples[:, [0, 1]], triples[:, [0, 2]]])
    counts = [hoc_module._Counts.of(g) for g in (triples[:, :1], pairs, triples)]
    ours = hoc_module._slope(counts, t.detach(), p.detach())
    assert logits.grad is not None
    assert torch.allclose(ours, logits.grad, atol=1e-12)


def test_absent_classes_have_prior_0_and_keep_their_row() -> None:
    x, noisy, _ = planted(300, symmetric(3, 0.2))
    found, prior = hoc_transition_matrix(x, 2 * noisy, 6)
    small, prior_of_3 = hoc_transition_matrix(x, noisy, 3)
    assert torch.equal(found[::2, ::2], small)
    assert torch.equal(found[1::2], torch.eye(6)[1::2])
    assert torch.equal(prior[::2], prior_of_3)
    assert prior[1::2].tolist() == [0, 0, 0]


def test_one_class_has_no_noise_and_two_samples_have_no_answer() -> None:
    assert estimate_noise_rate(torch.eye(4), torch.zeros(4).long(), 3) == pytest.approx(0, abs=1e-6)
    with pytest.raises(PluginError, match="at least 3 samples, got 2"):
        estimate_noise_rate(torch.eye(2), torch.arange(2), 2)


# Neighbours, answers for other points, votes ------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), [(30, 4), (300, 7), (5, 9)])
def test_nearest_neighbours_by_a_full_sort(n: int, k: int) -> None:
    x, _, _ = planted(n, symmetric(3, 0.0))
    similarity = x.double() @ x.double().T
    similarity.fill_diagonal_(-9)
    expected = similarity.sort(dim=1, descending=True)
    positions, values = nearest_neighbours(x, k)
    width = min(k, n - 1)
    assert torch.equal(positions, expected.indices[:, :width])
    assert torch.allclose(values.double(), expected.values[:, :width], atol=1e-6)


def test_neighbours_of_other_points_by_a_loop() -> None:
    x, noisy, _ = planted(200, symmetric(3, 0.3))
    queries, _, _ = planted(20, symmetric(3, 0.0), seed=9)
    answers = knn_probabilities(x, noisy, 3, k=15, queries=queries)
    prior = torch.bincount(noisy, minlength=3) / 200
    for query, answer in zip(queries, answers, strict=True):
        nearest = (x @ query).argsort(descending=True)[:15]
        weighted = torch.bincount(noisy[nearest], minlength=3) / prior
        assert torch.allclose(answer, weighted / weighted.sum(), atol=1e-6)


def test_other_points_may_be_fewer_than_neighbours_and_see_every_sample() -> None:
    answer = knn_probabilities(
        torch.eye(4), torch.tensor([0, 0, 0, 1]), 2, 9, False, torch.eye(4)[:1]
    )
    assert answer.tolist() == [[0.75, 0.25]]


@pytest.mark.parametrize("n_classes", [3, 5])
def test_a_probe_answers_for_other_points_as_for_its_own(n_classes: int) -> None:
    x, noisy, _ = planted(200, symmetric(3, 0.3))
    own = probe_probabilities(x, noisy, n_classes)
    assert torch.allclose(
        probe_probabilities(x, noisy, n_classes, queries=x[:7]), own[:7], atol=1e-6
    )


def test_a_probe_of_one_class_is_sure_of_it_everywhere() -> None:
    answer = probe_probabilities(torch.eye(4), torch.ones(4).long(), 3, queries=torch.eye(4)[:2])
    assert answer.tolist() == [[0, 1, 0]] * 2


def test_folds_and_other_points_do_not_go_together() -> None:
    with pytest.raises(PluginError, match="`folds` must be None with `queries`, got both"):
        probe_probabilities(
            torch.eye(4), torch.arange(4) % 2, 2, folds=torch.arange(4) % 2, queries=torch.eye(4)
        )


def test_votes_by_a_loop() -> None:
    votes = torch.randint(4, (5, 200), generator=torch.Generator().manual_seed(0))
    winners = majority_vote(votes, 4)
    for column, winner in zip(votes.T.tolist(), winners.tolist(), strict=True):
        most = max(column.count(c) for c in column)
        assert winner == next(c for c in column if column.count(c) == most)


def test_votes_may_be_yes_or_no() -> None:
    votes = torch.tensor([[True, False, True], [False, False, True], [True, True, False]])
    assert majority_vote(votes, 2).tolist() == [1, 0, 1]


def test_entropy_and_entry_of_the_label_by_the_formula() -> None:
    table = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    labels = torch.arange(20) % 4
    assert torch.allclose(entropy(table), -(table * table.log()).sum(dim=1))
    assert of_label(table, labels).tolist() == [table[i, i % 4].item() for i in range(20)]
