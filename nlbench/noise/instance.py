"""Noise that depends on the image: part-dependent label noise of Xia et al.

Every sample gets its own rate q, a normal around the nominal rate (SD 0.1) cut to [0, 1]. Every
class has one random projection W (d, K) from a standard normal. A sample x of class y keeps its
label with probability 1 - q; else the new label follows the softmax of x W[y] over the other
classes.

Source: Xia et al., NeurIPS 2020, "Part-dependent Label Noise" (arXiv 2006.07836), algorithm 2; the
generator of its released code. Ours differs in the random streams: each class has its own, so that
one projection is in memory at a time and an absent class changes nothing, and q comes from the
inverse distribution function.

The cut moves the mean of q away from rates near 0 and 1: 0.1 gives 12.9 %, 0 gives 8 %. The
realized rate is in the record.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from nlbench.errors import ConfigError
from nlbench.noise.corrupt import Features
from nlbench.noise.labels import Drawn, Labels, Matrix
from nlbench.plugins.versions import versioned

SPREAD = 0.1
_BLOCK = 2048


@versioned(1)
def instance(
    clean: Labels,
    n_classes: int,
    rate: float,
    rng: np.random.Generator,
    features: Features | None = None,
) -> Drawn:
    """Image-dependent noise of Xia et al. 2020: look-alikes of another class are mislabelled.

    Args:
        clean: (N,) clean labels.
        n_classes: K.
        rate: Mean of the samples' own rates before they are cut to [0, 1].
        rng: The noise's generator.
        features: (N, d), the flattened images in [0, 1]; read in blocks of one class at a time.

    Raises:
        ConfigError: if there are no features, or not one finite row per sample.
    """
    if features is None or len(features) != len(clean):
        raise ConfigError(
            f"noise 'instance' needs `features`, one row for each of the {len(clean)} samples, "
            f"got {'none' if features is None else len(features)}. `nlbench run` gives the images; "
            "in code, give corrupt(..., features=ARRAY)."
        )
    # Several threads spend more time waiting for each other than on such narrow products.
    with threadpool_limits(1, user_api="blas"):
        return _by_class(clean, n_classes, rate, rng, features)


instance.conformance_exempt = {  # type: ignore[attr-defined]
    "check_rate_zero": "as published: each sample's own rate is a normal cut at 0, 8 % on average"
}


def _by_class(
    clean: Labels, n_classes: int, rate: float, rng: np.random.Generator, features: Features
) -> Drawn:
    class_seeds = rng.integers(0, 2**63, size=n_classes)
    flip_rates = _truncated_normal(rng.random(len(clean)), rate)
    draws = rng.random(len(clean))
    labels = np.empty_like(clean)
    table = np.eye(n_classes)
    for k in np.unique(clean).tolist():
        members = np.flatnonzero(clean == k)
        total = np.zeros(n_classes)
        projection: Matrix | None = None
        for block in np.split(members, range(_BLOCK, len(members), _BLOCK)):
            rows = np.asarray(features[block], dtype=np.float64).reshape(len(block), -1)
            if projection is None:
                class_rng = np.random.default_rng(class_seeds[k])
                projection = class_rng.standard_normal((rows.shape[1], n_classes))
            chances = _chances(rows @ projection, k, flip_rates[block])
            labels[block] = _drawn(chances, draws[block])
            total += chances.sum(axis=0)
        table[k] = total / total.sum()
    return labels, table


def _truncated_normal(uniform: Matrix, rate: float) -> Matrix:
    """Return draws of a normal(rate, SPREAD) cut to [0, 1]; bounds are in standard units."""
    from scipy.special import ndtr, ndtri

    # By inversion. `truncnorm.ppf` gives the same, and takes a quarter of the whole time: its care
    # for bounds far out in one tail is not needed within 10 deviations of the mean.
    low, high = ndtr((0 - rate) / SPREAD), ndtr((1 - rate) / SPREAD)
    drawn: Matrix = rate + SPREAD * ndtri(low + uniform * (high - low))
    return drawn.clip(0, 1)


def _chances(scores: Matrix, own: int, flip_rates: Matrix) -> Matrix:
    """Return (B, K) label probabilities: 1 - q for the own class, q x softmax for others."""
    if not np.isfinite(scores).all():
        raise ConfigError("`features` of noise 'instance' must be finite numbers.")
    scores[:, own] = -np.inf
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances *= (flip_rates / chances.sum(axis=1))[:, None]
    chances[:, own] = 1 - flip_rates
    return chances


def _drawn(chances: Matrix, uniform: Matrix) -> npt.NDArray[np.int64]:
    cumulative = np.cumsum(chances, axis=1)
    cumulative[:, -1] = 1.0
    drawn: npt.NDArray[np.int64] = (uniform[:, None] >= cumulative).sum(axis=1)
    return drawn
