"""Planted data is what the checks take it for, and nothing leads from it to the clean labels."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_predict
from threadpoolctl import threadpool_limits
from torch import Tensor

from nlbench.conformance import (
    Plan,
    path_to_labels,
    planted_clean_labels,
    planted_data,
    planted_dynamics,
)
from nlbench.conformance.harness import Case
from nlbench.errors import ConfigError
from nlbench.selector import TrainingData

SEEDS = [0, 1, 2]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # torch's threads and scikit-learn's wait for each other on data this small.
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        yield
    torch.set_num_threads(n_threads)


def own(probabilities: Any, data: TrainingData) -> np.ndarray:
    return np.asarray(probabilities)[np.arange(data.n_samples), data.noisy_labels.numpy()]


def zero_shot(data: TrainingData) -> np.ndarray:
    images, texts = data.embeddings(), data.text_embeddings()
    p = torch.stack([((images @ t.T) / 0.07).exp().mean(dim=1) for t in texts], dim=1)
    return own(p / p.sum(dim=1, keepdim=True), data)


def cross_fitted_probe(data: TrainingData) -> np.ndarray:
    probe = LogisticRegression(class_weight="balanced")
    x, y = data.embeddings().numpy(), data.noisy_labels.numpy()
    return own(cross_val_predict(probe, x, y, cv=5, method="predict_proba"), data)


def neighbours(data: TrainingData) -> np.ndarray:
    similar = data.embeddings() @ data.embeddings().T
    nearest = similar.fill_diagonal_(-1).topk(50).indices
    votes = torch.nn.functional.one_hot(data.noisy_labels[nearest], data.n_classes).double()
    return own(votes.mean(dim=1) / data.noisy_labels.bincount(), data)


def last_losses(data: TrainingData) -> np.ndarray:
    return -list(planted_dynamics(data))[-1].losses.numpy()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("score", [zero_shot, cross_fitted_probe, neighbours, last_losses])
def test_separable_data_tells_noise(score: Callable[..., Any], seed: int) -> None:
    plan = Plan(seed=seed)
    data = planted_data(plan)
    is_clean = planted_clean_labels(plan) == data.noisy_labels
    assert roc_auc_score(is_clean, score(data)) > 0.97


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("score", [zero_shot, cross_fitted_probe, neighbours])
def test_uninformative_data_tells_nothing(score: Callable[..., Any], seed: int) -> None:
    plan = Plan(class_counts=(120,) * 5, features="uninformative", seed=seed)
    data = planted_data(plan)
    is_clean = planted_clean_labels(plan) == data.noisy_labels
    assert abs(roc_auc_score(is_clean, score(data)) - 0.5) < 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_mixture_per_class_finds_the_noise(seed: int) -> None:
    plan = Plan(seed=seed)
    data = planted_data(plan)
    is_clean = (planted_clean_labels(plan) == data.noisy_labels).numpy()
    log_p = np.log(zero_shot(data))
    for k in range(plan.n_classes):
        members = data.noisy_labels.numpy() == k
        values = log_p[members][:, None]
        mixture = GaussianMixture(2, random_state=0).fit(values)
        kept = mixture.predict(values) == mixture.means_.argmax()
        assert is_clean[members][kept].mean() > 0.95
        assert kept[is_clean[members]].mean() > 0.8


def test_scores_of_separable_data_are_graded() -> None:
    assert np.quantile(zero_shot(planted_data()), 0.95) < 1 - 1e-6
    assert np.quantile(cross_fitted_probe(planted_data()), 0.95) < 0.9


def test_noise_has_the_planned_rate_in_every_class_and_even_targets() -> None:
    plan = Plan(class_counts=(100, 50, 0, 1, 40), noise_rate=0.4)
    clean, noisy = planted_clean_labels(plan), planted_data(plan).noisy_labels
    assert clean.bincount(minlength=5).tolist() == [100, 50, 0, 1, 40]
    flips = [int((noisy != clean)[clean == k].sum()) for k in range(5)]
    assert flips == [40, 20, 0, 0, 16]
    assert noisy[clean == 0].bincount(minlength=5).tolist() == [60, 20, 0, 0, 20]


def test_shapes_and_knowledge() -> None:
    data = planted_data(Plan(class_counts=(20, 10, 10)), give_noise_rate=True, seed=3)
    assert data.noise_rate == 0.4
    assert data.seed == 3
    assert data.class_names == ("cat", "dog", "bird")
    assert data.embeddings().norm(dim=1).allclose(torch.ones(40))
    assert data.images(torch.arange(40)).shape == (40, 3, 8, 8)
    assert len(data.sample_ids.unique()) == 40


def test_equal_plans_give_equal_data_and_seeds_differ() -> None:
    a, b, c = (planted_data(Plan(seed=s)) for s in (0, 0, 1))
    assert torch.equal(a.noisy_labels, b.noisy_labels)
    assert torch.equal(a.embeddings(), b.embeddings())
    assert not torch.equal(a.noisy_labels, c.noisy_labels)


def test_constant_features_are_constant_to_the_last_bit() -> None:
    data = planted_data(Plan(class_counts=(100,) * 5, features="constant"))
    products = torch.cat([data.embeddings() @ t.T for t in data.text_embeddings()], dim=1)
    assert (products == products[0, 0]).all()
    assert len(list(planted_dynamics(data))[-1].losses.unique()) == 1


def test_too_many_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 30 classes, got 31"):
        Plan(class_counts=(2,) * 31)


def test_dynamics_follow_permutations_and_hold_the_history_asked_for() -> None:
    plan = Plan()
    case = Case(planted_data(plan), lambda: planted_clean_labels(plan))
    order, new_ids = torch.randperm(600), torch.tensor([3, 0, 4, 1, 2])
    first, permuted, relabelled = (
        list(planted_dynamics(c.data, history_epochs=4))
        for c in (case, case.permuted(order), case.relabelled(new_ids))
    )
    assert [d.epoch for d in first] == list(range(1, 31))
    assert [len(d.loss_history) for d in first[:6]] == [1, 2, 3, 4, 4, 4]
    assert torch.equal(first[9].loss_history[-2], first[8].losses)
    assert first[-1].losses[order].allclose(permuted[-1].losses, atol=1e-5)
    assert first[-1].logits.allclose(relabelled[-1].logits[:, new_ids], atol=1e-5)


def test_changed_cases_keep_their_truth() -> None:
    plan = Plan()
    case = Case(planted_data(plan), lambda: planted_clean_labels(plan))
    wrong = case.truth() != case.data.noisy_labels
    order, new_ids = torch.randperm(600), torch.tensor([3, 0, 4, 1, 2])
    permuted, relabelled = case.permuted(order), case.relabelled(new_ids)
    assert torch.equal(permuted.truth() != permuted.data.noisy_labels, wrong[order])
    assert torch.equal(relabelled.truth() != relabelled.data.noisy_labels, wrong)
    assert relabelled.data.class_names == ("dog", "horse", "ship", "cat", "bird")
    assert torch.equal(
        relabelled.data.text_embeddings()[3], case.data.text_embeddings()[0]
    ) or relabelled.data.text_embeddings()[3].allclose(case.data.text_embeddings()[0])


# Nothing leads to the clean labels, and where something does, it is found.


class _Truth:
    def __init__(self, labels: Any) -> None:
        self.labels = labels


def _closure(labels: Tensor) -> Callable[[], Tensor]:
    return lambda: labels


def _view(labels: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(labels), labels])[0]


def _column(labels: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(labels), labels], dim=1)[:, 0]


def _array_view(labels: Tensor) -> Any:
    return np.stack([np.zeros(len(labels), dtype=np.int64), labels.numpy()])[0]


LEAKS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tensor": lambda clean, noisy: clean.clone(),
    "float tensor": lambda clean, noisy: clean.float(),
    "array": lambda clean, noisy: clean.numpy().copy(),
    "list": lambda clean, noisy: clean.tolist(),
    "tuple in dict": lambda clean, noisy: {"a": [tuple(clean.tolist())]},
    "dict by id": lambda clean, noisy: dict(enumerate(clean.tolist())),
    "which are right": lambda clean, noisy: clean == noisy,
    "which are wrong": lambda clean, noisy: (clean != noisy).tolist(),
    "attribute": lambda clean, noisy: _Truth(clean),
    "bound method": lambda clean, noisy: _Truth(clean).__init__,
    "closure": lambda clean, noisy: _closure(clean),
    "generator": lambda clean, noisy: (label for label in clean.tolist()),
    "rest of the storage": lambda clean, noisy: _view(clean),
    "column of the storage": lambda clean, noisy: _column(clean),
    "base of an array": lambda clean, noisy: _array_view(clean),
}


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_leak_is_found(leak: Callable[[Tensor, Tensor], Any]) -> None:
    data, clean = planted_data(), planted_clean_labels(Plan())
    assert path_to_labels(data, clean, data.noisy_labels) is None
    features = _Truth(leak(clean, data.noisy_labels))
    leaky = replace(data, _features=features)  # type: ignore[arg-type]
    path = path_to_labels(leaky, clean, data.noisy_labels)
    assert path is not None
    assert path.startswith("TrainingData > ")


def test_leak_behind_a_weak_reference_is_found() -> None:
    data, clean = planted_data(), planted_clean_labels(Plan())
    truth = _Truth(clean)
    assert path_to_labels([weakref.ref(truth)], clean, data.noisy_labels) is not None


def test_equal_clean_and_noisy_labels_cannot_be_told_apart() -> None:
    labels = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="must differ"):
        path_to_labels([], labels, labels)
