"""How many labels are wrong: overall, in each class, and between which classes.

From features alone nobody can tell a wrong label from a picture that is hard to tell, so one number
would promise too much. The range goes from the labels that the model flatly contradicts to
confident learning's count (arXiv 1911.00068, the confident joint), each widened by the chance of
the draw (Wilson's interval, JASA 1927); the value between them is the share that both of confident
learning's prunings mark. docs/clean.md has all three beside the truth.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.audit.findings import ClassFinding, PairFinding, Share
from nlbench.scoring import confident_joint, consistency, find_label_issues

# The label is less than a tenth as probable as another class.
_CONTRADICTED = 0.1
_Z = 1.959964  # of a two-sided 95 % interval

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def wrong_shares(probabilities: Tensor, labels: Tensor) -> tuple[Share, dict[int, Share]]:
    """Return the share of wrong labels overall, and of each class by its number.

    Args:
        probabilities: (M, K), rows sum to 1, out of sample.
        labels: (M,) int64, as given.
    """
    contradicted = (consistency(probabilities, labels) < _CONTRADICTED).numpy()
    marked = find_label_issues(probabilities, labels, "both").numpy()
    joint = confident_joint(probabilities, labels)
    off_diagonal = (joint.sum(dim=1) - joint.diagonal()).numpy()
    given = labels.numpy()
    of_class = {
        label: _share(
            int((contradicted & (given == label)).sum()),
            int((marked & (given == label)).sum()),
            int(off_diagonal[label]),
            int((given == label).sum()),
        )
        for label in np.unique(given).tolist()
    }
    overall = _share(
        int(contradicted.sum()), int(marked.sum()), int(off_diagonal.sum()), len(given)
    )
    return overall, of_class


def class_findings(
    labels: Ints, suspected: Bools, n_classes: int, wrong: dict[int, Share]
) -> tuple[ClassFinding, ...]:
    """Return one finding per class, by number."""
    n = np.bincount(labels, minlength=n_classes).tolist()
    bad = np.bincount(labels[suspected], minlength=n_classes).tolist()
    return tuple(ClassFinding(k, n[k], bad[k], wrong.get(k)) for k in range(n_classes))


def pair_findings(labels: Ints, suggested: Ints, suspected: Bools) -> tuple[PairFinding, ...]:
    """Return the pairs of given and suggested class among the suspects, the most frequent first."""
    rows = np.flatnonzero(suspected)
    pairs = Counter(zip(labels[rows].tolist(), suggested[rows].tolist(), strict=True))
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return tuple(PairFinding(given, other, n) for (given, other), n in ordered)


def _share(low: int, middle: int, high: int, n: int) -> Share:
    least, _ = _wilson(min(low, middle, high), n)
    _, most = _wilson(max(low, middle, high), n)
    return Share(middle / n, least, most)


def _wilson(count: int, n: int) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a share.

    >>> [round(end, 3) for end in _wilson(0, 10)]
    [0.0, 0.278]
    """
    share = count / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * (share * (1 - share) / n + _Z**2 / (4 * n**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def suggestions(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return (M,) int64, the most probable class other than the label."""
    return probabilities.scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
