"""Toolbox of selector authors: probabilities, scores, thresholds, as pure functions; no data."""

from __future__ import annotations

from nlbench.scoring.confident import confident_joint, find_label_issues, noise_rate_of_joint
from nlbench.scoring.hoc import estimate_noise_rate, hoc_transition_matrix
from nlbench.scoring.neighbours import nearest_neighbours
from nlbench.scoring.probabilities import (
    knn_probabilities,
    probe_probabilities,
    stratified_folds,
    zero_shot_probabilities,
)
from nlbench.scoring.relation import relation_reliability
from nlbench.scoring.robust_probe import gce_probe_probabilities
from nlbench.scoring.scores import (
    consistency,
    entropy,
    log_probability,
    majority_vote,
    margin,
    of_label,
)
from nlbench.scoring.seeding import seeded
from nlbench.scoring.thresholds import (
    bmm_posterior,
    gmm_posterior,
    gmm_posterior_per_class,
    keep_highest,
    keep_highest_per_class,
    min_max_normalise,
    min_max_normalise_per_class,
)

# Raised when the numbers of any function here change; part of the fingerprint of every run whose
# selector imports this toolbox, guarded by tests/golden.
VERSION = 1

__all__ = [
    "VERSION",
    "bmm_posterior",
    "confident_joint",
    "consistency",
    "entropy",
    "estimate_noise_rate",
    "find_label_issues",
    "gce_probe_probabilities",
    "gmm_posterior",
    "gmm_posterior_per_class",
    "hoc_transition_matrix",
    "keep_highest",
    "keep_highest_per_class",
    "knn_probabilities",
    "log_probability",
    "majority_vote",
    "margin",
    "min_max_normalise",
    "min_max_normalise_per_class",
    "nearest_neighbours",
    "noise_rate_of_joint",
    "of_label",
    "probe_probabilities",
    "relation_reliability",
    "seeded",
    "stratified_folds",
    "zero_shot_probabilities",
]
