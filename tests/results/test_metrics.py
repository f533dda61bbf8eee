"""Selection metrics against loops anyone can check by eye."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbench import ConfigError, Selection, evaluate_selection
from nlbench.results.metrics import accuracy_per_class, score_histogram


def selection(keep: list[bool], score: list[float], labels: list[int] | None = None) -> Selection:
    return Selection(
        keep=torch.tensor(keep),
        score=torch.tensor(score, dtype=torch.float64),
        labels=None if labels is None else torch.tensor(labels),
    )


def slow_auroc(clean: list[bool], score: list[float]) -> float | None:
    """Share of (clean, noisy) pairs in the right order, ties half."""
    pairs = [
        (score[i] > score[j]) + 0.5 * (score[i] == score[j])
        for i in range(len(clean))
        for j in range(len(clean))
        if clean[i] and not clean[j]
    ]
    return sum(pairs) / len(pairs) if pairs else None


def slow_auprc(clean: list[bool], score: list[float]) -> float | None:
    """Average precision: recall gained at each distinct score times the precision there."""
    if all(clean) or not any(clean):
        return None
    taken = hits = 0
    total = 0.0
    ranked = sorted(zip(score, clean, strict=True), key=lambda pair: -pair[0])
    for _, tied in groupby(ranked, key=lambda pair: pair[0]):
        members = [is_clean for _, is_clean in tied]
        taken, hits = taken + len(members), hits + sum(members)
        total += sum(members) * hits / taken
    return total / sum(clean)


def slow_precision_at(clean: list[bool], score: list[float], share: float) -> float | None:
    """The mean over all orders in which samples that tie may stand."""
    n_kept = round(share * len(clean))
    hits = 0.0
    ranked = sorted(zip(score, clean, strict=True), key=lambda pair: -pair[0])
    room = n_kept
    for _, tied in groupby(ranked, key=lambda pair: pair[0]):
        members = [is_clean for _, is_clean in tied]
        taken = min(room, len(members))
        hits, room = hits + taken * sum(members) / len(members), room - taken
    return hits / n_kept if n_kept else None


def slow_metrics(
    keep: list[bool],
    score: list[float],
    noisy: list[int],
    truth: list[int],
    corrected: list[int] | None,
) -> dict[str, Any]:
    rows = range(len(keep))
    clean = [noisy[i] == truth[i] for i in rows]
    hits = sum(keep[i] and clean[i] for i in rows)
    precision = hits / sum(keep) if any(keep) else 0.0
    recall = hits / sum(clean) if any(clean) else 0.0
    used = corrected or noisy
    wrong = sum(keep[i] and used[i] != truth[i] for i in rows)
    per_class: list[float | None] = []
    for label in range(max(noisy) + 1):
        members = [i for i in rows if clean[i] and truth[i] == label]
        found = sum(keep[i] for i in members)
        per_class.append(found / len(members) if members else None)
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if hits else 0.0,
        "auroc": slow_auroc(clean, score),
        "auprc": slow_auprc(clean, score),
        "kept_fraction": sum(keep) / len(keep),
        "noise_rate_before": clean.count(False) / len(clean),
        "noise_rate_after": wrong / sum(keep) if any(keep) else 0.0,
        "worst_class_recall": min((r for r in per_class if r is not None), default=None),
        "recall_per_class": per_class,
        "precision_at_25": slow_precision_at(clean, score, 0.25),
        "precision_at_50": slow_precision_at(clean, score, 0.5),
        "precision_at_75": slow_precision_at(clean, score, 0.75),
        "precision_at_clean_share": slow_precision_at(clean, score, sum(clean) / len(clean)),
    }


labels = st.integers(0, 3)
# A few values only, so that scores tie.
rows = st.tuples(st.booleans(), st.sampled_from([-1.5, 0.0, 0.25, 3.0]), labels, labels, labels)


@settings(deadline=None)
@given(st.lists(rows, min_size=1, max_size=40), st.booleans())
def test_metrics_are_those_of_the_slow_reference(
    drawn: list[tuple[bool, float, int, int, int]], correct: bool
) -> None:
    keep, score, noisy, truth, fixed = (list(column) for column in zip(*drawn, strict=True))
    corrected = fixed if correct else None
    got = evaluate_selection(selection(keep, score, corrected), noisy, truth)
    expected = slow_metrics(keep, score, noisy, truth, corrected)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, abs=1e-12), name


@settings(deadline=None)
@given(st.lists(rows, min_size=1, max_size=40))
def test_shares_stay_within_zero_and_one(drawn: list[tuple[bool, float, int, int, int]]) -> None:
    keep, score, noisy, truth, _ = (list(column) for column in zip(*drawn, strict=True))
    got = evaluate_selection(selection(keep, score), noisy, truth)
    shares = [v for v in got.values() if isinstance(v, float)]
    assert all(0 <= share <= 1 for share in shares)


def test_a_case_by_hand() -> None:
    got = evaluate_selection(
        selection([True, True, True, False, False], [0.9, 0.8, 0.7, 0.6, 0.1]),
        noisy_labels=[0, 0, 1, 1, 1],
        clean_labels=[0, 1, 1, 1, 0],
    )
    assert got["precision"] == got["recall"] == pytest.approx(2 / 3)
    assert got["f1"] == pytest.approx(2 / 3)
    assert got["kept_fraction"] == 0.6
    assert got["noise_rate_before"] == 0.4
    assert got["noise_rate_after"] == pytest.approx(1 / 3)
    assert got["recall_per_class"] == [1.0, 0.5]
    assert got["worst_class_recall"] == 0.5
    assert got["auroc"] == pytest.approx(4 / 6)


def test_equal_scores_rank_like_chance() -> None:
    got = evaluate_selection(selection([True] * 4, [1.0] * 4), [0, 0, 0, 0], [0, 0, 0, 1])
    assert got["auroc"] == 0.5
    assert got["auprc"] == 0.75


def test_higher_scores_mean_cleaner() -> None:
    noisy, truth = [0, 0, 1, 1], [0, 1, 1, 0]
    right = evaluate_selection(selection([True] * 4, [2, 1, 2, 1]), noisy, truth)
    wrong = evaluate_selection(selection([True] * 4, [1, 2, 1, 2]), noisy, truth)
    assert (right["auroc"], wrong["auroc"]) == (1.0, 0.0)
    assert right["auprc"] == 1.0


def test_nothing_kept_is_zero_not_an_error() -> None:
    got = evaluate_selection(selection([False, False], [0.2, 0.1]), [0, 1], [0, 0])
    assert [got[name] for name in ("precision", "recall", "f1", "kept_fraction")] == [0.0] * 4
    assert got["noise_rate_after"] == 0.0
    assert got["auroc"] == 1.0


def test_without_noise_there_is_no_ranking_to_judge() -> None:
    got = evaluate_selection(selection([True, False], [0.2, 0.1]), [0, 1], [0, 1])
    assert got["auroc"] is None
    assert got["auprc"] is None
    assert (got["precision"], got["recall"], got["noise_rate_before"]) == (1.0, 0.5, 0.0)


def test_with_noise_only_there_is_no_ranking_to_judge() -> None:
    got = evaluate_selection(selection([True, False], [0.2, 0.1]), [0, 1], [1, 0])
    assert got["auroc"] is None
    assert got["auprc"] is None
    assert (got["precision"], got["recall"], got["f1"]) == (0.0, 0.0, 0.0)
    assert got["worst_class_recall"] is None, "no class has a clean sample"


def test_corrected_labels_lower_the_noise_but_earn_no_precision() -> None:
    noisy, truth = [0, 0, 1, 1], [0, 1, 1, 0]
    plain = evaluate_selection(selection([True] * 4, [0.0] * 4), noisy, truth)
    fixed = evaluate_selection(selection([True] * 4, [0.0] * 4, truth), noisy, truth)
    assert (plain["noise_rate_after"], fixed["noise_rate_after"]) == (0.5, 0.0)
    assert plain["precision"] == fixed["precision"] == 0.5


def test_corrected_labels_of_dropped_samples_do_not_count() -> None:
    answer = selection([True, False], [1.0, 0.0], labels=[0, 0])
    assert evaluate_selection(answer, [0, 1], [0, 1])["noise_rate_after"] == 0.0


def test_worst_class_tells_what_the_mean_hides() -> None:
    noisy = truth = [0] * 98 + [1, 2]
    got = evaluate_selection(selection([True] * 98 + [True, False], [0.0] * 100), noisy, truth)
    assert got["recall"] == 0.99
    assert got["worst_class_recall"] == 0.0
    assert got["recall_per_class"] == [1.0, 1.0, 0.0]


def test_class_without_a_clean_sample_has_no_recall() -> None:
    got = evaluate_selection(selection([True, True, False], [0.0] * 3), [0, 1, 3], [0, 0, 3])
    assert got["recall_per_class"] == [1.0, None, None, 0.0]
    assert got["worst_class_recall"] == 0.0


@pytest.mark.parametrize(
    ("noisy", "truth"), [([0, 1, 1], [0, 1]), ([0, 1], [0, 1, 1]), ([0], [0]), ([0, 1], [0])]
)
def test_lengths_that_differ_are_refused(noisy: list[int], truth: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"same length, got keep 2, score 2, noisy"):
        evaluate_selection(selection([True, False], [1.0, 0.0]), noisy, truth)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_any_floating_point_score_that_a_selection_takes_is_measured(dtype: torch.dtype) -> None:
    answer = Selection(keep=torch.tensor([True, False]), score=torch.tensor([0.5, 0.1]).to(dtype))
    assert evaluate_selection(answer, [0, 1], [0, 0])["auroc"] == 1.0


def test_lists_arrays_and_tensors_give_the_same() -> None:
    answer = selection([True, True, False], [0.9, 0.2, 0.4])
    forms = [list, np.array, torch.tensor]
    results = [evaluate_selection(answer, form([0, 1, 1]), form([0, 0, 1])) for form in forms]
    assert results[0] == results[1] == results[2]
    assert results[0]["precision"] == 0.5


def test_accuracy_per_class_counts_within_the_true_class() -> None:
    assert accuracy_per_class([0, 1, 1, 1], [0, 0, 1, 1], n_classes=4) == [0.5, 1.0, None, None]


def test_histogram_counts_every_sample_once() -> None:
    score, clean = torch.linspace(-2, 2, 101), torch.arange(101) % 3 == 0
    counted = score_histogram(score, clean, bins=8)
    assert sum(counted["clean"]) == 34
    assert sum(counted["noisy"]) == 67
    assert (counted["edges"][0], counted["edges"][-1]) == (-2.0, 2.0)
    assert len(counted["clean"]) == len(counted["noisy"]) == len(counted["edges"]) - 1 == 8


def test_histogram_of_equal_scores_still_has_a_width() -> None:
    counted = score_histogram(torch.full((5,), 0.3), torch.tensor([True] * 2 + [False] * 3))
    assert (sum(counted["clean"]), sum(counted["noisy"])) == (2, 3)
    assert all(
        low < high for low, high in zip(counted["edges"], counted["edges"][1:], strict=False)
    )
