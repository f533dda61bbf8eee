"""The scoring toolbox against slow references: loops and formulas as the papers print them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from torch import Tensor

from nlbench import PluginError, scoring
from nlbench.scoring import (
    consistency,
    gmm_posterior,
    gmm_posterior_per_class,
    keep_highest,
    keep_highest_per_class,
    knn_probabilities,
    log_probability,
    margin,
    min_max_normalise,
    min_max_normalise_per_class,
    probe_probabilities,
    stratified_folds,
    zero_shot_probabilities,
)
from nlbench.scoring.mixture import two_means


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit_rows(n: int, d: int, seed: int) -> Tensor:
    rows = torch.randn(n, d, generator=generator(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1)


def random_labels(n: int, n_classes: int, seed: int) -> Tensor:
    return torch.randint(n_classes, (n,), generator=generator(seed))


def clusters(n: int, n_classes: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return unit-norm features around one centre a class, and labels, one in five wrong."""
    truth = random_labels(n, n_classes, seed)
    rows = unit_rows(n_classes, d, seed + 1)[truth] + 0.8 * unit_rows(n, d, seed + 2)
    wrong = torch.rand(n, generator=generator(seed + 3)) < 0.2
    labels = torch.where(wrong, random_labels(n, n_classes, seed + 4), truth)
    return torch.nn.functional.normalize(rows, dim=1).float(), labels


def test_the_toolbox_is_complete() -> None:
    assert sorted(scoring.__all__) == scoring.__all__
    assert all(callable(getattr(scoring, name)) for name in scoring.__all__ if name != "VERSION")
    assert isinstance(scoring.VERSION, int)


# Zero-shot -------------------------------------------------------------------------------------


def slow_zero_shot(
    image: list[float], texts: list[list[list[float]]], temperature: float, reduction: str
) -> list[float]:
    scores = []
    for prompts in texts:
        terms = [
            math.exp(sum(a * b for a, b in zip(image, prompt, strict=True)) / temperature)
            for prompt in prompts
        ]
        scores.append(sum(terms) / (len(terms) if reduction == "mean" else 1))
    return [score / sum(scores) for score in scores]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
def test_zero_shot_is_the_formula(temperature: float, reduction: str) -> None:
    images = unit_rows(20, 8, seed=0)
    texts = [unit_rows(n_prompts, 8, seed=n_prompts) for n_prompts in (1, 5, 3)]
    got = zero_shot_probabilities(images, texts, temperature, reduction)  # type: ignore[arg-type]
    as_lists = [t.tolist() for t in texts]
    expected = [slow_zero_shot(i, as_lists, temperature, reduction) for i in images.tolist()]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_zero_shot_is_stable_at_the_temperature_of_clip() -> None:
    images = torch.eye(3)
    texts = [torch.eye(3)[k : k + 1].repeat(k + 1, 1) for k in range(3)]
    assert torch.isinf(torch.exp(torch.tensor(1 / 0.01)))
    got = zero_shot_probabilities(images, texts, temperature=0.01)
    torch.testing.assert_close(got, torch.eye(3))


def test_mean_does_not_favour_the_class_with_more_prompts_and_sum_does() -> None:
    image, text = unit_rows(1, 4, seed=0), unit_rows(1, 4, seed=1)
    texts = [text, text.repeat(3, 1)]
    mean = zero_shot_probabilities(image, texts)
    total = zero_shot_probabilities(image, texts, reduction="sum")
    assert mean[0].tolist() == pytest.approx([0.5, 0.5])
    assert total[0].tolist() == pytest.approx([0.25, 0.75])


# Logistic probe --------------------------------------------------------------------------------


def slow_probe(x: Tensor, y: Tensor, n_classes: int, c: float, asked: Tensor) -> Tensor:
    """Minimise the class-balanced, L2-penalised cross-entropy directly; classes all present."""
    rows, labels = x.double().numpy(), y.numpy()
    n, d = rows.shape
    balance = n / (n_classes * np.bincount(labels, minlength=n_classes))[labels]

    def probabilities(flat: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        weights = flat.reshape(n_classes, d + 1)
        logits = inputs @ weights[:, :d].T + weights[:, d]
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, p = flat.reshape(n_classes, d + 1), probabilities(flat, rows)
        value = -(balance * np.log(p[np.arange(n), labels])).sum()
        error = balance[:, None] * (p - np.eye(n_classes)[labels])
        slope = np.hstack([error.T @ rows + weights[:, :d] / c, error.sum(axis=0)[:, None]])
        return value + (weights[:, :d] ** 2).sum() / 2 / c, slope.ravel()

    start, tight = np.zeros(n_classes * (d + 1)), {"gtol": 1e-7, "ftol": 1e-14}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=tight)
    return torch.from_numpy(probabilities(found.x, asked.double().numpy())).float()


