"""The embeddings that are asked for, filled from shards in any order."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from nlbench.data.content_keys import Keys
from nlbench.encoders.shards import Numbers, Shard


class WantedRows:
    """Rows by the keys of their images; an image that is asked for twice is looked for once.

    Args:
        keys: (U,) different keys of a data set's images.
        asked: (R,) which of these keys each row asked for has.

    Attributes:
        values: (R, d) float32, of no columns before the first shard.
    """

    def __init__(self, keys: Keys, asked: npt.NDArray[np.int32]) -> None:
        self._keys = keys
        # The rows of key i are _rows[_starts[i] : _starts[i + 1]].
        self._rows = np.argsort(asked, kind="stable")
        self._starts = np.concatenate([[0], np.bincount(asked, minlength=len(keys)).cumsum()])
        self._is_stored = np.zeros(len(keys), dtype=bool)
        self._next = 0
        self.values = torch.empty((len(asked), 0))

    def missing(self) -> Numbers:
        """Return the numbers of the keys that no shard had."""
        return np.flatnonzero(~self._is_stored)

    def skips(self, keys: Keys) -> bool:
        """Return whether a shard has nothing that is asked for; what it has counts as stored."""
        _, numbers = self._new_in(keys)
        if (self._starts[numbers] < self._starts[numbers + 1]).any():
            return False
        self._is_stored[numbers] = True
        return True

    def take(self, shard: Shard) -> None:
        """Fill in what a shard has."""
        positions, numbers = self._new_in(shard.keys)
        if not len(numbers):
            return
        self._is_stored[numbers] = True
        self._next = int(numbers[-1]) + 1
        if not self.values.shape[1]:
            columns = shard.embeddings.shape[1]
            self.values = torch.empty((len(self.values), columns), dtype=shard.embeddings.dtype)
        starts, ends = self._starts[numbers], self._starts[numbers + 1]
        counts = ends - starts
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = self._rows[np.repeat(starts, counts) + steps]
        # NumPy copies rows in this thread; torch's threads wait for each other 1000 times.
        self.values.numpy()[rows] = shard.embeddings.numpy()[np.repeat(positions, counts)]

    def _new_in(self, keys: Keys) -> tuple[Numbers, Numbers]:
        """Return the positions in a shard that are new, and the numbers of their keys."""
        # A data set that did not change finds its shards in its own order, without any search.
        end = self._next + len(keys)
        if np.array_equal(self._keys[self._next : end], keys):
            numbers = np.arange(self._next, end)
        elif len(self._keys):
            order = self._order
            at = np.searchsorted(self._keys, keys, sorter=order).clip(max=len(order) - 1)
            numbers = np.where(self._keys[order[at]] == keys, order[at], -1)
        else:
            numbers = np.full(len(keys), -1)
        positions = np.flatnonzero((numbers >= 0) & ~self._is_stored[numbers])
        return positions, numbers[positions]

    @cached_property
    def _order(self) -> Numbers:
        return np.argsort(self._keys, kind="stable")
