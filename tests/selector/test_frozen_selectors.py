"""Relation graph, WANN, FM-SRM, TURN and LEMoN against loops that follow their papers."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from nlbench import ConfigError, Selection, TrainingData, evaluate_selection, get_selector
from nlbench.scoring import (
    gce_probe_probabilities,
    gmm_posterior,
    probe_probabilities,
    stratified_folds,
)
from nlbench.selector import checked_answer

NAMES = ("neural-relation-graph", "wann", "fm-srm", "turn", "lemon")


def planted(
    n_per_class: int = 40,
    n_classes: int = 3,
    wrong: float = 0.25,
    spread: float = 0.2,
    seed: int = 0,
) -> tuple[TrainingData, Tensor]:
    """Return data with one cluster and two prompts a class, and the clean labels."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(n_classes).repeat_interleave(n_per_class)
    flipped = torch.rand(len(truth), generator=generator) < wrong
    shift = torch.randint(1, n_classes, (len(truth),), generator=generator)
    noisy = torch.where(flipped, (truth + shift) % n_classes, truth)
    centres = torch.eye(n_classes, 12)
    x = centres[truth] + spread * torch.randn(len(truth), 12, generator=generator)
    texts = [centre + 0.1 * torch.randn(2, 12, generator=generator) for centre in centres]
    data = TrainingData.from_arrays(
        noisy, n_classes, embeddings=x, text_embeddings=texts, seed=seed
    )
    return data, truth


def answer(name: str, data: TrainingData, **settings: Any) -> Selection:
    selector: Any = get_selector(name, **settings)
    return checked_answer(selector.select(data), data)


def sorted_others(x: Tensor, i: int) -> list[int]:
    similarity = (x @ x[i]).tolist()
    return sorted((j for j in range(len(x)) if j != i), key=lambda j: -similarity[j])


@pytest.mark.parametrize("name", NAMES)
def test_planted_noise_is_found(name: str) -> None:
    data, truth = planted()
    found = evaluate_selection(answer(name, data), data.noisy_labels, truth)
    assert found["auroc"] > 0.97
    assert found["precision"] > 0.95
    assert found["recall"] > 0.5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 0], [0, 1, 2, 2]])
def test_a_handful_of_samples_is_no_crash(name: str, labels: list[int]) -> None:
    data = TrainingData.from_arrays(
        labels,
        3,
        embeddings=torch.eye(4)[: len(labels)],
        text_embeddings=[torch.eye(4)[k : k + 1] for k in range(3)],
    )
    selector: Any = get_selector(name)
    assert selector.select(data).score.shape == (len(labels),)


# neural-relation-graph ---------------------------------------------------------------------------


def slow_relations(data: TrainingData, power: int, smallest: float, rounds: int) -> list[float]:
    x, labels, n = data.embeddings(), data.noisy_labels.tolist(), data.n_samples
    folds = stratified_folds(data.noisy_labels, data.uniform("folds"), 5)
    p = probe_probabilities(x, data.noisy_labels, data.n_classes, c=10, folds=folds)

    def relation(i: int, j: int) -> float:
        strength = max(0.0, float(x[i] @ x[j])) * float(p[i] @ p[j])
        if strength <= smallest:
            return 0.0
        return (1 if labels[i] == labels[j] else -1) * strength**power

    graph = [[relation(i, j) for j in range(n)] for i in range(n)]
    first = score = [sum(row) for row in graph]
    for _ in range(rounds):
        largest = max(abs(value) for value in score)
        noisy = [j for j in range(n) if score[j] / largest < -0.05]
        score = [first[i] - 2 * sum(graph[i][j] for j in noisy) for i in range(n)]
    return score


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_relation_graph_is_its_sum_with_the_noisy_set_turned_round(rounds: int) -> None:
    data, _ = planted(n_per_class=20, wrong=0.3, spread=0.5)
    got = answer("neural-relation-graph", data, rounds=rounds)
    expected = slow_relations(data, 4, 0.03, rounds)
    assert got.score.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert got.keep.tolist() == [value >= 0 for value in expected]
    assert len(got.diagnostics["noisy_set_sizes"]) == rounds


