"""The toolbox of plugin authors: probabilities -> score -> threshold, as pure tensor functions."""

from nlbench.scoring.probabilities import (
    knn_probabilities,
    probe_probabilities,
    stratified_folds,
    zero_shot_probabilities,
)
from nlbench.scoring.scores import consistency, log_probability, margin
from nlbench.scoring.thresholds import (
    gmm_posterior,
    gmm_posterior_per_class,
    keep_highest,
    keep_highest_per_class,
    min_max_normalise,
    min_max_normalise_per_class,
)

__all__ = [
    "consistency",
    "gmm_posterior",
    "gmm_posterior_per_class",
    "keep_highest",
    "keep_highest_per_class",
    "knn_probabilities",
    "log_probability",
    "margin",
    "min_max_normalise",
    "min_max_normalise_per_class",
    "probe_probabilities",
    "stratified_folds",
    "zero_shot_probabilities",
]
