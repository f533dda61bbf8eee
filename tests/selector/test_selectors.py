"""What each selector that comes with nlbench does, on arrays small enough to reason about."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from nlbench import (
    ConfigError,
    Dynamics,
    PluginError,
    Selection,
    TrainingData,
    evaluate_selection,
    get_selector,
)
from nlbench.scoring import keep_highest
from nlbench.selector import checked_answer


def planted(
    n_per_class: int = 60, n_classes: int = 3, n_wrong: int = 12, seed: int = 0
) -> tuple[TrainingData, Tensor]:
    """Return data with separable features, texts at the class centres, and the clean labels.

    In each class `n_wrong` samples carry the label of the next class.
    """
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(n_classes).repeat_interleave(n_per_class)
    noisy = truth.clone()
    wrong = torch.arange(len(truth)) % n_per_class < n_wrong
    noisy[wrong] = (noisy[wrong] + 1) % n_classes
    centres = torch.eye(n_classes, 16)
    features = centres[truth] + 0.15 * torch.randn(len(truth), 16, generator=generator)
    texts = [centre + 0.05 * torch.randn(4, 16, generator=generator) for centre in centres]
    data = TrainingData.from_arrays(
        noisy, n_classes, embeddings=features, text_embeddings=texts, seed=seed
    )
    return data, truth


def dynamics(losses: Any, epoch: int = 20, n_epochs: int = 60) -> Dynamics:
    values = torch.as_tensor(losses, dtype=torch.float32)
    return Dynamics(epoch, n_epochs, values, torch.zeros(len(values), 2), values[None])


def plain(n: int, noise_rate: float | None = None, seed: int = 0) -> TrainingData:
    return TrainingData.from_arrays([i % 2 for i in range(n)], 2, noise_rate=noise_rate, seed=seed)


# none, random, oracle ----------------------------------------------------------------------------


def test_none_keeps_everything_and_ranks_nothing() -> None:
    answer = get_selector("none").select(plain(7))  # type: ignore[union-attr, call-arg]
    assert answer.keep.tolist() == [True] * 7
    assert len(set(answer.score.tolist())) == 1


@pytest.mark.parametrize(
    ("fraction", "n_kept"), [(0.5, 50), (0.25, 25), (0.333, 34), (1.0, 101), (0.001, 1)]
)
def test_random_keeps_the_exact_count(fraction: float, n_kept: int) -> None:
    selector: Any = get_selector("random", keep_fraction=fraction)
    answer = selector.select(plain(101))
    assert int(answer.keep.sum()) == n_kept
    assert torch.equal(answer.keep, keep_highest(answer.score, fraction))


def test_random_is_blind_and_depends_on_the_seed_alone() -> None:
    selector: Any = get_selector("random")
    first, again, other = (selector.select(plain(200, seed=seed)).keep for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    flipped = TrainingData.from_arrays([1 - i % 2 for i in range(200)], 2, seed=1)
    assert torch.equal(selector.select(flipped).keep, first)


def test_oracle_keeps_exactly_the_clean_ones() -> None:
    data, truth = planted()
    oracle: Any = get_selector("oracle")
    answer = oracle.select_with_truth(data, truth)
    found = evaluate_selection(answer, data.noisy_labels, truth)
    assert (found["precision"], found["recall"], found["auroc"]) == (1.0, 1.0, 1.0)
    assert oracle.is_bound
    assert oracle.knowledge_used() == ("clean labels",)
    assert not hasattr(oracle, "select")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("random", {"keep_fraction": 0.0}),
        ("random", {"keep_fraction": 1.1}),
        ("clip-knn", {"k": 0}),
        ("clip-zero-shot", {"temperature": 0.0}),
        ("clipcleaner", {"theta_cons": 1.5}),
        ("imagenet-baseline", {"criterion": "svm"}),
        ("small-loss", {"noise_rate": 1.0}),
        ("small-loss", {"divider": "median"}),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"'{name}': hyper-parameter '{next(iter(settings))}'"):
        get_selector(name, **settings)


# small-loss --------------------------------------------------------------------------------------


def small_loss(**settings: Any) -> Any:
    return get_selector("small-loss", **settings)


@pytest.mark.parametrize("divider", ["gmm", "rate"])
def test_small_loss_ranks_by_minus_the_loss(divider: str) -> None:
    losses = [0.1, 3.0, 0.2, 2.5, 0.15, 2.8]
    answer = small_loss(divider=divider).select(plain(6, noise_rate=0.5), dynamics(losses))
    assert answer.score.tolist() == pytest.approx([-loss for loss in losses])
    assert answer.keep.tolist() == [True, False] * 3


def test_gmm_divider_keeps_the_component_of_small_losses_whatever_its_size() -> None:
    losses = torch.cat([torch.linspace(0.0, 0.2, 20), torch.linspace(2.0, 3.0, 80)])
    shuffled = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    answer = small_loss().select(plain(100), dynamics(losses[shuffled]))
    assert torch.equal(answer.keep, shuffled < 20)


def test_gmm_divider_asks_for_no_noise_rate() -> None:
    assert small_loss().knowledge_used() == ()
    answer = small_loss().select(plain(4), dynamics([0.0, 5.0, 0.1, 5.1]))
    assert answer.keep.tolist() == [True, False, True, False]


def test_theta_moves_the_gmm_cut() -> None:
    losses = torch.cat([torch.linspace(0, 1.2, 60), torch.linspace(1.0, 3.0, 60)])
    loose, strict = (
        int(small_loss(theta=theta).select(plain(120), dynamics(losses)).keep.sum())
        for theta in (0.1, 0.99)
    )
    assert strict < loose


@pytest.mark.parametrize("ramp_epochs", [1, 10, 15])
@pytest.mark.parametrize("epoch", [1, 2, 5, 9, 10, 11, 40])
def test_rate_divider_follows_the_schedule_of_co_teaching(epoch: int, ramp_epochs: int) -> None:
    rate, n = 0.4, 200
    selector = small_loss(divider="rate", noise_rate=rate, ramp_epochs=ramp_epochs, warmup_epochs=0)
    losses = torch.rand(n, generator=torch.Generator().manual_seed(epoch))
    answer = selector.select(plain(n), dynamics(losses, epoch=epoch))
    dropped = min(epoch / ramp_epochs * rate, rate)
    assert int(answer.keep.sum()) == round((1 - dropped) * n)
    assert losses[answer.keep].max() <= losses[~answer.keep].min()


@pytest.mark.parametrize("divider", ["gmm", "rate"])
@pytest.mark.parametrize(
    ("warmup", "n_epochs", "first_choice"), [(10, 60, 10), (10, 12, 6), (10, 5, 2), (30, 300, 30)]
)
def test_warm_up_keeps_everything_for_at_most_half_of_the_epochs(
    divider: str, warmup: int, n_epochs: int, first_choice: int
) -> None:
    selector = small_loss(divider=divider, warmup_epochs=warmup)
    losses = [0.0, 0.1, 5.0, 5.1] * 5
    data = plain(20, noise_rate=0.5)
    kept = [
        int(selector.select(data, dynamics(losses, epoch, n_epochs)).keep.sum())
        for epoch in range(1, n_epochs + 1)
    ]
    assert kept[: first_choice - 1] == [20] * (first_choice - 1)
    assert kept[first_choice - 1] < 20
    assert kept[-1] < 20


def test_rate_divider_takes_the_granted_rate_or_its_own() -> None:
    losses = torch.arange(100) / 10
    granted = small_loss(divider="rate").select(plain(100, noise_rate=0.3), dynamics(losses))
    assert int(granted.keep.sum()) == 70
    own = small_loss(divider="rate", noise_rate=0.2)
    assert int(own.select(plain(100), dynamics(losses)).keep.sum()) == 80
    assert int(own.select(plain(100, noise_rate=0.3), dynamics(losses)).keep.sum()) == 80
    assert small_loss(divider="rate").knowledge_used() == ("noise rate",)


def test_rate_divider_without_a_granted_rate_says_so() -> None:
    with pytest.raises(PluginError, match="noise rate is not given to this selector"):
        small_loss(divider="rate").select(plain(100), dynamics(torch.arange(100) / 10))


# co-teaching-epoch, dividemix ---------------------------------------------------------------------


def pair(own: Any, peers: Any, epoch: int = 20, n_epochs: int = 60) -> Dynamics:
    return replace(dynamics(own, epoch, n_epochs), peers=(dynamics(peers, epoch, n_epochs),))


@pytest.mark.parametrize("name", ["co-teaching-epoch", "dividemix"])
def test_the_other_network_decides(name: str) -> None:
    selector: Any = get_selector(name)
    own, peers = [0.1, 3.0, 0.2, 2.5, 0.15, 2.8], [3.0, 0.1, 2.5, 0.2, 2.8, 0.15]
    answer = selector.select(plain(6, noise_rate=0.5), pair(own, peers))
    assert answer.keep.tolist() == [False, True] * 3
    losses = torch.tensor(peers)
    if name == "dividemix":
        losses = (losses - losses.min()) / (losses.max() - losses.min())
    assert answer.score.tolist() == pytest.approx((-losses).tolist())


@pytest.mark.parametrize("epoch", [1, 2, 5, 10, 11, 60])
def test_co_teaching_once_per_epoch_follows_the_schedule_of_the_paper(epoch: int) -> None:
    losses = torch.arange(100) / 10
    selector: Any = get_selector("co-teaching-epoch")
    answer = selector.select(plain(100, noise_rate=0.4), pair(losses, losses, epoch))
    n_kept = {1: 96, 2: 92, 5: 80}.get(epoch, 60)
    assert answer.keep.nonzero().flatten().tolist() == list(range(n_kept))
    assert selector.knowledge_used() == ("noise rate",)
    own: Any = get_selector("co-teaching-epoch", noise_rate=0.2, ramp_epochs=2)
    assert int(own.select(plain(100), pair(losses, losses, epoch=2)).keep.sum()) == 80


def test_dividemix_keeps_all_in_warm_up_and_asks_for_no_rate() -> None:
    selector: Any = get_selector("dividemix", warmup_epochs=3)
    losses = [0.0, 5.0, 0.1, 5.1]
    kept = [int(selector.select(plain(4), pair(losses, losses, e)).keep.sum()) for e in (1, 2, 3)]
    assert kept == [4, 4, 2]
    assert selector.knowledge_used() == ()


def released_division(history: torch.Tensor) -> tuple[list[float], list[bool]]:
    """What DivideMix's released code does with the losses of the epochs after the warm-up."""
    every = [(losses - losses.min()) / (losses.max() - losses.min()) for losses in history]
    mean = torch.stack(every).mean(dim=0)[:, None].double().numpy()
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(mean)
    clean = mixture.predict_proba(mean)[:, mixture.means_.argmin()]
    return (-mean[:, 0]).tolist(), (clean > 0.5).tolist()


