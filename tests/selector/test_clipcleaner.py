"""CLIPCleaner: parity with its released code, and each of the five deviations from it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from nlbench import ConfigError, RunError, Selection, TrainingData, get_selector
from nlbench.scoring import log_probability, min_max_normalise_per_class
from nlbench.selector import checked_answer

# Computed with the released CLIPCleaner code on synthetic features.
GOLDEN = Path(__file__).parents[1] / "golden"
CASES = ["sym50", "asym40"]


def golden(case: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"clipcleaner_{case}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def golden_data(case: str) -> TrainingData:
    arrays = golden(case)
    ends = np.cumsum(arrays["prompts_per_class"])
    return TrainingData.from_arrays(
        noisy_labels=arrays["labels"],
        n_classes=len(ends),
        embeddings=arrays["image_features"],
        text_embeddings=np.split(arrays["text_features"], ends[:-1]),
    )


def clipcleaner(faithful: bool, **settings: Any) -> Any:
    return get_selector("clipcleaner", faithful=faithful, **settings)


# Parity ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_faithful_probabilities_are_those_of_the_released_code(case: str) -> None:
    zero_shot, probe = clipcleaner(faithful=True).probabilities(golden_data(case))
    expected = golden(case)
    assert np.abs(zero_shot.numpy() - expected["zero_shot_probs"]).max() < 2e-3
    assert np.abs(probe.numpy() - expected["lr_probs"]).max() < 2e-3


@pytest.mark.parametrize("case", CASES)
def test_faithful_zero_shot_scores_are_those_of_the_released_code(case: str) -> None:
    data = golden_data(case)
    zero_shot, _ = clipcleaner(faithful=True).probabilities(data)
    log_p = log_probability(zero_shot, data.noisy_labels)
    score = min_max_normalise_per_class(log_p, data.noisy_labels)
    assert np.abs(score.numpy() - golden(case)["zero_shot_loss_score"]).max() < 1e-4


@pytest.mark.parametrize("case", CASES)
def test_faithful_selection_is_that_of_the_released_code(case: str) -> None:
    keep = clipcleaner(faithful=True).select(golden_data(case)).keep.numpy()
    expected = np.zeros(len(keep), dtype=bool)
    expected[golden(case)["selected"]] = True
    assert (keep & expected).sum() / (keep | expected).sum() >= 0.99


@pytest.mark.parametrize("case", CASES)
def test_prompt_mean_moves_the_probabilities_away_from_the_released_code(case: str) -> None:
    """The parity above is not a matter of wide tolerances."""
    zero_shot, _ = clipcleaner(faithful=False).probabilities(golden_data(case))
    assert np.abs(zero_shot.numpy() - golden(case)["zero_shot_probs"]).max() > 2e-3


# The five deviations: each assertion holds for our variant and fails for the released one. -------

Assertion = Callable[[bool], None]


def circle(n_per_class: int, n_classes: int, seed: int = 0) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return features around K orthogonal centres, their labels and one text a class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n_classes).repeat_interleave(n_per_class)
    centres = torch.eye(8)[:n_classes]
    features = centres[labels] + 0.25 * torch.randn(len(labels), 8, generator=generator)
    return features, labels, [centre[None] for centre in centres]


def assert_repeating_prompts_changes_nothing(faithful: bool) -> None:
    features, labels, texts = circle(60, 3)
    repeated = [texts[0].repeat(12, 1), *texts[1:]]
    once, often = (
        clipcleaner(faithful).select(
            TrainingData.from_arrays(labels, 3, embeddings=features, text_embeddings=given)
        )
        for given in (texts, repeated)
    )
    torch.testing.assert_close(often.score, once.score, atol=1e-5, rtol=0)
    assert torch.equal(often.keep, once.keep)


def assert_refill_takes_the_most_likely(faithful: bool) -> None:
    """All labels "2" look like class 0 or 1, so none qualifies and the class is refilled."""
    features, truth, texts = circle(60, 2)
    labels = truth.clone()
    mislabelled = torch.arange(0, 120, 4)
    labels[mislabelled] = 2
    # A little of class 2 in the mislabelled ones, from nearly none to some: one best, one worst.
    amount = torch.linspace(0, 0.3, len(mislabelled))
    features[mislabelled, 2] = amount
    features[mislabelled, 3:] = 0
    data = TrainingData.from_arrays(
        labels, 3, embeddings=features, text_embeddings=[*texts, torch.eye(8)[2:3]]
    )
    selector = clipcleaner(faithful)
    answer = selector.select(data)
    assert answer.diagnostics["refilled_classes"] == [2]
    refilled = answer.keep & (labels == 2)
    likely = selector.probabilities(data)[0][:, 2]
    left_out = (labels == 2) & ~refilled
    assert refilled.sum() >= 120 // 9
    assert left_out.any()
    assert likely[refilled].min() >= likely[left_out].max(), "a less likely sample was taken"


def assert_probability_zero_is_survived(faithful: bool) -> None:
    features, labels, texts = circle(40, 3)
    labels[::5] = (labels[::5] + 1) % 3
    data = TrainingData.from_arrays(labels, 3, embeddings=features, text_embeddings=texts)
    selector = clipcleaner(faithful, temperature=0.005)
    zero_shot, _ = selector.probabilities(data)
    assert bool((zero_shot.gather(1, labels[:, None]) == 0).any()), "the case is not the one meant"
    answer = selector.select(data)
    assert bool(torch.isfinite(answer.score).all())
    impossible = zero_shot.gather(1, labels[:, None]).squeeze(1) == 0
    assert not bool(answer.keep[impossible].any())


def assert_absent_class_is_passed_over(faithful: bool) -> None:
    features, labels, texts = circle(60, 3)
    labels = torch.tensor([0, 2, 3])[labels]
    absent = torch.eye(8)[5:6]
    data = TrainingData.from_arrays(
        labels, 4, embeddings=features, text_embeddings=[texts[0], absent, *texts[1:]]
    )
    answer: Selection = clipcleaner(faithful).select(data)
    checked_answer(answer, data)
    assert answer.diagnostics["refilled_classes"] == []
    assert labels[answer.keep].unique().tolist() == [0, 2, 3]


def assert_probe_is_solved_to_its_optimum(faithful: bool) -> None:
    data = golden_data("sym50")
    x, y = data.embeddings().double().numpy(), data.noisy_labels.numpy()
    solved = LogisticRegression(class_weight="balanced", tol=1e-6, max_iter=5000).fit(x, y)
    _, probe = clipcleaner(faithful).probabilities(data)
    expected = torch.from_numpy(solved.predict_proba(x)).float()
    torch.testing.assert_close(probe, expected, atol=2e-4, rtol=0)


DEVIATIONS = {
    "prompt mean": assert_repeating_prompts_changes_nothing,
    "refill": assert_refill_takes_the_most_likely,
    "probability 0": assert_probability_zero_is_survived,
    "absent class": assert_absent_class_is_passed_over,
    "probe": assert_probe_is_solved_to_its_optimum,
}


@pytest.mark.parametrize("name", DEVIATIONS)
def test_deviation_holds(name: str) -> None:
    DEVIATIONS[name](False)


@pytest.mark.parametrize(
    ("name", "failure", "message"),
    [
        ("prompt mean", AssertionError, "not close"),
        ("refill", AssertionError, "a less likely sample was taken"),
        ("probability 0", RunError, "exactly 0.*faithful=False"),
        ("absent class", RunError, r"classes \[1\].*faithful=False"),
        ("probe", AssertionError, "not close"),
    ],
)
def test_released_code_fails_what_the_deviation_passes(
    name: str, failure: type[Exception], message: str
) -> None:
    with pytest.raises(failure, match=message):
        DEVIATIONS[name](True)


# Behaviour -------------------------------------------------------------------------------------


def test_refill_takes_as_many_as_the_smallest_class_that_kept_some() -> None:
    features, truth, texts = circle(60, 2)
    labels = truth.clone()
    labels[1::2] = 2  # 30 of each stay, 60 are called "2" and look like 0 or 1
    data = TrainingData.from_arrays(
        labels, 3, embeddings=features, text_embeddings=[*texts, torch.eye(8)[2:3]]
    )
    answer = clipcleaner(faithful=False).select(data)
    kept = torch.bincount(labels[answer.keep], minlength=3)
    assert answer.diagnostics["refilled_classes"] == [2]
    assert kept[2] == max(120 // 9, int(kept[:2].min()))


@pytest.mark.parametrize("case", CASES)
def test_stricter_thresholds_keep_fewer(case: str) -> None:
    data = golden_data(case)
    usual = clipcleaner(faithful=False).select(data).keep
    for stricter in ({"theta_gmm": 0.95}, {"theta_cons": 1.0}):
        answer = clipcleaner(faithful=False, **stricter).select(data)
        assert answer.keep.sum() < usual.sum()
        # A class that the stricter rule leaves empty is refilled, with others than before.
        refilled = torch.isin(
            data.noisy_labels, torch.tensor(answer.diagnostics["refilled_classes"])
        )
        assert not (answer.keep & ~usual & ~refilled).any()


@pytest.mark.parametrize("case", CASES)
def test_score_ranks_within_each_class_from_zero_to_one(case: str) -> None:
    data = golden_data(case)
    score = clipcleaner(faithful=False).select(data).score
    assert score.min() >= 0
    assert score.max() <= 1
    assert len(score.unique()) > 2000


def test_knowledge_names_text_and_pre_training() -> None:
    used = clipcleaner(faithful=False).knowledge_used()
    assert set(used) == {"class names", "image-text pre-training"}


# The ablation: each criterion by itself ----------------------------------------------------------

SWITCHES = ("zero_shot_loss", "zero_shot_consistency", "probe_loss", "probe_consistency")


def only(*names: str, **settings: Any) -> Any:
    return get_selector("clipcleaner", **{name: name in names for name in SWITCHES}, **settings)


@cache
def alone(case: str, name: str) -> Selection:
    answer: Selection = only(name).select(golden_data(case))
    return answer


def switched_on(n: int) -> list[tuple[str, ...]]:
    return list(itertools.combinations(SWITCHES, n))


@pytest.mark.parametrize("case", CASES)
def test_each_criterion_can_be_switched_off(case: str) -> None:
    """What all four keep is what each keeps by itself, but for classes that are refilled."""
    data = golden_data(case)
    every = get_selector("clipcleaner").select(data)  # type: ignore[union-attr, call-arg]
    keeps = [alone(case, name).keep for name in SWITCHES]
    assert len({tuple(keep.tolist()) for keep in keeps}) == 4, "they are four criteria"
    assert every.diagnostics["refilled_classes"] == []
    assert torch.equal(torch.stack(keeps).all(dim=0), every.keep)


@pytest.mark.parametrize("names", [*switched_on(2), *switched_on(3)])
@pytest.mark.parametrize("case", CASES)
def test_every_combination_keeps_what_each_of_its_criteria_keeps(
    case: str, names: tuple[str, ...]
) -> None:
    """All rows that an ablation may have; the score is the mean over the estimates in use."""
    data = golden_data(case)
    answer = only(*names).select(data)
    each = [alone(case, name) for name in names]
    assert answer.diagnostics["refilled_classes"] == []
    assert torch.equal(torch.stack([one.keep for one in each]).all(dim=0), answer.keep)
    used = {name.rpartition("_")[0]: one.score for name, one in zip(names, each, strict=True)}
    torch.testing.assert_close(answer.score, torch.stack(list(used.values())).mean(dim=0))
    assert ("class names" in only(*names).knowledge_used()) == ("zero_shot" in used)


@pytest.mark.parametrize("estimate", ["zero_shot", "probe"])
def test_a_criterion_is_its_formula(estimate: str) -> None:
    data = golden_data("sym50")
    both = clipcleaner(faithful=False).probabilities(data)
    p = both[0 if estimate == "zero_shot" else 1]
    share = p[torch.arange(data.n_samples), data.noisy_labels] / p.max(dim=1).values
    assert torch.equal(only(f"{estimate}_consistency").select(data).keep, share >= 0.8)


def test_the_probe_alone_needs_no_class_names_and_no_prompts() -> None:
    arrays = golden("sym50")
    data = TrainingData.from_arrays(
        noisy_labels=arrays["labels"],
        n_classes=len(arrays["prompts_per_class"]),
        embeddings=arrays["image_features"],
    )
    selector = only("probe_loss", "probe_consistency")
    assert selector.knowledge_used() == ("image-text pre-training",)
    assert 0 < int(selector.select(data).keep.sum()) < data.n_samples
    assert "class names" in only("zero_shot_loss").knowledge_used()


def test_all_criteria_off_is_refused() -> None:
    with pytest.raises(ConfigError, match="must use at least one criterion, got all four"):
        only()
