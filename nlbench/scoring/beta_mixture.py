"""Two beta distributions on [0, 1] by expectation-maximisation, maximisation by moments."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, expit

Vector = npt.NDArray[np.float64]

_EDGE = 1e-6  # beta densities may be infinite at 0 and 1, and variances must not be 0
_LEAST_INNER, _RAISED_INNER = 1.02, 1.1


def posterior_of_upper_beta(x: Vector, n_iter: int) -> Vector:
    """Return the posterior of the component that leans to 1.

    The lower one starts as Beta(1, 2), the upper one as Beta(2, 1), with equal weights. A density
    that does not fall towards the other's end would claim the samples there: the lower one's second
    parameter and the upper one's first are raised to 1.1 where moments put them below 1.02.

    Args:
        x: (N,) in [0, 1], not constant.
        n_iter: Steps.
    """
    inside = _EDGE + (1 - 2 * _EDGE) * x
    parameters, weights = np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([0.5, 0.5])
    for _ in range(n_iter):
        upper = _posterior(inside, parameters, weights)
        parameters = np.stack([_moments(inside, 1 - upper), _moments(inside, upper)])
        for component, inner in ((0, 1), (1, 0)):
            if parameters[component, inner] < _LEAST_INNER:
                parameters[component, inner] = _RAISED_INNER
        weights = np.array([(1 - upper).mean(), upper.mean()])
    return _posterior(inside, parameters, weights)


def _posterior(x: Vector, parameters: Vector, weights: Vector) -> Vector:
    log_x, log_rest = np.log(x), np.log1p(-x)
    lower, upper = (
        np.log(max(float(w), _EDGE)) + (a - 1) * log_x + (b - 1) * log_rest - betaln(a, b)
        for w, (a, b) in zip(weights, parameters, strict=True)
    )
    posterior: Vector = expit(upper - lower)
    return posterior


def _moments(x: Vector, share: Vector) -> Vector:
    """Return the two parameters of the beta distribution with the weighted mean and variance."""
    size = share.sum() + _EDGE
    mean = float(np.clip((share * x).sum() / size, _EDGE, 1 - _EDGE))
    variance = max(float((share * np.square(x - mean)).sum() / size), _EDGE)
    n_equivalent = mean * (1 - mean) / variance - 1
    return np.maximum([mean * n_equivalent, (1 - mean) * n_equivalent], _EDGE)
