"""The k nearest neighbours by cosine with most of the work in bfloat16, and the same answer.

A CPU with matrix tiles for bfloat16 (Intel AMX) multiplies over ten times as fast in it as in
float32, but rounding moves similarities by more than neighbours differ. So the rounded products
only screen: the error of each is bounded by the rounding errors of its two vectors
(Cauchy-Schwarz), which tells who is surely among the k nearest, who surely is not, and who has to
be compared in float32. Centring comes first: what all embeddings share would cost most of the
precision, and needs no product.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.scoring.blocks import over_blocks, sum_over_blocks

_GROUP = 16
# A tile of 8 MiB for each thread.
QUERIES, _SAMPLES, _ROUNDED = 256, 16384, 1024
# Three bfloat16 numbers hold a float32 one; products go in steps of 32.
_SHIFT_PARTS, _STEP = 3, 32
# Half a unit in the last place of bfloat16, relative; a hair more for the rounding of the bound.
_LAST_PLACE = 2.0**-9 * 1.01
# A sum of d products in float32, relative to the norms: d * 2^-24, with room for any order.
_OF_SUM = 2.0**-23

Bits = npt.NDArray[np.int16]


class Screen:
    """The embeddings once more in bfloat16, and how far rounding moved each.

    Args:
        embeddings: (N, d) float32 unit-norm, on the CPU; kept by reference.
    """

    def __init__(self, embeddings: Tensor) -> None:
        n, d = embeddings.shape
        size = n, _ROUNDED, embeddings.device
        total = sum_over_blocks(lambda rows: embeddings[rows].sum(dim=0), *size)
        self.embeddings, self._d, self._mean = embeddings, d, (total / n).float()
        width = -(-(d + _SHIFT_PARTS) // _STEP) * _STEP
        # Rows to fill the last group up are zero: no positive similarity, so never a candidate.
        self._rounded = torch.zeros(-(-n // _GROUP) * _GROUP, width, dtype=torch.bfloat16)
        self._norm, self._moved = torch.empty(n), torch.empty(n)
        self._most_shift = max(over_blocks(self._round, *size))
        self._of_sum = d * _OF_SUM
        self._most_norm, self._most_moved = float(self._norm.max()), float(self._moved.max())

    def _round(self, rows: slice) -> float:
        """Fill some rows, and give their largest product with the mean."""
        d = self._d
        centred = self.embeddings[rows] - self._mean
        rounded = centred.bfloat16()
        self._rounded[rows, :d] = rounded
        shift = centred @ self._mean
        largest = float(shift.abs().max())
        for column in range(d, d + _SHIFT_PARTS):
            self._rounded[rows, column] = shift.bfloat16()
            shift -= self._rounded[rows, column].float()
        self._norm[rows] = torch.linalg.vector_norm(centred, dim=1)
        self._moved[rows] = torch.linalg.vector_norm(centred - rounded.float(), dim=1)
        return largest

    def nearest(self, rows: slice, k: int) -> Tensor | None:
        """Return (B, k) positions of the nearest neighbours of some rows, in no order.

        None where the screen cannot tell: a k-th similarity is no more than the average one.
        """
        candidates = self._candidates(rows, k)
        if candidates is None:
            return None
        query, sample, value = candidates
        error = self._error(query + rows.start, sample) + _LAST_PLACE * value
        counts = torch.bincount(query)
        place = torch.arange(len(query)) - (counts.cumsum(0) - counts)[query]

        def table(values: Tensor, fill: float) -> Tensor:
            out = torch.full((len(counts), int(counts.max())), fill, dtype=values.dtype)
            out[query, place] = values
            return out

        surely = value - error > _kth_largest(table(value + error, -torch.inf), k)[query]
        possible = value + error >= _kth_largest(table(value - error, -torch.inf), k)[query]
        exact = torch.where(surely, torch.inf, -torch.inf)
        unclear = possible & ~surely
        exact[unclear] = self._compare(rows, query[unclear], sample[unclear])
        nearest = table(exact, -torch.inf).topk(k, dim=1, sorted=False).indices
        return table(sample, -1).gather(1, nearest)

    def _candidates(self, rows: slice, k: int) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return query, sample and rounded similarity of all that may be near enough, by query.

        Positive bfloat16 numbers are ordered as the integers of the same bits, which are compared
        many at a time; so a query whose bound is not positive cannot be screened.
        """
        n_queries = rows.stop - rows.start
        queries = self._rounded[rows].clone()
        queries[:, self._d : self._d + _SHIFT_PARTS] = 1
        slack = 2 * self._largest_error(rows)
        best = np.full((n_queries, k), np.iinfo(np.int16).min, dtype=np.int16)
        low = torch.zeros(n_queries)
        tiles = []
        tile = torch.empty(min(_SAMPLES, len(self._rounded)), n_queries, dtype=torch.bfloat16)
        for start in range(0, len(self._rounded), _SAMPLES):
            samples = self._rounded[start : start + _SAMPLES]
            similarity = torch.mm(samples, queries.T, out=tile[: len(samples)])
            _hide_own(similarity, rows, start)
            bits = similarity.view(torch.int16)
            maxima = bits.view(_GROUP, -1, n_queries).amax(dim=0)
            # The k-th largest of the group maxima is at most the k-th largest of all.
            best = np.concatenate([best, maxima.T.numpy()], axis=1)
            best.partition(-k, axis=1)
            best = best[:, -k:]
            reached = torch.from_numpy(best[:, 0].copy()).view(torch.bfloat16).float()
            low = reached * (1 - 2 * _LAST_PLACE) - slack
            tiles.append(_at_least(bits.numpy(), low, start))
        if not bool((low > 0).all()):
            return None
        query, sample, value = (torch.cat(parts) for parts in zip(*tiles, strict=True))
        passed = (value >= low[query]).nonzero().squeeze(1)
        by_query = passed[torch.argsort(query[passed], stable=True)]
        return query[by_query], sample[by_query], value[by_query]

    def _error(self, row: Tensor, sample: Tensor) -> Tensor:
        """Bound how far the rounded similarity of some pairs is off, but for its own last place."""
        norm, moved = self._norm, self._moved
        rounding = moved[row] * norm[sample] + (norm + moved)[row] * moved[sample]
        return rounding + self._of_sum * (norm[row] * norm[sample] + self._most_shift)

    def _largest_error(self, rows: slice) -> Tensor:
        """Bound the same over all samples, (B,)."""
        norm, moved = self._norm[rows], self._moved[rows]
        rounding = moved * self._most_norm + (norm + moved) * self._most_moved
        return rounding + self._of_sum * (norm * self._most_norm + self._most_shift)

    def _compare(self, rows: slice, query: Tensor, sample: Tensor) -> Tensor:
        """Return the float32 similarities of some pairs, which are in order of query."""
        out = torch.empty(len(query))
        counts = torch.bincount(query, minlength=rows.stop - rows.start).tolist()
        for one, mine, into in zip(
            self.embeddings[rows], sample.split(counts), out.split(counts), strict=True
        ):
            torch.mv(self.embeddings[mine], one, out=into)
        return out


def _at_least(bits: Bits, low: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, sample and value of what is at least `low` (B,) in its column, and positive."""
    least = low.clamp_min(torch.finfo(torch.bfloat16).tiny).bfloat16().view(torch.int16)
    # One less, since the bound is rounded to nearest.
    flat = np.flatnonzero(bits >= least.numpy() - np.int16(1))
    values = torch.from_numpy(bits.reshape(-1)[flat]).view(torch.bfloat16).float()
    sample, query = np.divmod(flat, bits.shape[1])
    return torch.from_numpy(query), torch.from_numpy(sample + start), values


def _hide_own(similarity: Tensor, rows: slice, start: int) -> None:
    own = torch.arange(rows.start - start, rows.stop - start)
    here = (own >= 0) & (own < len(similarity))
    similarity[own[here], here.nonzero().squeeze(1)] = 0


def _kth_largest(values: Tensor, k: int) -> Tensor:
    return torch.from_numpy(np.partition(values.numpy(), -k, axis=1)[:, -k].copy())