def test_refinement_helps_below_half_of_the_labels_wrong_and_harms_above() -> None:
    aurocs = {}
    for wrong in (0.4, 0.65):
        data, truth = planted(n_per_class=60, n_classes=5, wrong=wrong, spread=0.25)
        for rounds in (0, 1):
            got = get_selector("neural-relation-graph", rounds=rounds).select(data)  # type: ignore[union-attr, call-arg]
            found = evaluate_selection(got, data.noisy_labels, truth)
            aurocs[wrong, rounds] = found["auroc"]
    assert aurocs[0.4, 1] > max(0.95, aurocs[0.4, 0])
    assert aurocs[0.65, 1] < aurocs[0.65, 0] - 0.1, aurocs


def test_a_flat_probe_leaves_no_relation_and_the_record_says_so() -> None:
    data, _ = planted(n_classes=5)
    got = answer("neural-relation-graph", data, probe_c=1e-4, smallest=0.25)
    assert got.diagnostics["with_relations"] == 0
    sharp = answer("neural-relation-graph", data)
    assert sharp.diagnostics["with_relations"] == data.n_samples


# wann --------------------------------------------------------------------------------------------


def slow_k(x: Tensor, labels: list[int], k_min: int, k_max: int) -> list[int]:
    out = []
    for i in range(len(x)):
        others = [labels[j] for j in sorted_others(x, i)]
        confirmed = k_max
        for k in range(k_min, k_max, 2):
            votes = Counter(others[:k])
            own = votes.pop(labels[i], 0)
            if k <= len(others) and own > max(votes.values(), default=0):
                confirmed = k
                break
        out.append(confirmed)
    return out


@pytest.mark.parametrize(("k_min", "k_max"), [(11, 51), (1, 9), (4, 30)])
def test_wann_is_the_smallest_neighbourhood_that_confirms(k_min: int, k_max: int) -> None:
    data, _ = planted(wrong=0.4, spread=0.6)
    expected = slow_k(data.embeddings(), data.noisy_labels.tolist(), k_min, k_max)
    assert len(set(expected)) > 2, "sizes in between are not looked at"
    got = answer("wann", data, k_min=k_min, k_max=k_max)
    assert got.keep.tolist() == [k < k_max for k in expected]
    # The share of the largest neighbourhood decides among equals only.
    by_score = sorted(range(len(expected)), key=lambda i: float(got.score[i]))
    in_order = [expected[i] for i in by_score]
    assert in_order == sorted(in_order, reverse=True)
    largest = range(k_min, k_max, 2)[-1]
    for k in set(expected):
        group = [i for i in by_score if expected[i] == k]
        places = [sorted_others(data.embeddings(), i)[:largest] for i in group]
        labels = data.noisy_labels.tolist()
        shares = [
            sum(labels[j] == labels[i] for j in p) for i, p in zip(group, places, strict=True)
        ]
        assert shares == sorted(shares)


def test_wann_of_fewer_samples_than_its_smallest_neighbourhood_takes_all_others() -> None:
    data = TrainingData.from_arrays([0, 0, 0, 1], 2, embeddings=torch.eye(4))
    assert answer("wann", data).keep.tolist() == [True, True, True, False]


def test_wann_takes_a_tie_for_no_confirmation() -> None:
    x = [[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4]]
    data = TrainingData.from_arrays([0, 0, 1, 1, 0], 2, embeddings=x)
    # Of the first one's two neighbours one has its label; of its four, two have.
    selector: Any = get_selector("wann", k_min=2, k_max=5)
    assert not bool(selector.select(data).keep[0])


def test_wann_refuses_an_empty_range_of_sizes() -> None:
    with pytest.raises(ConfigError, match="`k_min` must be below `k_max`, got 51 and 51"):
        get_selector("wann", k_min=51)


# fm-srm ------------------------------------------------------------------------------------------


def slow_margins(x: np.ndarray, labels: list[int], n_classes: int) -> list[float]:
    prototypes = {}
    for k in range(n_classes):
        members = [row for row, label in zip(x, labels, strict=True) if label == k]
        if members:
            mean = np.mean(members, axis=0)
            prototypes[k] = mean / np.linalg.norm(mean)
    return [
        float(row @ prototypes[label])
        - max(float(row @ other) for k, other in prototypes.items() if k != label)
        for row, label in zip(x, labels, strict=True)
    ]


def posterior_of_upper(values: list[float]) -> np.ndarray:
    posterior: np.ndarray = gmm_posterior(torch.tensor(values, dtype=torch.float64)).numpy()
    return posterior


