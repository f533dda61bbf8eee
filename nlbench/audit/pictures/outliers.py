"""Pictures that are like no class: far from all others, and not a small class of their own.

Datalab (cleanlab 2.9) calls outliers what lies beyond Q3 + 1.7 IQR of the mean distance to 10
neighbours. Distances are skewed, so that its share of false alarms depends on the data; and eleven
pictures of one foreign kind are each other's neighbours and hide. Here the distance is to the
neighbour number `NEIGHBOURS`, its logarithm is compared with the upper half of a normal
distribution, and pictures of a small class that lie together are of that class.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nlbench.audit.findings import PictureProblem
from nlbench.scoring.neighbours import nearest_neighbours

NEIGHBOURS = 100
"""A foreign kind of up to so many pictures is found: they cannot hide behind each other."""
CLOSEST = 10
OWN_SHARE = 0.5
"""Of the closest with its label: a class of up to `NEIGHBOURS` pictures is far from others."""
# Beyond lies a thousandth: false alarms, if log distances are normal in their upper half.
_DEVIATIONS = 3.09
_UPPER_QUARTILE = 0.6745  # of a normal distribution, in standard deviations
LEAST = 50
"""Fewer pictures have no distribution of distances to speak of."""


def outlier_problems(embeddings: Tensor, labels: Tensor) -> list[PictureProblem]:
    """Return the pictures that are like no class, the farthest first.

    Args:
        embeddings: (N, d) unit-norm.
        labels: (N,) int64, on the same device.
    """
    if len(embeddings) < LEAST:
        return []
    k = min(NEIGHBOURS, len(embeddings) // 5)
    places, cosine = nearest_neighbours(embeddings, k)
    distance = (1 - cosine[:, -1].float()).clamp_min(1e-6).double().cpu().numpy()
    is_small = (torch.bincount(labels)[labels] <= NEIGHBOURS).cpu().numpy()
    own = (labels[places[:, :CLOSEST]] == labels[:, None]).float().mean(dim=1).cpu().numpy()
    logs = np.log(distance)
    middle, upper = np.quantile(logs, [0.5, 0.75])
    limit = middle + _DEVIATIONS * (upper - middle) / _UPPER_QUARTILE
    found = np.flatnonzero((logs > limit) & ~(is_small & (own >= OWN_SHARE)) & (upper > middle))
    usual = math.exp(middle)
    return [
        PictureProblem(
            "outlier",
            (int(row),),
            f"distance {distance[row]:.2f} to its neighbour number {k}, median {usual:.2f}",
        )
        for row in found[np.argsort(-distance[found], kind="stable")]
    ]
