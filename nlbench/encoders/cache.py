"""The embedding cache: each image's embedding, found by its encoder and by what the image is."""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from nlbench.data.content_keys import Keys, position_keys
from nlbench.encoders.key_index import KnownImages, data_names, remembered_images
from nlbench.encoders.older_cache import take_over
from nlbench.encoders.shards import (
    SUFFIX,
    UNREADABLE,
    DamagedShardError,
    Shard,
    drop_damaged,
    in_shards,
    merge_small,
    metadata_of,
    name_of_images,
    read_shard,
    shape_of,
    shard_files,
    whole_or_dropped,
    write_shard,
)
from nlbench.encoders.shared_shards import SharedShards, shared_shards
from nlbench.encoders.versions import is_outdated
from nlbench.encoders.wanted_rows import WantedRows
from nlbench.errors import RefusedError, refusals
from nlbench.files import cache_dir as cache_dir
from nlbench.files import canonical_json, delete_all, entries_of, make_folder, write_atomic
from nlbench.files.leases import clock_of
from nlbench.files.urls import url_of_cache

log = logging.getLogger("nlbench")

Compute = Callable[[Sequence[Tensor]], Iterator[Tensor]]

_OF_DATA = ("data", "data_key")
_CLEAR_WAITS_S = 10.0
_HALF_WRITTEN_S = 600.0


