"""Confident learning, SimiFeat, FINE and SSR against loops that do what their papers print."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

import nlbench
from nlbench import (
    ConfigError,
    PluginError,
    TrainingData,
    evaluate_selection,
    get_selector,
    knowledge_of_rate,
)
from nlbench.scoring import (
    estimate_noise_rate,
    hoc_transition_matrix,
    probe_probabilities,
    stratified_folds,
)
from nlbench.selector import Dynamics, checked_answer

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("confident-learning", {}),
    ("confident-learning", {"filter_by": "prune_by_class"}),
    ("confident-learning", {"filter_by": "both"}),
    ("confident-learning", {"filter_by": "confident_learning"}),
    ("fine", {}),
    ("simifeat", {}),
    ("simifeat", {"method": "vote"}),
    ("ssr-knn", {}),
    ("ssr-knn", {"theta_r": 0.6}),
]


def planted(n: int = 300, k: int = 3, rate: float = 0.2, seed: int = 0) -> tuple[Any, Tensor]:
    """Return data with image features around a centre for each class, and the clean labels."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.arange(n) % k
    wrong = torch.rand(n, generator=generator) < rate
    noisy = torch.where(wrong, (clean + torch.randint(1, k, (n,), generator=generator)) % k, clean)
    x = torch.eye(k, 12)[clean] + 0.15 * torch.randn(n, 12, generator=generator)
    return TrainingData.from_arrays(noisy, k, embeddings=x, seed=seed), clean


def chosen(name: str, data: TrainingData, **settings: Any) -> Any:
    selector: Any = get_selector(name, **settings)
    return checked_answer(selector.select(data), data)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_planted_noise_is_found(name: str, settings: dict[str, Any]) -> None:
    data, clean = planted()
    found = evaluate_selection(chosen(name, data, **settings), data.noisy_labels, clean)
    assert found["auroc"] > 0.95
    assert found["precision"] > 0.93 or found["noise_rate_after"] < 0.02
    assert found["recall"] > 0.7


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_no_text_is_used(name: str, settings: dict[str, Any]) -> None:
    selector: Any = get_selector(name, **settings)
    assert selector.knowledge_used() == ("image pre-training",)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("confident-learning", {"folds": 1}),
        ("confident-learning", {"filter_by": "best"}),
        ("fine", {"zeta": 1.0}),
        ("simifeat", {"k": 2}),
        ("simifeat", {"method": "mv"}),
        ("ssr-knn", {"theta_s": 0.0}),
        ("ssr-knn", {"theta_r": 1.0}),
        ("small-loss", {"noise_rate": "guessed"}),
        ("co-teaching", {"noise_rate": 1.0}),
    ],
)
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        get_selector(name, **settings)


# confident-learning -------------------------------------------------------------------------------


def test_confident_learning_is_cleanlab_on_a_cross_fitted_probe() -> None:
    from cleanlab.filter import find_label_issues as cleanlab_issues

    data, _ = planted(rate=0.3)
    labels = data.noisy_labels
    folds = stratified_folds(labels, data.uniform("folds"), 4)
    table = probe_probabilities(data.embeddings("image"), labels, 3, c=2.0, folds=folds)
    answer = chosen("confident-learning", data, folds=4, probe_c=2.0)
    issues = cleanlab_issues(labels.numpy(), table.numpy(), n_jobs=1)
    assert answer.keep.tolist() == (~issues).tolist()
    assert answer.score.tolist() == [table[i, y].item() for i, y in enumerate(labels.tolist())]
    assert answer.diagnostics["estimated_noise_rate"] == pytest.approx(0.3, abs=0.05)


