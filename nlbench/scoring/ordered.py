"""The k nearest neighbours by cosine in order of distance, with their similarities."""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.scoring.blocks import rows_from_blocks
from nlbench.scoring.neighbours import neighbour_search

# The neighbours' embeddings are gathered for so many rows at once.
_GATHERED = 64


def ordered_neighbours(embeddings: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the nearest neighbours of every sample, nearest first; no sample is its own.

    Args:
        embeddings: (N, d) float32, unit-norm.
        k: Neighbours; at most N - 1 are taken.

    Returns:
        (N, k) int64 positions, and (N, k) float32 cosine similarities, falling along each row.

    >>> rows = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    >>> ordered_neighbours(rows, 2)[0].tolist()
    [[1, 2], [0, 2], [1, 0]]
    """
    n = len(embeddings)
    k = min(k, n - 1)
    if k < 1:
        nobody = torch.empty(n, 0, dtype=torch.int64, device=embeddings.device)
        return nobody, embeddings.new_empty(n, 0)
    nearest, block = neighbour_search(embeddings, k)

    def of_rows(rows: slice) -> Tensor:
        places = nearest(rows)
        near = torch.cat([_similarities(embeddings, rows, places, part) for part in _parts(rows)])
        # Places of equal similarity are in the order of their positions.
        places, by_place = places.sort(dim=1)
        near, order = near.gather(1, by_place).sort(dim=1, descending=True, stable=True)
        return torch.stack([places.gather(1, order).double(), near.double()], dim=1)

    both = rows_from_blocks(of_rows, n, block, embeddings.device)
    return both[:, 0].long(), both[:, 1].to(embeddings.dtype)


def _parts(rows: slice) -> list[slice]:
    n = rows.stop - rows.start
    return [slice(start, min(start + _GATHERED, n)) for start in range(0, n, _GATHERED)]


def _similarities(embeddings: Tensor, rows: slice, places: Tensor, part: slice) -> Tensor:
    queries = embeddings[rows][part]
    return torch.bmm(embeddings[places[part]], queries[:, :, None]).squeeze(2)
