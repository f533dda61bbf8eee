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


def of_label(values: Tensor, noisy_labels: Tensor) -> Tensor:
    """Return each row's entry at the row's label, (N,)."""
    return values.gather(1, noisy_labels[:, None]).squeeze(1)
