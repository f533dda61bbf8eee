"""Two Gaussians on a line by expectation-maximisation, as scikit-learn's ``GaussianMixture`` does.

Ours is for one dimension and two components: no matrices, and no cost by the call, which is what a
mixture for each of a hundred classes spends its time on. `tests/scoring/test_scoring.py` holds
it against scikit-learn's answer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_LOG_2PI = float(np.log(2 * np.pi))


def posterior_of_upper(x: Vector, max_iter: int, tol: float, reg_covar: float) -> Vector:
    """Return the posterior of the component with the larger mean, from the exact 2-means start.

    Args:
        x: (N,) not constant.
        max_iter: Steps at most.
        tol: Stop when the mean log-likelihood gains less.
        reg_covar: Added to the variances.
    """
    weights, means, variances = two_means(np.sort(x))
    variances = variances + reg_covar
    before = -np.inf
    for _ in range(max_iter):
        upper, likelihood = _posterior(x, weights, means, variances)
        weights, means, variances = _fitted(x, upper, reg_covar)
        if abs(likelihood - before) < tol:
            break
        before = likelihood
    upper, _ = _posterior(x, weights, means, variances)
    return upper if means[1] >= means[0] else 1 - upper


def _posterior(
    x: Vector, weights: Vector, means: Vector, variances: Vector
) -> tuple[Vector, float]:
    """Return the second component's posterior (N,) and the mean log-likelihood."""
    lower, upper = (
        np.log(w) - 0.5 * (_LOG_2PI + np.log(v)) - (0.5 / v) * np.square(x - m)
        for w, m, v in zip(weights, means, variances, strict=True)
    )
    odds = upper - lower
    # log(e^lower + e^upper), and its share, without overflow.
    rest = np.exp(-np.abs(odds))
    likelihood = np.maximum(lower, upper) + np.log1p(rest)
    posterior = np.where(odds >= 0, 1.0, rest) / (1 + rest)
    return posterior, float(likelihood.mean())


def _fitted(x: Vector, upper: Vector, reg_covar: float) -> tuple[Vector, Vector, Vector]:
    shares = (1 - upper, upper)
    # The 10 eps are scikit-learn's, against a component that nobody belongs to.
    sizes = np.array([share.sum() for share in shares]) + 10 * np.finfo(np.float64).eps
    means = np.array([(share * x).sum() for share in shares]) / sizes
    spread = [(share * np.square(x - m)).sum() for share, m in zip(shares, means, strict=True)]
    return sizes / sizes.sum(), means, np.array(spread) / sizes + reg_covar


def two_means(x: Vector) -> tuple[Vector, Vector, Vector]:
    """Return weights, means and variances of the best split of sorted values into two groups."""
    n_left = np.arange(1, len(x))
    total = np.cumsum(x)
    left, right = total[:-1] / n_left, (total[-1] - total[:-1]) / (len(x) - n_left)
    between = n_left * left**2 + (len(x) - n_left) * right**2
    between[x[1:] == x[:-1]] = -np.inf  # equal values stay together
    cut = int(between.argmax()) + 1
    groups = (x[:cut], x[cut:])
    weights = np.array([cut, len(x) - cut]) / len(x)
    return weights, np.array([g.mean() for g in groups]), np.array([g.var() for g in groups])