@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
def test_probe_is_balanced_multinomial_regression(c: float) -> None:
    x, y = clusters(150, 3, 6, seed=0)
    y[:100][y[:100] == 2] = 0  # unequal classes, so that the balance shows
    got = probe_probabilities(x, y, 3, c=c)
    torch.testing.assert_close(got, slow_probe(x, y, 3, c, asked=x), atol=2e-3, rtol=0)


def test_probe_of_two_classes_is_the_single_logit_of_scikit_learn() -> None:
    x, y = clusters(300, 2, 6, seed=3)
    solved = LogisticRegression(class_weight="balanced", tol=1e-9, max_iter=5000)
    expected = solved.fit(x.double().numpy(), y.numpy()).predict_proba(x.double().numpy())
    got = probe_probabilities(x, y, 2)
    torch.testing.assert_close(got, torch.from_numpy(expected).float(), atol=2e-4, rtol=0)


def test_probe_sees_past_what_all_embeddings_share() -> None:
    """A common direction, as CLIP's embeddings have, neither slows nor moves the answer."""
    x, y = clusters(400, 4, 16, seed=4)
    x = torch.nn.functional.normalize(x + 3 * unit_rows(1, 16, seed=5).float(), dim=1)
    solved = LogisticRegression(class_weight="balanced", tol=1e-9, max_iter=5000)
    expected = solved.fit(x.double().numpy(), y.numpy()).predict_proba(x.double().numpy())
    got = probe_probabilities(x, y, 4)
    torch.testing.assert_close(got, torch.from_numpy(expected).float(), atol=2e-4, rtol=0)


def test_probe_gives_absent_classes_probability_zero_and_rows_sum_to_one() -> None:
    x, y = clusters(120, 3, 6, seed=1)
    got = probe_probabilities(x, torch.tensor([0, 2, 5])[y], n_classes=7)
    assert got[:, [1, 3, 4, 6]].abs().max() == 0
    torch.testing.assert_close(got.sum(dim=1), torch.ones(120))


def test_probe_with_one_class_is_certain() -> None:
    got = probe_probabilities(unit_rows(4, 3, seed=0).float(), torch.full((4,), 2), n_classes=3)
    assert got.tolist() == [[0, 0, 1]] * 4


def test_cross_fitted_probe_does_not_see_its_own_fold() -> None:
    """Labels inside a fold do not move that fold's probabilities; labels outside do."""
    x, y = clusters(200, 4, 8, seed=2)
    folds = stratified_folds(y, torch.rand(200, generator=generator(0)), 5)
    before = probe_probabilities(x, y, 4, folds=folds)
    for fold in range(5):
        changed = y.clone()
        inside = folds == fold
        changed[inside] = (changed[inside] + 1) % 4
        after = probe_probabilities(x, changed, 4, folds=folds)
        assert torch.equal(after[inside], before[inside])
        assert (after[~inside] - before[~inside]).abs().max() > 0.01


def test_cross_fitted_probe_is_fitted_on_the_other_folds() -> None:
    x, y = clusters(120, 3, 6, seed=3)
    folds = torch.arange(120) % 3
    got = probe_probabilities(x, y, 3, folds=folds)
    for fold in range(3):
        fit, held_out = folds != fold, folds == fold
        expected = slow_probe(x[fit], y[fit], 3, 1.0, asked=x[held_out])
        torch.testing.assert_close(got[held_out], expected, atol=2e-3, rtol=0)
    assert (got - probe_probabilities(x, y, 3)).abs().max() > 0.01


def test_cross_fitting_so_few_samples_that_one_fold_holds_them_all_is_no_crash() -> None:
    """One sample a class: dealing class by class puts all of them into fold 0."""
    x, y = torch.eye(3), torch.arange(3)
    got = probe_probabilities(x, y, 3, folds=stratified_folds(y, torch.rand(3), 5))
    assert got.shape == (3, 3)
    assert torch.isfinite(got).all()


# Folds -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(2, 6), st.integers(0, 99))
def test_folds_are_balanced_within_every_class(labels: list[int], n_folds: int, seed: int) -> None:
    y = torch.tensor(labels)
    folds = stratified_folds(y, torch.rand(len(y), generator=generator(seed)), n_folds)
    assert folds.min() >= 0
    assert folds.max() < n_folds
    for label in set(labels):
        sizes = [int(((y == label) & (folds == fold)).sum()) for fold in range(n_folds)]
        assert max(sizes) - min(sizes) <= 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(0, 99))
