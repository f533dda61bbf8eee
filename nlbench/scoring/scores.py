"""Scores (N,) from class probabilities; higher = cleaner."""

from __future__ import annotations

import torch
from torch import Tensor


def log_probability(probabilities: Tensor, noisy_labels: Tensor) -> Tensor:
    """Return log p_y, the label's log-probability, finite also where p_y is 0.

    Args:
        probabilities: (N, K).
        noisy_labels: (N,) int64.

    Returns:
        (N,), at least the log of the dtype's smallest normal number.

    >>> log_probability(torch.tensor([[1.0, 0.0]]), torch.tensor([0])).tolist()
    [0.0]
    """
    smallest = torch.finfo(probabilities.dtype).tiny
    return of_label(probabilities, noisy_labels).clamp_min(smallest).log()


def consistency(probabilities: Tensor, noisy_labels: Tensor) -> Tensor:
    """Return p_y / max_k p_k, in [0, 1]; 1 where the label is the most probable class.

    Source: CLIPCleaner, arXiv 2408.10012.

    >>> consistency(torch.tensor([[0.2, 0.8]]), torch.tensor([0])).tolist()
    [0.25]
    """
    return of_label(probabilities, noisy_labels) / probabilities.max(dim=1).values


def margin(probabilities: Tensor, noisy_labels: Tensor) -> Tensor:
    """Return p_y - max over the other classes, in [-1, 1].

    >>> margin(torch.tensor([[0.25, 0.75]]), torch.tensor([0])).tolist()
    [-0.5]
    """
    others = probabilities.scatter(1, noisy_labels[:, None], -torch.inf)
    return of_label(probabilities, noisy_labels) - others.max(dim=1).values


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy of each row in nats, in [0, log K]; a probability of 0 adds nothing.

    Args:
        probabilities: (N, K).

    Returns:
        (N,).

    >>> entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).tolist()
    [0.0, 0.6931471824645996]
    """
    return torch.special.entr(probabilities).sum(dim=1)


def majority_vote(votes: Tensor, n_classes: int) -> Tensor:
    """Return the class with the most votes for each sample.

    Of classes with equally many votes the one that was voted for first wins, by the order of the
    voters: class ids are names and decide nothing.

    Args:
        votes: (R, N) int64 in [0, K), a row for each voter; bool with two classes.
        n_classes: K.

    Returns:
        (N,) int64.

    >>> majority_vote(torch.tensor([[2, 0], [1, 1], [1, 2]]), n_classes=3).tolist()
    [1, 0]
    """
    votes = votes.long()
    counts = torch.zeros(votes.shape[1], n_classes, dtype=torch.int64, device=votes.device)
    counts.scatter_add_(1, votes.T, torch.ones_like(votes.T))
    of_vote = counts.gather(1, votes.T)
    # The first of the best: argmax need not give the first.
    first = (
        (of_vote == of_vote.max(dim=1, keepdim=True).values).int().cumsum(dim=1).eq(0).sum(dim=1)
    )
    return votes.T.gather(1, first[:, None]).squeeze(1)


def of_label(values: Tensor, noisy_labels: Tensor) -> Tensor:
    """Return each row's entry at the row's label.

    Args:
        values: (N, K).
        noisy_labels: (N,) int64 in [0, K).

    Returns:
        (N,).

    >>> of_label(torch.tensor([[0.2, 0.8]]), torch.tensor([1])).tolist()
    [0.800000011920929]
    """
    return values.gather(1, noisy_labels[:, None]).squeeze(1)
