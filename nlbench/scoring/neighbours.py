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
from nlbench.scoring.blocks import over_blocks

SearchOfRows = Callable[[slice], Tensor]

_GROUP = 16
# Tiles of 32 MiB for each thread on the CPU: large enough for the product's full speed.
_QUERIES, _COLUMNS, _QUERIES_ON_GPU = 128, 65536, 4096
# From so many samples on, rounding them first pays.
_SCREENED = 8192


def nearest_neighbours(embeddings: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return each sample's nearest neighbours by cosine, the nearest first, itself left out.

    Args:
        embeddings: (N, d) unit-norm.
        k: Neighbours; at most N - 1 are taken.

    Returns:
        (N, k) int64 positions, and (N, k) cosine similarities. Which of equally near samples come
        in, and in what order, is not defined.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> nearest_neighbours(x, 1)[0].tolist()
    [[2], [2], [1]]
    """
    k = min(k, len(embeddings) - 1)
    if k < 1:  # nobody else is there
        nobody = torch.empty(len(embeddings), 0, device=embeddings.device)
        return nobody.long(), nobody
    search, block = neighbour_search(embeddings, k)

    def of_rows(rows: slice) -> tuple[Tensor, Tensor]:
        positions = search(rows)
        similarity = torch.empty(positions.shape, dtype=embeddings.dtype, device=embeddings.device)
        for column, place in zip(similarity.T, positions.T, strict=True):
            column.copy_((embeddings[rows] * embeddings[place]).sum(dim=1))
        ordered, order = similarity.sort(dim=1, descending=True)
        return positions.gather(1, order), ordered

    parts = list(over_blocks(of_rows, len(embeddings), block, embeddings.device))
    return torch.cat([p for p, _ in parts]), torch.cat([s for _, s in parts])


def neighbour_search(embeddings: Tensor, k: int) -> tuple[SearchOfRows, int]:
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


def query_search(embeddings: Tensor, queries: Tensor, k: int) -> tuple[SearchOfRows, int]:
    """Return a search for the neighbours of other points, and how many to ask it for at once.

    Args:
        embeddings: (N, d) unit-norm.
        queries: (M, d) unit-norm, not among the embeddings.
        k: At most N.
    """
    block = _QUERIES if embeddings.device.type == "cpu" else _QUERIES_ON_GPU
    return lambda rows: _nearest_to(queries[rows], embeddings, k, None), block


def nearest(embeddings: Tensor, rows: slice, k: int) -> Tensor:
    """Return (B, k) positions of the nearest neighbours of some rows, in no order.

    Args:
        embeddings: (N, d) unit-norm.
        rows: Whose neighbours; no sample is its own.
        k: At most N - 1.
    """
    return _nearest_to(embeddings[rows], embeddings, k, rows)


def _nearest_to(queries: Tensor, embeddings: Tensor, k: int, own: slice | None) -> Tensor:
    best: Tensor | None = None
    where = torch.empty(0)
    for start in range(0, len(embeddings), _COLUMNS):
        similarity = queries @ embeddings[start : start + _COLUMNS].T
        if own is not None:
            _hide_own(similarity, own, start)
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