def test_folds_follow_a_permutation_of_the_samples(labels: list[int], seed: int) -> None:
    y, order = torch.tensor(labels), torch.rand(len(labels), generator=generator(seed))
    shuffled = torch.randperm(len(labels), generator=generator(seed + 1))
    folds = stratified_folds(y, order, 3)
    assert torch.equal(stratified_folds(y[shuffled], order[shuffled], 3), folds[shuffled])


def test_folds_depend_on_the_order_given() -> None:
    y = random_labels(200, 3, seed=0)
    first, second = (
        stratified_folds(y, torch.rand(200, generator=generator(seed)), 5) for seed in (1, 2)
    )
    assert not torch.equal(first, second)


# Nearest neighbours ----------------------------------------------------------------------------


def slow_knn(
    x: list[list[float]], y: list[int], n_classes: int, k: int, balance: bool
) -> list[list[float]]:
    out = []
    for i, row in enumerate(x):
        similarity = [
            (-sum(a * b for a, b in zip(row, other, strict=True)), j)
            for j, other in enumerate(x)
            if j != i
        ]
        votes = [0.0] * n_classes
        for _, j in sorted(similarity)[:k]:
            votes[y[j]] += len(y) / y.count(y[j]) if balance else 1.0
        out.append([vote / sum(votes) for vote in votes])
    return out


@pytest.mark.parametrize("balance", [True, False])
@pytest.mark.parametrize("k", [1, 7, 59, 500])
def test_neighbours_are_those_of_brute_force(k: int, balance: bool) -> None:
    x = unit_rows(60, 5, seed=0)
    y = torch.tensor([0, 0, 0, 0, 1, 1, 1, 3, 3, 4] * 6)
    got = knn_probabilities(x, y, 5, k=k, balance=balance)
    expected = slow_knn(x.tolist(), y.tolist(), 5, k, balance)
    torch.testing.assert_close(got, torch.tensor(expected))


@given(st.integers(2, 30), st.integers(1, 10), st.integers(0, 99), st.booleans())
@settings(max_examples=40, deadline=None)
def test_neighbours_of_any_size_are_those_of_brute_force(
    n: int, k: int, seed: int, balance: bool
) -> None:
    x, y = unit_rows(n, 3, seed), random_labels(n, 4, seed + 1)
    got = knn_probabilities(x, y, 4, k=k, balance=balance)
    expected = slow_knn(x.tolist(), y.tolist(), 4, k, balance)
    torch.testing.assert_close(got, torch.tensor(expected))


def test_a_sample_is_not_its_own_neighbour() -> None:
    x = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2]])
    got = knn_probabilities(x, torch.tensor([0, 1, 1]), 2, k=2, balance=False)
    assert got[0].tolist() == [0.0, 1.0]
    assert got[1].tolist() == [0.5, 0.5]


def test_neighbours_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = clusters(300, 4, 8, seed=5)
    whole = knn_probabilities(x, y, 4, k=9)
    monkeypatch.setattr("nlbench.scoring.neighbours._QUERIES", 64)
    monkeypatch.setattr("nlbench.scoring.neighbours._COLUMNS", 100)
    torch.testing.assert_close(knn_probabilities(x, y, 4, k=9), whole)


def test_neighbours_are_the_exact_ones_among_many() -> None:
    """Many enough that the maxima of groups decide where to look."""
    x, y = clusters(2100, 6, 8, seed=6)
    similarity = x @ x.T
    similarity.fill_diagonal_(-torch.inf)
    votes = y[similarity.topk(7, dim=1).indices]
    expected = torch.nn.functional.one_hot(votes, 6).sum(dim=1) / 7
    got = knn_probabilities(x, y, 6, k=7, balance=False)
    torch.testing.assert_close(got, expected)


def test_balance_gives_a_rare_class_its_say() -> None:
    # Nine neighbours of the common class against one of the rare: balanced, they weigh the same.
    x, y = torch.ones(11, 2), torch.tensor([0] * 10 + [1])
    got = knn_probabilities(x, y, 2, k=10)
    assert got[0].tolist() == pytest.approx([(9 * 11 / 10) / (9 * 11 / 10 + 11), 11 / (9.9 + 11)])


# Scores ----------------------------------------------------------------------------------------


@st.composite
def probability_rows(draw: st.DrawFn) -> tuple[list[list[float]], list[int]]:
    n_classes = draw(st.integers(2, 5))
    cells = st.integers(0, 8)
    rows = draw(
        st.lists(
            st.lists(cells, min_size=n_classes, max_size=n_classes).filter(any),
            min_size=1,
            max_size=20,
        )
    )
    labels = [draw(st.integers(0, n_classes - 1)) for _ in rows]
    return [[cell / sum(row) for cell in row] for row in rows], labels


