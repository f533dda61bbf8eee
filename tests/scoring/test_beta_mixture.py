"""The beta mixture against scipy's densities, sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import beta

from nlbench import PluginError
from nlbench.scoring import bmm_posterior


def counts(seed: int = 0, n: int = 400, n_epochs: int = 10, rate: float = 0.4) -> torch.Tensor:
    """Return minus the number of mispredictions of clean and wrong samples."""
    rng = np.random.default_rng(seed)
    p = np.where(rng.random(n) < rate, rng.beta(8, 1.5, n), rng.beta(1.2, 5, n))
    return -torch.from_numpy(rng.binomial(n_epochs, p).astype(np.float64))


def slow_posterior(score: list[float], n_iter: int) -> list[float]:
    """EM step by step, one sample at a time, with scipy's density."""
    low, high, edge = min(score), max(score), 1e-6
    xs = [edge + (1 - 2 * edge) * (s - low) / (high - low) for s in score]
    a, b, w = [1.0, 2.0], [2.0, 1.0], [0.5, 0.5]

    def upper(x: float) -> float:
        parts = [w[k] * beta.pdf(x, a[k], b[k]) for k in (0, 1)]
        return float(parts[1] / (parts[0] + parts[1]))

    for _ in range(n_iter):
        shares = [upper(x) for x in xs]
        for k in (0, 1):
            own = [s if k else 1 - s for s in shares]
            mean = sum(o * x for o, x in zip(own, xs, strict=True)) / sum(own)
            variance = sum(o * (x - mean) ** 2 for o, x in zip(own, xs, strict=True)) / sum(own)
            n_equivalent = mean * (1 - mean) / variance - 1
            a[k], b[k] = mean * n_equivalent, (1 - mean) * n_equivalent
        b[0] = 1.1 if b[0] < 1.02 else b[0]
        a[1] = 1.1 if a[1] < 1.02 else a[1]
        w = [1 - sum(shares) / len(xs), sum(shares) / len(xs)]
    return [upper(x) for x in xs]


@pytest.mark.parametrize(("seed", "rate"), [(0, 0.2), (1, 0.4), (2, 0.6)])
@pytest.mark.parametrize("n_iter", [0, 1, 20])
def test_it_equals_a_slow_one(seed: int, rate: float, n_iter: int) -> None:
    score = counts(seed, n=120, rate=rate)
    expected = slow_posterior(score.tolist(), n_iter)
    assert bmm_posterior(score, n_iter).numpy() == pytest.approx(np.array(expected), abs=2e-5)


def test_counts_that_pile_up_at_both_ends_are_told_apart() -> None:
    rng = np.random.default_rng(3)
    wrong = torch.from_numpy(rng.random(1000) < 0.4)
    p = torch.where(wrong, 0.95, 0.05).numpy()
    score = -torch.from_numpy(rng.binomial(10, p).astype(np.float32))
    keep = bmm_posterior(score) > 0.5
    assert float((keep == ~wrong).double().mean()) > 0.99


def test_equal_scores_have_equal_posteriors_in_any_order() -> None:
    score = counts()
    order = torch.randperm(len(score), generator=torch.Generator().manual_seed(0))
    posterior = bmm_posterior(score)
    assert bmm_posterior(score[order]).allclose(posterior[order], atol=1e-9)
    for value in score.unique():
        assert len(posterior[score == value].unique()) == 1


@pytest.mark.parametrize("score", [[2.0] * 9, [1.0, 2.0, 3.0]])
def test_nothing_to_tell_apart_is_all_clean(score: list[float]) -> None:
    assert bmm_posterior(torch.tensor(score)).tolist() == [1.0] * len(score)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(PluginError, match="finite"):
        bmm_posterior(torch.tensor([0.0, 1.0, torch.nan, 2.0]))