@pytest.mark.parametrize("average_epochs", [1, 2, 3, 5])
@pytest.mark.parametrize("since_warmup", [1, 2, 4, 9])
def test_dividemix_averages_as_the_released_code(average_epochs: int, since_warmup: int) -> None:
    """Each epoch is normalised before the mean, and none of the warm-up is in it."""
    generator = torch.Generator().manual_seed(3)
    wrong = torch.arange(40) % 4 == 0
    # Later epochs have smaller losses, so that a mean of raw ones is that of the first.
    levels = torch.tensor([50.0, 20.0, 8.0, 3.0, 1.0])[:, None]
    history = levels * (wrong * 0.6 + 0.5 * torch.rand(5, 40, generator=generator))
    epoch = 10 + since_warmup - 1
    peer = replace(dynamics(history[-1], epoch), loss_history=history)
    seen = replace(dynamics(torch.zeros(40), epoch), peers=(peer,))
    selector: Any = get_selector("dividemix", average_epochs=average_epochs)
    answer = selector.select(plain(40), seen)
    score, keep = released_division(history[-min(average_epochs, since_warmup) :])
    assert answer.score.tolist() == pytest.approx(score, abs=1e-6)
    assert answer.keep.tolist() == keep


# CLIP and image features -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("clip-knn", {}),
        ("clip-zero-shot", {}),
        ("clipcleaner", {}),
        ("imagenet-baseline", {}),
        ("imagenet-baseline", {"criterion": "knn"}),
        ("imagenet-baseline", {"folds": 0}),
    ],
)
def test_planted_noise_is_found(name: str, settings: dict[str, Any]) -> None:
    data, truth = planted()
    selector: Any = get_selector(name, **settings)
    answer = selector.select(data)
    checked_answer(answer, data)
    found = evaluate_selection(answer, data.noisy_labels, truth)
    assert found["auroc"] > 0.95
    assert found["precision"] > 0.95
    assert found["recall"] > 0.4