@settings(deadline=None)
@given(probability_rows())
def test_scores_are_their_formulas(data: tuple[list[list[float]], list[int]]) -> None:
    rows, labels = data
    p, y = torch.tensor(rows, dtype=torch.float64), torch.tensor(labels)
    pairs = list(zip(rows, labels, strict=True))
    assert consistency(p, y).tolist() == pytest.approx([row[k] / max(row) for row, k in pairs])
    others = [max(v for j, v in enumerate(row) if j != k) for row, k in pairs]
    expected = [row[k] - other for (row, k), other in zip(pairs, others, strict=True)]
    assert margin(p, y).tolist() == pytest.approx(expected)
    logs = [math.log(row[k]) if row[k] else math.log(2**-1022) for row, k in pairs]
    assert log_probability(p, y).tolist() == pytest.approx(logs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logarithm_of_zero_is_finite_and_below_all_others(dtype: torch.dtype) -> None:
    p = torch.tensor([[0.0, 1.0], [1e-30, 1.0]], dtype=dtype)
    score = log_probability(p, torch.tensor([0, 0]))
    assert torch.isfinite(score).all()
    assert score[0] < score[1]


def test_scores_do_not_write_into_the_probabilities() -> None:
    p = torch.tensor([[0.2, 0.8], [0.0, 1.0]])
    before = p.clone()
    for score in (log_probability, consistency, margin):
        score(p, torch.tensor([0, 0]))
    assert torch.equal(p, before)


# Normalising -----------------------------------------------------------------------------------


def test_min_max_stretches_to_zero_and_one() -> None:
    assert min_max_normalise(torch.tensor([-4.0, 0.0, 4.0])).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("normalise", [min_max_normalise, gmm_posterior])
@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_constant_scores_speak_against_nobody(
    normalise: Callable[[Tensor], Tensor], n: int
) -> None:
    assert normalise(torch.full((n,), -3.7)).tolist() == [1.0] * n


def test_min_max_per_class_looks_at_one_class_at_a_time() -> None:
    score, y = torch.tensor([1.0, 10.0, 3.0, 30.0, 2.0, 5.0]), torch.tensor([0, 1, 0, 1, 0, 4])
    got = min_max_normalise_per_class(score, y)
    assert got.tolist() == [0.0, 0.0, 1.0, 1.0, 0.5, 1.0]


# Mixtures --------------------------------------------------------------------------------------


def two_bumps(n: int, seed: int, gap: float = 4.0) -> Tensor:
    noise = torch.randn(n, generator=generator(seed), dtype=torch.float64)
    return noise + gap * (torch.arange(n) % 5 < 3)


def sklearn_posterior(score: Tensor, seed: int) -> np.ndarray:
    """Return scikit-learn's own answer, started by k-means from random centres."""
    x = score.numpy()[:, None]
    x = (x - x.min()) / (x.max() - x.min())
    mixture = GaussianMixture(2, random_state=seed).fit(x)
    return mixture.predict_proba(x)[:, mixture.means_.argmax()]


@pytest.mark.parametrize("gap", [3.0, 4.0, 8.0])
@pytest.mark.parametrize("seed", range(4))
def test_mixture_decides_as_scikit_learn_with_its_own_starts(seed: int, gap: float) -> None:
    score = two_bumps(800, seed, gap)
    got = gmm_posterior(score).numpy()
    for start in range(5):
        expected = sklearn_posterior(score, start)
        assert ((got >= 0.5) == (expected >= 0.5)).mean() >= 0.99
        assert np.abs(got - expected).mean() < 0.02


def test_mixture_decides_as_scikit_learn_on_skewed_scores() -> None:
    # Log-probabilities: many near 0, a long tail below.
    score = -torch.rand(1000, generator=generator(0), dtype=torch.float64).pow(3) * 10
    got = gmm_posterior(score).numpy()
    for start in range(5):
        assert ((got >= 0.5) == (sklearn_posterior(score, start) >= 0.5)).mean() >= 0.99


@pytest.mark.parametrize("max_iter", [1, 3, 100])
@pytest.mark.parametrize("gap", [0.5, 2.0, 6.0])
def test_mixture_is_scikit_learn_from_the_same_start(gap: float, max_iter: int) -> None:
    x = two_bumps(700, seed=5, gap=gap).numpy()
    x = (x - x.min()) / (x.max() - x.min())
    weights, means, variances = two_means(np.sort(x))
    mixture = GaussianMixture(
        2,
        weights_init=weights,
        means_init=means[:, None],
        precisions_init=1 / (variances + 1e-6)[:, None, None],
        max_iter=max_iter,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected = mixture.fit(x[:, None]).predict_proba(x[:, None])[:, mixture.means_.argmax()]
    got = gmm_posterior(torch.from_numpy(x), max_iter=max_iter)
    torch.testing.assert_close(got, torch.from_numpy(expected), atol=1e-9, rtol=0)


def test_mixture_finds_the_planted_side() -> None:
    score = two_bumps(1000, seed=1, gap=10)
    assert torch.equal(gmm_posterior(score) >= 0.5, torch.arange(1000) % 5 < 3)


@pytest.mark.parametrize("seed", range(4))
def test_mixture_does_not_depend_on_the_order_or_on_random_state(seed: int) -> None:
    score = two_bumps(501, seed, gap=2.0)
    np.random.seed(seed)
    posterior = gmm_posterior(score)
    shuffled = torch.randperm(501, generator=generator(seed))
    np.random.seed(seed + 1)
    torch.testing.assert_close(
        gmm_posterior(score[shuffled]), posterior[shuffled], atol=1e-9, rtol=0
    )


def test_mixture_gives_equal_scores_equal_answers() -> None:
    score = torch.tensor([0.0, 1.0, 5.0, 5.0, 0.0, 1.0, 5.0, 0.5])
    posterior = gmm_posterior(score)
    for value in (0.0, 1.0, 5.0):
        assert len(set(posterior[score == value].tolist())) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_mixture_takes_any_scores(values: list[int]) -> None:
    score = torch.tensor(values, dtype=torch.float32)
    posterior = gmm_posterior(score)
    assert posterior.shape == score.shape
    assert posterior.dtype == score.dtype
    assert ((posterior >= 0) & (posterior <= 1)).all()


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [1.0, 2.0, 3.0]])
def test_too_few_scores_for_a_mixture_are_all_kept(values: list[float]) -> None:
    if values:
        assert gmm_posterior(torch.tensor(values)).tolist() == [1.0] * len(values)
    assert gmm_posterior_per_class(
        torch.tensor(values), torch.zeros(len(values)).long()
    ).tolist() == [1.0] * len(values)