class EmbeddingCache:
    """Embeddings by encoder (version, weights, activations, preprocessing, precision) and image.

    An entry is the folder of an encoder. Whatever data set an image is in, and under whichever
    name, it is embedded once. Each shard is written when it is done, so that an extraction that was
    killed goes on after its last shard. Two processes that need the same data set's embeddings at
    once compute them once: the second waits for the first. A damaged shard is reported and
    computed again.
    """

    def __init__(self, folder: Path | None = None) -> None:
        place = folder or cache_dir()
        self.folder = place / "embeddings"
        self._url = url_of_cache(place)

    @property
    def shared(self) -> SharedShards | None:
        """The shards at the cache's URL; None where it is a folder."""
        return None if self._url is None else shared_shards(self._url)

    def get(
        self,
        identity: dict[str, str],
        n_rows: int,
        compute: Compute,
        rows: Tensor | None = None,
        keys: Callable[[], Keys] | None = None,
    ) -> Tensor:
        """Return the embeddings of a data set's images, computing and storing what is missing.

        No more than the rows asked for and one shard are in memory.

        Args:
            identity: What the embeddings depend on; `data_key` identifies the data set's images,
                `data` is its name for people.
            n_rows: Number of the data set's images; all of them are stored.
            compute: Gives the (n, d) embeddings of the images at these (n,) positions, for each of
                the parts that it is asked for.
            rows: (R,) positions; all where left out.
            keys: Gives the (n_rows,) keys of the images, for data that is new; where left out they
                are known by data and position.

        Returns:
            (R, d) float32 on the CPU.

        Raises:
            RefusedError: if the entry cannot be read or written.
        """
        data_key, data = identity.get("data_key", ""), identity.get("data", "")
        encoder = _encoder_in(identity)
        entry = self.entry_of(encoder)
        look = keys or (lambda: position_keys(data_key, n_rows))
        with self.reserved(entry, data_key):
            known = remembered_images(entry, data_key, data, n_rows, look, self.lock(entry))
            wanted = WantedRows(known.keys, known.numbers[slice(None) if rows is None else rows])
            with self.lock(entry), refusals(entry, "read"):
                take_over(self.folder, entry, identity, known, encoder)
                read_stored(entry, wanted)
            with self._shared_too(entry, wanted, data_key):
                if len(wanted.missing()):
                    self._add(entry, wanted, known, compute, identity)
        return wanted.values

    def entry_of(self, encoder: Mapping[str, str]) -> Path:
        """Return the folder of an encoder, by what its embeddings depend on."""
        return self.folder / _sha256(canonical_json(encoder))

    @contextmanager
    def reserved(self, entry: Path, data_key: str) -> Iterator[None]:
        """Wait until no other process of this cache computes a data set's embeddings; hold that.

        Of this data set alone: embedding another one may take hours.
        """
        with refusals(entry):
            make_folder(entry)
        with _held(self.folder / f"{entry.name}.{_sha256(data_key)[:16]}.lock"):
            yield

    @contextmanager
    def _shared_too(self, entry: Path, wanted: WantedRows, data_key: str) -> Iterator[None]:
        """Where the cache has a URL: fetch what is there, and keep others from computing it too."""
        if self.shared is None:
            yield
            return
        self.shared.push(entry)  # what an earlier command could not
        if not len(wanted.missing()):
            yield
            return
        with self.fetched(entry, data_key):
            with self.lock(entry), refusals(entry, "read"):
                read_stored(entry, wanted)
            yield

    @contextmanager
    def fetched(self, entry: Path, data_key: str) -> Iterator[None]:
        """Have here what the cache's URL has; inside, no other machine computes this data set's."""
        if self.shared is None:
            yield
            return
        with self.shared.turn(entry, _sha256(data_key)[:16]):
            self.pull(entry)
            yield

    def pull(self, entry: Path) -> None:
        """Fetch what the cache's URL has and was never here."""
        if self.shared is not None:
            with self.lock(entry), refusals(entry, "read"):
                self.shared.pull(entry)

    def _add(
        self, entry: Path, wanted: WantedRows, known: KnownImages, compute: Compute,
        identity: Mapping[str, str],
    ) -> None:  # fmt: skip
        """Compute what is missing; each part is on the disk before the next is taken."""
        encoder, parts = _encoder_in(identity), in_shards(wanted.missing())
        first = known.first_positions()
        values = compute([torch.from_numpy(first[part]) for part in parts])
        # The iterator stops by itself: `strict` asks it for one more.
        for part, value in zip(parts, values, strict=True):
            shard = Shard(known.keys[part], value)
            self._written(self.put(entry, shard, encoder), identity)
            wanted.take(shard)
        self.merge(entry, encoder)

    def merge(self, entry: Path, encoder: Mapping[str, str]) -> None:
        """Make few files of many small ones; at a URL all stay."""
        with self.lock(entry):
            if self.shared is None:
                merge_small(entry, encoder)
            elif self.shared.push(entry):
                merge_small(entry, encoder)
                self.shared.know(entry)

    def _written(self, path: Path, identity: Mapping[str, str]) -> None:
        """Hear of a shard that is on the disk; a cache that shares with others tells them."""

    def put(self, entry: Path, shard: Shard, encoder: Mapping[str, str]) -> Path:
        """Write a shard; where the cache has a URL, it is there as well, or will be."""
        with self.lock(entry):
            path = write_shard(entry, shard, encoder)
        if self.shared is not None:
            self.shared.push(entry)
        return path

    def take(self, entry: str, name: str, content: bytes) -> None:
        """Keep a shard as another machine wrote it, unless that machine shares this cache."""
        path = self.folder / entry / name
        with self.lock(path.parent):
            if not path.exists():
                write_atomic(path, content)

    def has(self, entry: Path, keys: Keys) -> bool:
        """Return whether a whole shard of just these images is there, as after a kill."""
        if self.whole_shard(entry, keys) is not None:
            return True
        return self.shared is not None and self.shared.has(entry, name_of_images(keys))

    def whole_shard(self, entry: Path, keys: Keys) -> Path | None:
        """Return the file here that has just these images; one that is damaged is dropped."""
        for path in entry.glob(f"*-{name_of_images(keys)}{SUFFIX}"):
            with self.lock(entry):
                if whole_or_dropped(path) is not None:
                    return path
        return None

    def bring_home(self, path: Path) -> None:
        """Hear of a shard of a part that is on the disk; one that is not the driver's sends it."""

    def info(self) -> list[dict[str, str | int]]:
        """Return what is stored: encoder, data sets, rows and bytes of each entry.

        `outdated` entries were made by an older version of the encoder and are not used any more;
        one that cannot be read has its reason as `problem`.

        Raises:
            RefusedError: if the cache cannot be listed.
        """
        return [_describe(entry) for entry in self._entries()]

    def clear(self, outdated_only: bool = False) -> tuple[int, list[str]]:
        """Delete all entries, or those not used any more.

        What another process is reading or writing at the moment is waited for; after ten seconds it
        is left, with a message.

        Returns:
            The bytes freed, and a message per file that cannot be deleted.

        Raises:
            RefusedError: if the cache cannot be listed.
        """
        freed = 0
        refused: list[str] = []
        for entry in self._entries():
            if outdated_only and not _describe(entry).get("outdated"):
                continue
            try:
                with _held(entry.with_suffix(".lock"), timeout=_CLEAR_WAITS_S):
                    # Names with a dot in front, which killed writers left half-written, among them.
                    n_bytes, kept = delete_all([entry])
            except Timeout:
                n_bytes, kept = 0, [f"cached embeddings {entry.name} are in use and were left."]
            except RefusedError as error:
                n_bytes, kept = 0, [str(error)]
            freed, refused = freed + n_bytes, refused + kept
        return freed, refused + ([] if outdated_only else self._delete_locks())

    def _delete_locks(self) -> list[str]:
        """Delete the locks that nobody holds; return a message for each that cannot be deleted."""
        refused: list[str] = []
        for path in entries_of(self.folder):
            if path.suffix == ".lock":
                with suppress(Timeout, RefusedError), _held(path, timeout=0):
                    refused += delete_all([path])[1]
        return refused

    def _entries(self) -> list[Path]:
        with refusals(self.folder, "read"):
            return [path for path in entries_of(self.folder) if path.is_dir()]

    @contextmanager
    def lock(self, entry: Path) -> Iterator[None]:
        """Hold the lock on an entry's files, which is held for moments."""
        with _held(entry.with_suffix(".lock")):
            yield