def test_equal_probabilities_are_pruned_by_the_sample_not_by_its_place() -> None:
    """Twins: which of them goes is drawn, and goes along when the data is in another order."""
    base, _ = planted(n=60, rate=0.3)
    x, labels = base.embeddings("image").repeat(4, 1), base.noisy_labels.repeat(4)
    order = torch.randperm(240, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(240)
    first = TrainingData.from_arrays(labels, 3, embeddings=x, sample_ids=ids)
    other = TrainingData.from_arrays(labels[order], 3, embeddings=x[order], sample_ids=ids[order])
    kept = chosen("confident-learning", first).keep[order]
    assert torch.equal(kept, chosen("confident-learning", other).keep)


# fine ---------------------------------------------------------------------------------------------


def test_fine_is_an_svd_and_a_mixture_for_each_class() -> None:
    data, _ = planted(rate=0.3)
    x, labels = data.embeddings("image").double().numpy(), data.noisy_labels.numpy()
    keep, score = np.zeros(len(labels), dtype=bool), np.zeros(len(labels))
    for k in range(3):
        members = labels == k
        main = np.linalg.svd(x[members])[2][0]
        aligned = (x[members] @ main) ** 2
        score[members] = (aligned - aligned.min()) / np.ptp(aligned)
        column = score[members, None]
        mixture = GaussianMixture(2, tol=1e-6, max_iter=100, random_state=0, n_init=5).fit(column)
        upper = mixture.predict_proba(column)[:, mixture.means_.argmax()]
        keep[members] = upper > 0.5
    answer = chosen("fine", data)
    assert np.allclose(answer.score.numpy(), score, atol=1e-5)
    assert (answer.keep.numpy() == keep).mean() > 0.99


def test_fine_keeps_a_class_of_one_sample() -> None:
    data = TrainingData.from_arrays([0] * 8 + [1], 2, embeddings=torch.rand(9, 4) + 0.1)
    assert bool(chosen("fine", data).keep[-1])


# simifeat -----------------------------------------------------------------------------------------


def soft_labels_by_a_loop(x: Tensor, labels: Tensor, n_classes: int, k: int) -> Tensor:
    """The released code's steps with distances, one sample at a time."""
    out = torch.zeros(len(x), n_classes).double()
    for i, one in enumerate(x.double()):
        distance = 1 - x.double() @ one
        distance[i] = -1
        nearest = distance.argsort()[:k]
        values = distance[nearest]
        values[0] = 2 * values[1] - values[2]
        for value, place in zip(values, nearest, strict=True):
            out[i, labels[place]] += 1 - value
    return torch.nn.functional.normalize(out, dim=1)


@pytest.mark.parametrize("k", [3, 10])
def test_simifeat_votes_and_scores_as_the_loop(k: int) -> None:
    data, _ = planted(n=150, rate=0.3)
    labels = data.noisy_labels
    soft = soft_labels_by_a_loop(data.embeddings("image"), labels, 3, k)
    answer = chosen("simifeat", data, method="vote", k=k)
    assert answer.keep.tolist() == (soft.argmax(dim=1) == labels).tolist()
    expected = [math.log(soft[i, y]) for i, y in enumerate(labels.tolist())]
    assert answer.score.tolist() == pytest.approx(expected, abs=1e-4)


def test_simifeat_drops_of_each_class_the_share_that_hoc_estimates() -> None:
    data, _ = planted(n=600, rate=0.4)
    labels = data.noisy_labels
    transition, prior = hoc_transition_matrix(data.embeddings("image"), labels, 3)
    answer = chosen("simifeat", data)
    for k in range(3):
        members = labels == k
        n = int(members.sum())
        right = float(prior[k] * transition[k, k]) * 600 / n
        kept = answer.keep & members
        assert int(kept.sum()) == n - round((1 - right) * n)
        assert answer.score[kept].min() >= answer.score[members & ~answer.keep].max()


def test_simifeat_drops_at_least_5_percent() -> None:
    data, _ = planted(n=300, rate=0.0)
    assert int(chosen("simifeat", data).keep.sum()) == 285


# ssr-knn ------------------------------------------------------------------------------------------


def ssr_by_a_loop(x: Tensor, labels: Tensor, k: int) -> Tensor:
    prior = torch.bincount(labels, minlength=3) / len(labels)
    shares = torch.zeros(len(x), 3)
    for i, one in enumerate(x):
        similarity = x @ one
        similarity[i] = -9
        votes = torch.bincount(labels[similarity.argsort(descending=True)[:k]], minlength=3)
        shares[i] = votes / prior / (votes / prior).sum()
    return shares


@pytest.mark.parametrize("theta_r", [None, 0.55])
@pytest.mark.parametrize("theta_s", [1.0, 0.5])
def test_ssr_relabels_then_keeps_what_neighbours_confirm(
    theta_r: float | None, theta_s: float
) -> None:
    data, _ = planted(n=240, rate=0.4)
    x, noisy = data.embeddings("image"), data.noisy_labels
    labels = noisy.clone()
    if theta_r is not None:
        folds = stratified_folds(noisy, data.uniform("folds"), 5)
        for i, row in enumerate(probe_probabilities(x, noisy, 3, folds=folds).tolist()):
            if max(row) > theta_r:
                labels[i] = row.index(max(row))
    shares = ssr_by_a_loop(x, labels, k=15)
    of_own = shares[torch.arange(240), labels]
    answer = chosen("ssr-knn", data, k=15, theta_r=theta_r, theta_s=theta_s)
    near = (of_own / shares.max(dim=1).values - theta_s).abs() < 1e-5
    right = answer.keep == (of_own >= theta_s * shares.max(dim=1).values)
    assert bool((right | near).all())
    assert torch.allclose(answer.score, shares[torch.arange(240), noisy], atol=1e-5)
    n_changed = int((labels != noisy).sum())
    assert answer.diagnostics == {"k": 15, "relabelled": n_changed}
    assert (n_changed > 0) == (theta_r is not None)
    assert (answer.labels is None) == (theta_r is None)
    assert answer.labels is None or torch.equal(answer.labels, labels)


def test_ssr_without_relabelling_is_clip_knn_on_other_features() -> None:
    data, _ = planted(rate=0.4)
    one, other = chosen("ssr-knn", data, encoder="image-text"), chosen("clip-knn", data)
    assert torch.equal(one.keep, other.keep)
    assert torch.equal(one.score, other.score)


# The noise rate as a setting ----------------------------------------------------------------------


def after_training(data: TrainingData, losses: Tensor, two: bool) -> Dynamics:
    logits = torch.zeros(len(losses), data.n_classes)
    one = Dynamics(50, 60, losses, logits, losses[None])
    return Dynamics(50, 60, losses, logits, losses[None], (one,)) if two else one


@pytest.mark.parametrize(
    ("name", "settings"), [("small-loss", {"divider": "rate"}), ("co-teaching-epoch", {})]
)
def test_an_estimated_rate_takes_the_place_of_the_nominal_one(
    name: str, settings: dict[str, Any]
) -> None:
    data, _ = planted(n=500, rate=0.3)
    rate = estimate_noise_rate(data.embeddings("image"), data.noisy_labels, 3)
    losses = torch.rand(500, generator=torch.Generator().manual_seed(0))
    selector: Any = get_selector(name, noise_rate="estimated", **settings)
    answer = selector.select(data, after_training(data, losses, two=name == "co-teaching-epoch"))
    assert rate == pytest.approx(0.3, abs=0.06)
    assert int(answer.keep.sum()) == round((1 - rate) * 500)
    assert selector.knowledge_used() == ("image pre-training", "estimated noise rate")


def test_only_the_schedule_of_small_loss_uses_a_rate() -> None:
    selector: Any = get_selector("small-loss", noise_rate="estimated")
    assert selector.knowledge_used() == ()


def test_a_rate_is_a_number_the_nominal_one_or_estimated_once() -> None:
    data, _ = planted(n=200)
    assert data.rate(0.25) == 0.25
    with pytest.raises(PluginError, match="noise rate is not given to this selector"):
        data.rate(None)
    asked = []
    embeddings = data._features.embeddings
    data._features.embeddings = lambda encoder: asked.append(encoder) or embeddings(encoder)  # type: ignore[method-assign, func-returns-value]
    assert data.estimates_used == ()
    assert data.rate("estimated") == data.rate("estimated")
    assert asked == ["image"]
    assert data.estimates_used == ("estimated noise rate",)


def test_the_record_says_that_the_rate_was_estimated(tmp_path: Path) -> None:
    settings = {"divider": "rate", "noise_rate": "estimated"}
    record = nlbench.run(
        "small-loss", "digits", "symmetric", 0.4, epochs=2, settings=settings, track=False,
        device="cpu", home=tmp_path,
    )  # fmt: skip
    assert record.selector.knowledge == ["image pre-training", "estimated noise rate"]
    assert record.selector.variant["noise_rate"] == "estimated"
    estimate = record.diagnostics["estimated_noise_rate"]
    assert estimate == pytest.approx(0.4, abs=0.03)
    assert record.metrics.selection.kept_fraction == pytest.approx(1 - 0.2 * estimate, abs=0.01)


def test_knowledge_of_a_rate() -> None:
    assert knowledge_of_rate(None) == knowledge_of_rate(0.2) == ("noise rate",)
    assert knowledge_of_rate("estimated") == ("image pre-training", "estimated noise rate")
