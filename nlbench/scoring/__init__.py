"""Toolbox of selector authors: probabilities, scores, thresholds, as pure functions; no data."""

from __future__ import annotations

from nlbench.scoring.ordered import ordered_neighbours
from nlbench.scoring.probabilities import (
    knn_probabilities,
    probe_probabilities,
    stratified_folds,
    zero_shot_probabilities,
)
from nlbench.scoring.relation import relation_reliability
from nlbench.scoring.robust_probe import gce_probe_probabilities
from nlbench.scoring.scores import consistency, log_probability, margin
from nlbench.scoring.thresholds import (
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
    "consistency",
    "gce_probe_probabilities",
    "gmm_posterior",
    "gmm_posterior_per_class",
    "keep_highest",
    "keep_highest_per_class",
    "knn_probabilities",
    "log_probability",
    "margin",
    "min_max_normalise",
    "min_max_normalise_per_class",
    "ordered_neighbours",
    "probe_probabilities",
    "relation_reliability",
    "stratified_folds",
    "zero_shot_probabilities",
]
