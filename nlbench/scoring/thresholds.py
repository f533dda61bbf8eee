"""From a score to a decision: two-component mixtures and keep rates, global or per class.

Sources: mixture on min-max normalised losses, DivideMix (Li et al., ICLR 2020, arXiv 2002.07394);
per class, CLIPCleaner (arXiv 2408.10012); beta mixture, Arazo et al. (ICML 2019, arXiv 1904.11238),
with start and guards of IDO's released code (Zhang et al., NeurIPS 2025, arXiv 2505.00812); keep
rate, Co-teaching (Han et al., NeurIPS 2018, arXiv 1804.06872).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nlbench.errors import PluginError
from nlbench.scoring.beta_mixture import posterior_of_upper_beta
from nlbench.scoring.mixture import posterior_of_upper

_MIN_FOR_MIXTURE = 4


def min_max_normalise(score: Tensor) -> Tensor:
    """Return the score scaled to [0, 1]; all ones where it is constant (nothing speaks against).

    >>> min_max_normalise(torch.tensor([1.0, 2.0, 3.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    low, high = score.min(), score.max()
    if bool(high == low):
        return torch.ones_like(score)
    return (score - low) / (high - low)


def min_max_normalise_per_class(score: Tensor, noisy_labels: Tensor) -> Tensor:
    """Return the score scaled to [0, 1] within each noisy class."""
    return _per_class(min_max_normalise, score, noisy_labels)


def gmm_posterior(
    score: Tensor,
    max_iter: int = 100,
    tol: float = 1e-3,
    reg_covar: float = 1e-6,
    normalise: bool = True,
) -> Tensor:
    """Return the posterior of the better of two Gaussian components, after min-max normalisation.

    EM starts from the exact 2-means split of the sorted scores. scikit-learn's own start is
    k-means from random centres, which finds the same split on most draws: without the draw, equal
    scores get equal answers in any order.

    Args:
        score: (N,), higher = cleaner.
        max_iter: EM steps at most.
        tol: EM stops when the mean log-likelihood gains less.
        reg_covar: Added to the variances.
        normalise: False leaves the score as it is, for one that is a mean of normalised ones.

    Returns:
        (N,) in [0, 1]; all ones where the score is constant or has fewer than 4 values.

    Raises:
        PluginError: if a score is NaN or infinite.
    """
    if not bool(torch.isfinite(score).all()):
        raise PluginError("scores must be finite, got NaN or infinity.")
    scaled = min_max_normalise(score) if normalise else score
    x = scaled.detach().double().cpu().numpy()
    if len(x) < _MIN_FOR_MIXTURE or np.ptp(x) == 0:
        return torch.ones_like(score)
    return torch.from_numpy(posterior_of_upper(x, max_iter, tol, reg_covar)).to(score)


def gmm_posterior_per_class(score: Tensor, noisy_labels: Tensor, **settings: float) -> Tensor:
    """Return `gmm_posterior` with one mixture for each noisy class."""
    return _per_class(lambda part: gmm_posterior(part, **settings), score, noisy_labels)  # type: ignore[arg-type]


def bmm_posterior(score: Tensor, n_iter: int = 20) -> Tensor:
    """Return the posterior of the better of two beta components, after min-max normalisation.

    Beta distributions fit what piles up at both ends, such as counts, where Gaussians do not. The
    components start as Beta(1, 2) and Beta(2, 1), so there is nothing to draw.

    Args:
        score: (N,), higher = cleaner.
        n_iter: EM steps, all of which are taken.

    Returns:
        (N,) in [0, 1]; all ones where the score is constant or has fewer than 4 values.

    Raises:
        PluginError: if a score is NaN or infinite.
    """
    if not bool(torch.isfinite(score).all()):
        raise PluginError("scores must be finite, got NaN or infinity.")
    x = min_max_normalise(score.detach().double()).cpu().numpy()
    if len(x) < _MIN_FOR_MIXTURE or np.ptp(x) == 0:
        return torch.ones_like(score)
    return torch.from_numpy(posterior_of_upper_beta(x, n_iter)).to(score)


def keep_highest(score: Tensor, fraction: float) -> Tensor:
    """Mark the round(fraction x N) highest scores, at least one; ties go to earlier samples.

    >>> keep_highest(torch.tensor([0.1, 0.9, 0.5, 0.7]), 0.5).tolist()
    [False, True, False, True]
    """
    keep = torch.zeros(len(score), dtype=torch.bool, device=score.device)
    n_keep = max(1, round(fraction * len(score)))
    keep[torch.argsort(score, descending=True, stable=True)[:n_keep]] = True
    return keep


def keep_highest_per_class(score: Tensor, noisy_labels: Tensor, fraction: float) -> Tensor:
    """Mark the highest scores within each noisy class, at least one in each present class."""
    return _per_class(lambda part: keep_highest(part, fraction), score, noisy_labels)


def _per_class(function: Callable[[Tensor], Tensor], score: Tensor, noisy_labels: Tensor) -> Tensor:
    out: Tensor | None = None
    for label in noisy_labels.unique():
        members = noisy_labels == label
        part = function(score[members])
        if out is None:
            out = torch.zeros(len(score), dtype=part.dtype, device=score.device)
        out[members] = part
    return torch.zeros_like(score) if out is None else out
