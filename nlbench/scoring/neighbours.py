"""The k nearest neighbours by cosine: exact, in tiles that fit the cache and never N x N.

What takes the time beside the matrix product is finding the k largest of N. The k-th largest of the
group maxima is at most the k-th largest of all, so the k best groups hold the k best values: one
pass for the maxima, then a selection among k groups instead of N values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nlbench.machine import has_bfloat16_tiles
from nlbench.scoring import screen

_GROUP = 16
# Tiles of 32 MiB for each thread on the CPU: large enough for the product's full speed.
_QUERIES, _COLUMNS, _QUERIES_ON_GPU = 128, 65536, 4096
# From so many samples on, rounding them first pays.
_SCREENED = 8192


def neighbour_search(embeddings: Tensor, k: int) -> tuple[Callable[[slice], Tensor], int]:
    """Return the fastest exact search, and how many samples to ask it for at once.

    Args:
        embeddings: (N, d) unit-norm.
        k: At most N - 1.

    Returns:
        A function that gives (B, k) positions of the nearest neighbours of B rows, in no order, and
        B.
    """
    if embeddings.device.type != "cpu":
        return lambda rows: nearest(embeddings, rows, k), _QUERIES_ON_GPU
    if not (has_bfloat16_tiles() and len(embeddings) >= _SCREENED and k * 64 <= len(embeddings)):
        return lambda rows: nearest(embeddings, rows, k), _QUERIES
    rounded = screen.Screen(embeddings)

    def screened(rows: slice) -> Tensor:
        places = rounded.nearest(rows, k)
        return nearest(embeddings, rows, k) if places is None else places

    return screened, screen.QUERIES


def nearest(embeddings: Tensor, rows: slice, k: int) -> Tensor:
    """Return (B, k) positions of the nearest neighbours of some rows, in no order.

    Args:
        embeddings: (N, d) unit-norm.
        rows: Whose neighbours; no sample is its own.
        k: At most N - 1.
    """
    queries = embeddings[rows]
    best: Tensor | None = None
    where = torch.empty(0)
    for start in range(0, len(embeddings), _COLUMNS):
        similarity = queries @ embeddings[start : start + _COLUMNS].T
        _hide_own(similarity, rows, start)
        values, columns = _largest(similarity, min(k, similarity.shape[1]))
        columns += start
        if best is not None:
            values, columns = torch.cat([best, values], 1), torch.cat([where, columns], 1)
            values, order = values.topk(min(k, values.shape[1]), dim=1, sorted=False)
            columns = columns.gather(1, order)
        best, where = values, columns
    return where


def _hide_own(similarity: Tensor, rows: slice, start: int) -> None:
    own = torch.arange(rows.start - start, rows.stop - start, device=similarity.device)
    here = (own >= 0) & (own < similarity.shape[1])
    similarity[here.nonzero().squeeze(1), own[here]] = -torch.inf


def _largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row (B, k) and their columns, as topk does."""
    n_rows, n_columns = values.shape
    n_groups = n_columns // _GROUP
    if n_groups < 2 * k:
        return values.topk(k, dim=1, sorted=False)
    grouped = n_groups * _GROUP
    # Column j is in group j mod n_groups: the maxima are taken over whole rows of numbers.
    maxima = values[:, :grouped].view(n_rows, _GROUP, n_groups).amax(dim=1)
    groups = maxima.topk(k, dim=1, sorted=False).indices
    offsets = n_groups * torch.arange(_GROUP, device=values.device)
    columns = (groups[:, None, :] + offsets[:, None]).flatten(1)
    rest = torch.arange(grouped, n_columns, device=values.device).expand(n_rows, -1)
    columns = torch.cat([columns, rest], dim=1)
    largest, order = values.gather(1, columns).topk(k, dim=1, sorted=False)
    return largest, columns.gather(1, order)