def test_clip_zero_shot_keeps_what_its_prediction_confirms() -> None:
    data = TrainingData.from_arrays(
        [0, 1, 1, 0],
        2,
        embeddings=[[1.0, 0.1], [1.0, 0.1], [0.0, 1.0], [0.7, 0.72]],
        text_embeddings=[[[1.0, 0.0]], [[0.0, 1.0]]],
    )
    strict: Any = get_selector("clip-zero-shot")
    answer = strict.select(data)
    assert answer.keep.tolist() == [True, False, True, False]
    assert answer.diagnostics["zero_shot_agreement"] == 0.5
    assert answer.score.argsort(descending=True).tolist()[-1] == 1
    lenient: Any = get_selector("clip-zero-shot", temperature=1.0, consistency_cut=0.9)
    assert lenient.select(data).keep.tolist() == [True, False, True, True]


@pytest.mark.parametrize(("k", "used"), [(5, 5), (30, 30), (31, 30), (200, 30)])
def test_clip_knn_caps_k_at_half_the_mean_class_size(k: int, used: int) -> None:
    data, _ = planted(n_per_class=60)
    selector: Any = get_selector("clip-knn", k=k)
    assert selector.select(data).diagnostics["k"] == used


def test_clip_knn_beyond_its_cap_changes_nothing() -> None:
    data, _ = planted(n_per_class=60)
    scores = [get_selector("clip-knn", k=k).select(data).score for k in (30, 200)]  # type: ignore[union-attr, call-arg]
    assert torch.equal(scores[0], scores[1])


