"""Confident learning: which labels are wrong, and how many, from out-of-fold probabilities.

Source: Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
JAIR 70, 2021, arXiv 1911.00068, equations 1 and 2 and section 3.2. Counts, rounding and ties are
those of cleanlab 2.9, whose answers the tests compare with; so sums and sorts are NumPy's here, in
cleanlab's order, and on the CPU.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.errors import PluginError

FilterBy = Literal["prune_by_noise_rate", "prune_by_class", "both", "confident_learning"]
Table = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

# Probabilities closer than this count as equal.
_CLOSE = 1e-6
# No sample reaches the threshold of a class without labels.
_UNREACHABLE = 2
_KEPT_PER_CLASS = 1


def confident_joint(probabilities: Tensor, noisy_labels: Tensor) -> Tensor:
    """Return how many samples have each pair of noisy and estimated true label.

    A sample counts for class j where p_j reaches the mean p_j of the samples labelled j; of several
    such classes the most probable counts. Each row is then scaled to the number of samples with
    that label and rounded.

    Args:
        probabilities: (N, K), rows sum to 1, out of fold.
        noisy_labels: (N,) int64 in [0, K); classes may be absent.

    Returns:
        (K, K) int64 on the labels' device; row = noisy label, column = true label. Row sums are
        the label counts.

    >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.9, 0.1]])
    >>> confident_joint(p, torch.tensor([0, 0, 1, 1])).tolist()
    [[2, 0], [1, 1]]
    """
    table, labels = _arrays(probabilities, noisy_labels)
    joint = _joint(_confident_class(table, labels), labels, table.shape[1])
    return torch.from_numpy(joint).to(noisy_labels.device)


def noise_rate_of_joint(joint: Tensor) -> float:
    """Return the share of a joint of noisy and true labels that is off its diagonal.

    >>> noise_rate_of_joint(torch.tensor([[2, 0], [1, 1]]))
    0.25
    """
    return 1 - float(joint.diagonal().sum() / joint.sum())


def find_label_issues(
    probabilities: Tensor, noisy_labels: Tensor, filter_by: FilterBy = "prune_by_noise_rate"
) -> Tensor:
    """Mark the samples whose label is probably wrong, as cleanlab's function of the same name.

    A sample whose label is its most probable class is never marked, and of every class one sample
    is left unmarked. Equal probabilities at a cut are decided by the order of the samples.

    Args:
        probabilities: (N, K), rows sum to 1, out of fold.
        noisy_labels: (N,) int64 in [0, K); classes may be absent.
        filter_by: ``"prune_by_noise_rate"``: for each pair of noisy class i and true class j as
            many as `confident_joint` counts, by the largest p_j - p_i; ``"prune_by_class"``: for
            each noisy class as many as it counts off the diagonal, by the smallest p_i;
            ``"both"``: what both mark; ``"confident_learning"``: what it counts off the diagonal.

    Returns:
        (N,) bool on the labels' device.

    Raises:
        PluginError: if `filter_by` is another word.

    >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.9, 0.1]])
    >>> find_label_issues(p, torch.tensor([0, 0, 1, 1])).tolist()
    [False, False, False, True]
    """
    if filter_by not in ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning"):
        raise PluginError(
            "`filter_by` must be 'prune_by_noise_rate', 'prune_by_class', 'both' or "
            f"'confident_learning', got {filter_by!r}."
        )
    table, labels = _arrays(probabilities, noisy_labels)
    guess = _confident_class(table, labels)
    if filter_by == "confident_learning":
        issues = (guess >= 0) & (guess != labels)
    else:
        issues = _pruned(table, labels, _joint(guess, labels, table.shape[1]), filter_by)
    issues &= ~_label_is_most_probable(table, labels)
    return torch.from_numpy(issues).to(noisy_labels.device)


def _arrays(probabilities: Tensor, noisy_labels: Tensor) -> tuple[Table, Ints]:
    return probabilities.detach().cpu().numpy(), noisy_labels.cpu().numpy()


def _confident_class(table: Table, labels: Ints) -> Ints:
    """Return the class that each sample counts for, (N,); -1 where it counts for none."""
    classes = range(table.shape[1])
    means = [table[:, k][labels == k].mean() if (labels == k).any() else None for k in classes]
    thresholds = np.array([_UNREACHABLE if mean is None else mean for mean in means])
    reached = table >= thresholds.clip(min=2 * _CLOSE) - _CLOSE
    n_reached = reached.sum(axis=1)
    guess = np.where(n_reached > 1, table.argmax(axis=1), reached.argmax(axis=1))
    return np.where(n_reached > 0, guess, -1)


def _joint(guess: Ints, labels: Ints, n_classes: int) -> Ints:
    """Return (K, K) counts, row = noisy label, scaled to the label counts and rounded."""
    counted = guess >= 0
    pairs = guess[counted] * n_classes + labels[counted]
    # Transposed, as cleanlab's are in memory: sums are then the same to the last bit.
    by_guess = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
    np.fill_diagonal(by_guess, by_guess.diagonal().clip(min=1))
    n_labels = np.bincount(labels, minlength=n_classes)
    scaled = by_guess / by_guess.sum(axis=0) * n_labels
    scaled = scaled / scaled.sum() * n_labels.sum()
    return np.stack([_rounded(row) for row in scaled.T])


def _rounded(values: Table) -> Ints:
    """Round so that the sum is the rounded sum, by moving the values that lost or gained most."""
    whole = values.round()
    missing = int(values.sum().round() - whole.sum())
    while missing:
        step = 1 if missing > 0 else -1
        most_off = np.argsort(values - whole)[::-step][: abs(missing)]
        whole[most_off] += step
        missing -= step * len(most_off)
    return whole.astype(np.int64)


def _pruned(table: Table, labels: Ints, joint: Ints, filter_by: FilterBy) -> npt.NDArray[np.bool_]:
    n_correct, n_wrong = _counts_to_prune(joint)
    issues = np.zeros(len(labels), dtype=bool)
    for k in range(table.shape[1]):
        members = (labels == k).nonzero()[0]
        if len(members) <= _KEPT_PER_CLASS:
            continue
        rows = table[members]
        by_class = _lowest(rows[:, k], len(members) - n_correct[k])
        by_rate = np.zeros(len(members), dtype=bool)
        for j in n_wrong[k].nonzero()[0]:
            by_rate |= _lowest(-(rows[:, j] - rows[:, k]), n_wrong[k, j])
        marked = {"prune_by_class": by_class, "prune_by_noise_rate": by_rate}
        issues[members] = marked.get(filter_by, by_class & by_rate)
    return issues


def _counts_to_prune(joint: Ints) -> tuple[Ints, Ints]:
    """Return how many of each class are right, at least one, and the pairs' (K, K) wrong ones.

    What a class is given is taken from its wrong ones in equal parts; parts of a sample are cut.
    """
    n_correct = joint.diagonal().clip(min=_KEPT_PER_CLASS)
    given = n_correct - joint.diagonal()
    n_pairs = np.maximum(np.count_nonzero(joint, axis=1) - 1, 1)
    n_wrong = (joint - (given / n_pairs)[:, None]).clip(min=0).astype(np.int64)
    np.fill_diagonal(n_wrong, 0)
    return n_correct, n_wrong


def _lowest(values: Table, n: int) -> npt.NDArray[np.bool_]:
    marked = np.zeros(len(values), dtype=bool)
    marked[np.argsort(values)[: max(n, 0)]] = True
    return marked


def _label_is_most_probable(table: Table, labels: Ints) -> npt.NDArray[np.bool_]:
    favoured = table.copy()
    favoured[np.arange(len(labels)), labels] += _CLOSE
    most_probable: npt.NDArray[np.bool_] = favoured.argmax(axis=1) == labels
    return most_probable