def best_of_ten_starts(values: list[float]) -> np.ndarray:
    column = np.array(values)[:, None]
    column = (column - column.min()) / (column.max() - column.min())
    mixture = GaussianMixture(2, n_init=10, random_state=0).fit(column)
    posterior: np.ndarray = mixture.predict_proba(column)[:, int(mixture.means_.argmax())]
    return posterior


@pytest.mark.parametrize(("n_per_class", "rule"), [(25, "median"), (400, "mixture")])
def test_fm_srm_is_prototypes_then_neighbours(n_per_class: int, rule: str) -> None:
    data, _ = planted(n_per_class, wrong=0.35, spread=0.45)
    x, labels = data.embeddings().double(), data.noisy_labels.tolist()
    margins = slow_margins(x.numpy(), labels, 3)
    clean = posterior_of_upper(margins)
    keep = clean >= 0.8
    ambiguous = np.flatnonzero((clean < 0.8) & (1 - clean < 0.8)).tolist()
    assert (len(ambiguous) >= 50) == (rule == "mixture"), len(ambiguous)
    shares = [sum(labels[j] == labels[i] for j in sorted_others(x, i)[:20]) / 20 for i in ambiguous]
    if rule == "median":
        hard = np.array(shares) >= sorted(shares)[(len(shares) - 1) // 2]
    else:
        hard = 1 - posterior_of_upper(shares) < 0.5
    keep[ambiguous] = hard
    got = answer("fm-srm", data)
    assert got.keep.tolist() == keep.tolist()
    assert got.score.tolist() == pytest.approx((2 * clean - 1).tolist(), abs=1e-5)
    # One exact start finds what the best of ten drawn ones does.
    assert np.abs(clean - best_of_ten_starts(margins)).max() < 0.05
    facts = got.diagnostics
    assert int(got.keep.sum()) == facts["clean"] + facts["hard_clean"]
    assert 0 < facts["hard_clean"] < facts["ambiguous"]


def test_fm_srm_ranks_saturated_posteriors_by_their_margin() -> None:
    data, _ = planted(spread=0.05)
    score = answer("fm-srm", data).score
    assert len(score.unique()) == data.n_samples


def test_fm_srm_passes_over_absent_classes() -> None:
    """A class without a prototype is at cosine 0 to all, nearer than an opposite one."""
    x = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]])
    margins = [
        answer("fm-srm", TrainingData.from_arrays([0, 0, 1, 1], k, embeddings=x)).score
        for k in (2, 3)
    ]
    torch.testing.assert_close(*margins)


# turn --------------------------------------------------------------------------------------------


def test_turn_keeps_the_low_component_of_each_class_cut_to_the_smallest() -> None:
    data, _ = planted(n_per_class=80, wrong=0.3, spread=0.3)
    labels = data.noisy_labels.numpy()
    p = gce_probe_probabilities(data.embeddings(), data.noisy_labels, 3, c=10)
    losses = (1 - p.double().numpy()[np.arange(len(labels)), labels] ** 0.7) / 0.7
    low = np.zeros(len(labels), dtype=bool)
    for k in range(3):
        members = labels == k
        low[members] = posterior_of_upper((-losses[members]).tolist()) > 0.5
    smallest = min(int(low[labels == k].sum()) for k in range(3))
    expected = np.zeros_like(low)
    for k in range(3):
        members = [i for i in np.flatnonzero(low) if labels[i] == k]
        expected[sorted(members, key=lambda i: losses[i])[:smallest]] = True
    got = answer("turn", data)
    assert got.score.tolist() == pytest.approx((-losses).tolist(), abs=1e-6)
    assert got.keep.tolist() == expected.tolist()
    assert answer("turn", data, balance=False).keep.tolist() == low.tolist()
    assert got.diagnostics["kept_by_mixture"] == [int(low[labels == k].sum()) for k in range(3)]


def test_turn_keeps_as_many_of_every_class() -> None:
    data, _ = planted(n_per_class=50)
    few = torch.cat([torch.arange(100), torch.arange(100, 112)])
    uneven = TrainingData.from_arrays(data.noisy_labels[few], 3, embeddings=data.embeddings()[few])
    kept = torch.bincount(uneven.noisy_labels[answer("turn", uneven).keep], minlength=3)
    assert len(set(kept.tolist())) == 1