def test_clip_knn_uses_no_text() -> None:
    data = TrainingData.from_arrays([0, 0, 1, 1], 2, embeddings=torch.eye(4))
    knn: Any = get_selector("clip-knn")
    assert knn.select(data).score.shape == (4,)
    assert "class names" not in knn.knowledge_used()


@pytest.mark.parametrize("criterion", ["probe", "knn"])
def test_imagenet_baseline_uses_no_text(criterion: str) -> None:
    generator = torch.Generator().manual_seed(0)
    data = TrainingData.from_arrays(
        [i % 2 for i in range(40)], 2, embeddings=torch.randn(40, 4, generator=generator)
    )
    selector: Any = get_selector("imagenet-baseline", criterion=criterion)
    checked_answer(selector.select(data), data)
    assert selector.knowledge_used() == ("image pre-training",)


def test_imagenet_baseline_criteria_are_two_methods() -> None:
    data, _ = planted()
    probe, knn, in_sample = (
        get_selector("imagenet-baseline", **settings).select(data).score  # type: ignore[union-attr, call-arg]
        for settings in ({}, {"criterion": "knn"}, {"folds": 0})
    )
    assert not torch.allclose(probe, knn)
    assert not torch.allclose(probe, in_sample)


@pytest.mark.parametrize("criterion", ["probe", "knn"])
def test_imagenet_baseline_cuts_its_own_score(criterion: str) -> None:
    """p_y / max p >= t is log p_y - max of the other log p >= log t, and knn has p of 0."""
    data, _ = planted()
    settings = {"criterion": criterion, "theta_cons": 0.7, "k": 2}
    answer: Selection = get_selector("imagenet-baseline", **settings).select(data)  # type: ignore[union-attr, call-arg]
    assert torch.equal(answer.keep, answer.score >= math.log(0.7))
    assert answer.score.isfinite().all()
    assert answer.score.unique().numel() > 2


def test_imagenet_baseline_takes_a_mixture_where_asked() -> None:
    data, _ = planted()
    plain, both = (
        get_selector("imagenet-baseline", theta_gmm=theta).select(data)  # type: ignore[union-attr, call-arg]
        for theta in (0.0, 0.9)
    )
    assert torch.equal(plain.score, both.score)
    assert not (both.keep & ~plain.keep).any()
    assert both.keep.sum() < plain.keep.sum()


def test_imagenet_baseline_k_matters_for_neighbours_only() -> None:
    data, _ = planted()

    def score(**settings: Any) -> Tensor:
        selector: Any = get_selector("imagenet-baseline", **settings)
        answer: Selection = selector.select(data)
        return answer.score

    assert not torch.equal(score(criterion="knn", k=3), score(criterion="knn", k=30))
    assert torch.equal(score(criterion="knn", k=30), score(criterion="knn", k=300))
    assert torch.equal(score(k=3), score(k=30))


def test_imagenet_baseline_cross_fitting_judges_wrong_labels_harder() -> None:
    """An in-sample probe has seen the label it judges and is kinder to it."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(3).repeat_interleave(20)
    noisy = torch.where(torch.arange(60) % 5 == 0, (truth + 1) % 3, truth)
    features = torch.eye(3, 64)[truth] + 0.4 * torch.randn(60, 64, generator=generator)
    data = TrainingData.from_arrays(noisy, 3, embeddings=features)
    crossed, in_sample = (
        get_selector("imagenet-baseline", folds=folds).select(data).score  # type: ignore[union-attr, call-arg]
        for folds in (5, 0)
    )
    assert crossed[noisy != truth].mean() < in_sample[noisy != truth].mean()


@pytest.mark.parametrize("name", ["clip-knn", "clipcleaner", "imagenet-baseline"])
def test_one_sample_for_each_class_is_no_crash(name: str) -> None:
    data = TrainingData.from_arrays(
        [0, 1, 2],
        3,
        embeddings=torch.eye(3),
        text_embeddings=[torch.eye(3)[k : k + 1] for k in range(3)],
    )
    selector: Any = get_selector(name)
    answer = selector.select(data)
    assert answer.score.shape == (3,)
