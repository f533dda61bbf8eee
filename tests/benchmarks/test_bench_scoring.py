"""Timings of the scoring toolbox: 5 000 samples, 64 dimensions, 10 classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nlbench import scoring

pytestmark = pytest.mark.bench

N, D, K, N_PROMPTS = 5_000, 64, 10, 7


def unit_rows(n: int, seed: int) -> Tensor:
    rows = torch.randn(n, D, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(K, (N,), generator=GENERATOR)
FEATURES = torch.nn.functional.normalize(unit_rows(K, 1)[LABELS] + 0.7 * unit_rows(N, 2), dim=1)
TEXTS = [unit_rows(N_PROMPTS, seed=10 + k) for k in range(K)]
PROBABILITIES = torch.softmax(torch.randn(N, K, generator=GENERATOR), dim=1)
SCORE = scoring.log_probability(PROBABILITIES, LABELS)
FOLDS = scoring.stratified_folds(LABELS, torch.rand(N, generator=GENERATOR))

VOTES = torch.randint(K, (5, N), generator=GENERATOR)
JOINT = scoring.confident_joint(PROBABILITIES, LABELS)


def drawn() -> Tensor:
    with scoring.seeded(torch.Generator().manual_seed(0)):
        return torch.rand(N)


# What does not answer sample by sample.
OTHERS: dict[str, Callable[[], Any]] = {
    "confident_joint": lambda: scoring.confident_joint(PROBABILITIES, LABELS),
    "noise_rate_of_joint": lambda: scoring.noise_rate_of_joint(JOINT),
    "hoc_transition_matrix": lambda: scoring.hoc_transition_matrix(FEATURES, LABELS, K),
    "estimate_noise_rate": lambda: scoring.estimate_noise_rate(FEATURES, LABELS, K),
    "nearest_neighbours": lambda: scoring.nearest_neighbours(FEATURES, 10),
}

CASES: dict[str, Callable[[], Tensor]] = {
    "bmm_posterior": lambda: scoring.bmm_posterior(SCORE),
    "entropy": lambda: scoring.entropy(PROBABILITIES),
    "find_label_issues": lambda: scoring.find_label_issues(PROBABILITIES, LABELS),
    "gce_probe_probabilities": lambda: scoring.gce_probe_probabilities(FEATURES, LABELS, K),
    "majority_vote": lambda: scoring.majority_vote(VOTES, K),
    "of_label": lambda: scoring.of_label(PROBABILITIES, LABELS),
    "relation_reliability": lambda: scoring.relation_reliability(FEATURES, PROBABILITIES, LABELS),
    "seeded": drawn,
    "zero_shot_probabilities": lambda: scoring.zero_shot_probabilities(FEATURES, TEXTS),
    "probe_probabilities": lambda: scoring.probe_probabilities(FEATURES, LABELS, K),
    "probe_probabilities, 5 folds": lambda: scoring.probe_probabilities(
        FEATURES, LABELS, K, folds=FOLDS
    ),
    "knn_probabilities": lambda: scoring.knn_probabilities(FEATURES, LABELS, K),
    "stratified_folds": lambda: scoring.stratified_folds(LABELS, SCORE),
    "log_probability": lambda: scoring.log_probability(PROBABILITIES, LABELS),
    "consistency": lambda: scoring.consistency(PROBABILITIES, LABELS),
    "margin": lambda: scoring.margin(PROBABILITIES, LABELS),
    "min_max_normalise": lambda: scoring.min_max_normalise(SCORE),
    "min_max_normalise_per_class": lambda: scoring.min_max_normalise_per_class(SCORE, LABELS),
    "gmm_posterior": lambda: scoring.gmm_posterior(SCORE),
    "gmm_posterior_per_class": lambda: scoring.gmm_posterior_per_class(SCORE, LABELS),
    "keep_highest": lambda: scoring.keep_highest(SCORE, 0.6),
    "keep_highest_per_class": lambda: scoring.keep_highest_per_class(SCORE, LABELS, 0.6),
}


@pytest.mark.parametrize("case", CASES)
def test_scoring(benchmark: Any, case: str) -> None:
    assert len(benchmark(CASES[case])) == N


@pytest.mark.parametrize("case", OTHERS)
def test_scoring_of_the_whole(benchmark: Any, case: str) -> None:
    assert benchmark(OTHERS[case]) is not None


def test_every_function_of_the_toolbox_is_timed() -> None:
    timed = {case.split(",")[0] for case in (*CASES, *OTHERS)}
    assert timed == set(scoring.__all__) - {"VERSION"}
