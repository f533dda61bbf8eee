"""What the cache has of a data set's images: every shard read once and checked, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from nlbench.data.content_keys import Keys
from nlbench.encoders.cache import EmbeddingCache
from nlbench.encoders.shards import (
    DamagedShardError,
    Numbers,
    Shard,
    digest_of,
    drop_damaged,
    machine_of,
    metadata_of,
    read_shard,
    shard_files,
    write_shard,
)
from nlbench.errors import refusals


class StoredShard(NamedTuple):
    """A shard that has images of a data set.

    Attributes:
        name: Of its file.
        rows: All of its rows.
        images: How many of them are images of the data set that no shard before it has.
        sha256: Of its keys and embeddings, as found now.
        machine: That made it; "" where it does not say.
    """

    name: str
    rows: int
    images: int
    sha256: str
    machine: str


@dataclass(frozen=True)
class Survey:
    """What is stored of a data set.

    Attributes:
        shards: Those that have images of it, the oldest first.
        missing: Numbers of the keys that no shard has.
        dimensions: Of the embeddings; 0 where there are none.
        damaged: Names of the files that cannot be trusted.
    """

    shards: Sequence[StoredShard]
    missing: Numbers
    dimensions: int
    damaged: Sequence[str]


class _Finder:
    """Finds the images of a data set in one shard after the other."""

    def __init__(self, keys: Keys) -> None:
        self._keys, self._order = keys, np.argsort(keys, kind="stable")
        self.is_stored = np.zeros(len(keys), dtype=bool)

    def numbers(self, keys: Keys) -> Numbers:
        """Return which of the data set's keys each row has, -1 for another image."""
        if not len(self._keys):
            return np.full(len(keys), -1)
        order = self._order
        at = np.searchsorted(self._keys, keys, sorter=order).clip(max=len(order) - 1)
        return np.where(self._keys[order[at]] == keys, order[at], -1)

    def skips(self, keys: Keys) -> bool:
        """Return whether no row is an image of the data set."""
        return bool((self.numbers(keys) < 0).all())


def survey(cache: EmbeddingCache, entry: Path, keys: Keys, is_dry: bool = False) -> Survey:
    """Read all that is stored of a data set's images, and check it.

    A damaged shard is removed, with a message, here and at the cache's URL, so that its images are
    missing. What is stored twice is removed where it comes second. No more than one shard is in
    memory.

    Args:
        cache: The cache.
        entry: Folder of an encoder's embeddings.
        keys: (U,) different keys of the images.
        is_dry: Change nothing.

    Raises:
        RefusedError: if the entry cannot be read or written.
    """
    finder, shards, damaged, columns = _Finder(keys), [], [], 0
    with cache.lock(entry), refusals(entry, "read"):
        for path in shard_files(entry):
            try:
                shard = read_shard(path, skips=finder.skips)
            except DamagedShardError:
                damaged.append(path.name)
                if not is_dry:
                    drop_damaged(path)
                    if cache.shared is not None:
                        cache.shared.drop(entry, path.name)
                continue
            if shard is None:
                continue
            new = _new_rows(finder, shard)
            machine, columns = machine_of(path), shard.embeddings.shape[1]
            name = path.name
            if not new.all() and not is_dry:
                shard, name = _thinned(path, shard, new)
            n_images = int((finder.numbers(shard.keys) >= 0).sum())
            if n_images:
                digest = digest_of(shard)
                shards.append(StoredShard(name, len(shard.keys), n_images, digest, machine))
    return Survey(shards, np.flatnonzero(~finder.is_stored), columns, damaged)


def _new_rows(finder: _Finder, shard: Shard) -> npt.NDArray[np.bool_]:
    """Return which rows no shard before has, and count them as stored; of other images all."""
    numbers = finder.numbers(shard.keys)
    is_ours = numbers >= 0
    new = ~is_ours | ~finder.is_stored[numbers]
    finder.is_stored[numbers[is_ours]] = True
    return new


def _thinned(path: Path, shard: Shard, keep: npt.NDArray[np.bool_]) -> tuple[Shard, str]:
    """Put some rows of a shard into a file of its own in the old one's place; return its name."""
    rows, name = np.flatnonzero(keep), ""
    thin = Shard(shard.keys[rows], shard.embeddings[torch.from_numpy(rows)])
    if len(rows):
        metadata = {key: text for key, text in metadata_of(path).items() if key != "sha256"}
        name = write_shard(path.parent, thin, metadata).name
    with refusals(path, "deleted"):
        path.unlink(missing_ok=True)
    return thin, name