def test_mixture_does_not_take_nan_for_clean() -> None:
    """A diverged network's losses are NaN: that is no evidence for any label."""
    score = torch.tensor([1.0, float("nan"), 2.0, 3.0, 4.0, 9.0])
    with pytest.raises(PluginError, match="finite"):
        gmm_posterior(score)


def test_mixture_stops_after_the_steps_it_was_given() -> None:
    score = two_bumps(500, seed=0, gap=1.5)
    one, many = (gmm_posterior(score, max_iter=steps, tol=1e-12) for steps in (1, 200))
    assert (one - many).abs().max() > 0.01


def test_mixture_per_class_is_the_mixture_of_each_class() -> None:
    score, y = two_bumps(300, seed=2), random_labels(300, 3, seed=3)
    score = score + 20.0 * y
    got = gmm_posterior_per_class(score, y, max_iter=10, tol=1e-2)
    for label in range(3):
        alone = gmm_posterior(score[y == label], max_iter=10, tol=1e-2)
        assert torch.equal(got[y == label], alone)
    assert (got - gmm_posterior(score)).abs().max() > 0.5


# Keep rates ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=40),
    st.integers(0, 100).map(lambda p: p / 100),
)
def test_keep_highest_keeps_the_count_and_the_best(values: list[int], fraction: float) -> None:
    keep = keep_highest(torch.tensor(values, dtype=torch.float32), fraction).tolist()
    n_keep = max(1, round(fraction * len(values)))
    ranked = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert [i for i, kept in enumerate(keep) if kept] == sorted(ranked[:n_keep])


def test_ties_go_to_earlier_samples() -> None:
    score = torch.tensor([1.0, 2.0, 2.0, 2.0, 0.0])
    assert keep_highest(score, 0.4).tolist() == [False, True, True, False, False]


def test_keep_highest_per_class_keeps_a_share_of_every_class() -> None:
    score = torch.tensor([9.0, 8.0, 7.0, 6.0, 0.1, 0.2, 0.3, 0.4, -5.0])
    y = torch.tensor([0, 0, 0, 0, 2, 2, 2, 2, 3])
    keep = keep_highest_per_class(score, y, 0.5)
    assert keep.dtype == torch.bool
    assert keep.tolist() == [True, True, False, False, False, False, True, True, True]