@contextmanager
def _held(path: Path, timeout: float = -1) -> Iterator[None]:
    lock = FileLock(path)
    with refusals(path):
        lock.acquire(timeout=timeout)
    try:
        yield
    finally:
        lock.release()


def read_stored(entry: Path, wanted: WantedRows) -> None:
    """Fill in what is stored; of shards without a row that is asked for only the keys are read."""
    for left in entry.glob(".*"):  # what a killed writer left half-written
        with suppress(FileNotFoundError):
            # Where locks do nothing, another machine may be writing it at this moment.
            if clock_of(entry) - left.lstat().st_mtime > _HALF_WRITTEN_S:
                left.unlink()
    seen: set[Path] = set()
    # Another machine may merge shards meanwhile: it writes the merged ones first.
    while fresh := [path for path in shard_files(entry) if path not in seen]:
        seen.update(fresh)
        for path in fresh:
            _take_shard(path, wanted)


def _take_shard(path: Path, wanted: WantedRows) -> None:
    try:
        shard = read_shard(path, skips=wanted.skips)
    except DamagedShardError:
        if path.exists():
            drop_damaged(path)
    except RefusedError as error:
        if error.errno != errno.ENOENT:
            raise
    else:
        if shard is not None:
            wanted.take(shard)


def _encoder_in(identity: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in identity.items() if name not in _OF_DATA}


def _describe(entry: Path) -> dict[str, str | int]:
    names: dict[str, str | int] = {"encoder": "nothing yet", "data": entry.name}
    n_rows = n_bytes = 0
    try:
        with refusals(entry, "read"):
            n_bytes = sum(path.lstat().st_size for path in sorted(entry.iterdir()))
        for path in shard_files(entry):
            rows, columns = shape_of(path)
            metadata = metadata_of(path)
            n_rows += rows
            data = ", ".join(data_names(entry)) or metadata.get("data", "")
            names = {"encoder": metadata["encoder"], "data": data}
            names |= {"rows": n_rows, "dimensions": columns, "outdated": is_outdated(metadata)}
    except RefusedError as error:
        names = {"encoder": "not readable", "data": entry.name, "problem": str(error)}
    except UNREADABLE:
        names = {"encoder": "damaged", "data": entry.name}
    return {**names, "bytes": n_bytes}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
