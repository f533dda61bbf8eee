"""The relation graph of all pairs of samples, summed tile by tile and never N x N.

Source: Kim, Yun, Song, "Neural Relation Graph: A Unified Framework for Identifying Label Noise and
Outlier Data", NeurIPS 2023, arXiv 2301.12321, section 3; constants as in the released code
(github.com/snu-mllab/Neural-Relation-Graph).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.scoring.blocks import rows_from_blocks

# A tile and what is computed from it stay in a core's cache.
_ROWS, _COLUMNS = 128, 4096
_ROWS_ON_GPU, _COLUMNS_ON_GPU = 2048, 16384


def relation_reliability(
    embeddings: Tensor,
    probabilities: Tensor,
    noisy_labels: Tensor,
    power: int = 4,
    smallest: float = 0.03,
    among: Tensor | None = None,
) -> Tensor:
    """Return how far all samples speak for each sample's label: sum_j r(i, j).

    r(i, j) = s |k|^power where |k| > `smallest`, else 0; k = max(0, cos(f_i, f_j)) <p_i, p_j>; s is
    1 for equal labels and -1 for different ones. A sample speaks for itself too. Memory grows with
    N, time with N^2 (d + K).

    Args:
        embeddings: (N, d) unit-norm.
        probabilities: (N, K), rows sum to 1.
        noisy_labels: (N,) int64.
        power: At least 1.
        smallest: Relations up to this are dropped.
        among: (N,) bool, the j that are summed over; all where None.

    Returns:
        (N,) float64.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> relation_reliability(x, torch.ones(3, 1), torch.tensor([0, 1, 1])).tolist()
    [0.0, 0.0, 1.0]
    """
    features, p, labels = embeddings, probabilities, noisy_labels
    if among is not None:
        features, p, labels = features[among], p[among], labels[among]
    on_cpu = embeddings.device.type == "cpu"
    width = _COLUMNS if on_cpu else _COLUMNS_ON_GPU

    def of_rows(rows: slice) -> Tensor:
        total = torch.zeros(rows.stop - rows.start, dtype=torch.float64, device=embeddings.device)
        for start in range(0, len(labels), width):
            part = slice(start, start + width)
            relation = (embeddings[rows] @ features[part].T).clamp_min_(0)
            relation *= probabilities[rows] @ p[part].T
            relation = torch.where(relation > smallest, relation, 0).pow_(power)
            same = noisy_labels[rows, None] == labels[None, part]
            total += torch.where(same, relation, -relation).sum(dim=1, dtype=torch.float64)
        return total

    return rows_from_blocks(
        of_rows, len(embeddings), _ROWS if on_cpu else _ROWS_ON_GPU, embeddings.device
    )
