"""Classes that are one class in truth: a probe that did not see them cannot tell them apart.

Of the images of two classes, the AUROC of p_b / (p_a + p_b) is the share of pairs (one image of
each) that are put in the right order; 0.5 is chance, whatever the sizes of the classes. Its
standard error at chance is that of the Mann-Whitney statistic. The classes are one where even the
upper end of the interval is below `TOLD_APART`: similar classes lie far above (cat and dog of
CIFAR-10: 0.89), and classes too small to know are left alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.audit.findings import PictureProblem

TOLD_APART = 0.6
"""Still 0.6 at AUROC 1 of the true classes with 45 % of the labels of both swapped."""
CANDIDATE = 0.5
"""Least mean probability of the other class, as a share of that of the own class."""
_QUANTILE = 1.645  # one-sided 95 %
_EXAMPLES = 5

Numbers = npt.NDArray[np.float64]


def same_class_problems(probabilities: Tensor, labels: Tensor) -> list[PictureProblem]:
    """Return the pairs of classes that nothing tells apart, the least told apart first.

    Args:
        probabilities: (N, K) of a probe that did not see the image (cross-fitted).
        labels: (N,) int64 in [0, K).
    """
    p, given = probabilities.detach().float().cpu(), labels.cpu()
    n = torch.bincount(given, minlength=p.shape[1])
    total = torch.zeros(p.shape[1], p.shape[1]).index_add_(0, given, p)
    mean = (total / n.clamp_min(1)[:, None]).double().numpy()
    found = []
    for a, b in _candidates(mean, n.numpy()):
        rows_a, rows_b = ((given == label).nonzero().squeeze(1) for label in (a, b))
        both = torch.cat([rows_a, rows_b])
        share = (p[both, b] / (p[both, a] + p[both, b]).clamp_min(1e-12)).double().numpy()
        auroc, error = _auroc(share, len(rows_a))
        if auroc + _QUANTILE * error < TOLD_APART:
            examples = [*rows_a[:_EXAMPLES].tolist(), *rows_b[:_EXAMPLES].tolist()]
            detail = (
                f"{max(auroc, 0):.0%} of pairs in the right order (chance 50 %, "
                f"standard error {error:.0%})"
            )
            found.append((auroc, PictureProblem("same-class", tuple(examples), detail, (a, b))))
    return [problem for _, problem in sorted(found, key=lambda one: one[0])]


def _candidates(mean: Numbers, n: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return pairs that give each other much probability, while some other class gets little.

    Where every class gets as much, the features tell nothing, and that is no matter of two classes.
    """
    own = np.diag(mean)
    is_like = mean >= CANDIDATE * own[:, None]
    is_like |= is_like.T
    used = n > 1
    tells = ((mean < CANDIDATE * own[:, None]) & used[None, :]).any(axis=1) | (used.sum() == 2)
    is_like &= np.outer(used & tells, used & tells)
    return [(int(a), int(b)) for a, b in np.argwhere(np.triu(is_like, 1))]


def _auroc(scores: Numbers, n_first: int) -> tuple[float, float]:
    """Return the AUROC of the later scores over the first ones, and its standard error at 0.5."""
    from scipy.stats import rankdata

    n_later = len(scores) - n_first
    ranks = rankdata(scores)[n_first:].sum()
    auroc = (ranks - n_later * (n_later + 1) / 2) / (n_first * n_later)
    return float(auroc), float(np.sqrt((len(scores) + 1) / (12 * n_first * n_later)))