def test_turn_breaks_ties_by_the_sample_and_not_by_its_place() -> None:
    """Equal images have equal losses; which of them are cut is drawn by their ids."""
    labels = torch.tensor([0] * 20 + [1] * 6)
    x, ids = torch.eye(2)[labels], 7 * torch.arange(26) + 3
    order = torch.randperm(26, generator=torch.Generator().manual_seed(1))

    def kept(places: Tensor, seed: int = 0) -> set[int]:
        data = TrainingData.from_arrays(
            labels[places], 2, embeddings=x[places], sample_ids=ids[places], seed=seed
        )
        return set(ids[places][answer("turn", data).keep].tolist())

    first = kept(torch.arange(26))
    assert len(first) == 12
    assert kept(order) == first
    assert kept(order, seed=1) != first


# lemon -------------------------------------------------------------------------------------------


def slow_suspicion(
    data: TrainingData, k: int, beta: float, gamma: float, tau1: float, tau2: float
) -> list[float]:
    x, labels = data.embeddings().double(), data.noisy_labels.tolist()
    texts = []
    for prompts in data.text_embeddings():
        mean = prompts.double().mean(dim=0)
        texts.append(mean / mean.norm())
    d1 = [1 - float(x[i] @ texts[labels[i]]) for i in range(len(x))]
    out = []
    for i in range(len(x)):
        s_n = s_m = 0.0
        near = sorted_others(x, i)[:k]
        for j in near:
            # In cosine mode the neighbour's distance is minus the similarity.
            weight = math.exp(-tau1 * -float(x[i] @ x[j])) * math.exp(-tau2 * d1[j])
            s_n += (labels[i] != labels[j]) * weight / len(near)
        alike = [j for j in range(len(x)) if j != i and labels[j] == labels[i]]
        for j in alike:
            weight = math.exp(-tau1 * -1.0) * math.exp(-tau2 * d1[j])
            s_m += (1 - float(x[i] @ x[j])) * weight / len(alike)
        out.append(d1[i] + beta * s_n + gamma * s_m)
    return out


@pytest.mark.parametrize(
    "settings",
    [
        {"k": 30, "beta": 5.0, "gamma": 5.0, "tau1": 0.1, "tau2": 5.0},
        {"k": 7, "beta": 2.0, "gamma": 0.0, "tau1": 3.0, "tau2": 1.0},
        {"k": 7, "beta": 0.0, "gamma": 2.0, "tau1": 3.0, "tau2": 1.0},
    ],
)
def test_lemon_is_the_weighted_sum_of_the_paper(settings: dict[str, Any]) -> None:
    data, _ = planted(n_per_class=20, wrong=0.3, spread=0.4)
    got = answer("lemon", data, **settings)
    expected = slow_suspicion(data, **settings)
    assert got.score.tolist() == pytest.approx([-s for s in expected], abs=1e-5)
    clean = posterior_of_upper([-s for s in expected])
    assert (got.keep.numpy() == (clean >= 0.5)).mean() > 0.98


def test_lemon_without_neighbours_is_the_distance_to_the_text() -> None:
    data, _ = planted()
    texts = torch.stack([t.mean(dim=0) for t in data.text_embeddings()])
    texts = torch.nn.functional.normalize(texts, dim=1)
    d1 = 1 - (data.embeddings() * texts[data.noisy_labels]).sum(dim=1)
    torch.testing.assert_close(answer("lemon", data, beta=0, gamma=0).score, -d1)


def test_lemon_counts_nearer_neighbours_more() -> None:
    """A near neighbour with another label weighs more with tau1, a far one less."""
    x = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
    texts = [torch.tensor([[1.0, 0.0]])] * 2
    near = TrainingData.from_arrays([0, 1, 0], 2, embeddings=x, text_embeddings=texts)
    far = TrainingData.from_arrays([0, 0, 1], 2, embeddings=x, text_embeddings=texts)
    settings = {"k": 2, "gamma": 0.0, "tau2": 0.0}

    def gain(data: TrainingData) -> float:
        with_tau, without = (answer("lemon", data, tau1=t, **settings).score[0] for t in (1.0, 0.0))
        return float(without - with_tau)

    assert gain(near) > 1
    assert gain(far) == pytest.approx(0, abs=1e-6)
