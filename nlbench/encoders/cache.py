"""The embedding cache: a folder of checksummed safetensors shards per content key."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from filelock import FileLock
from torch import Tensor

from nlbench.encoders.versions import is_outdated
from nlbench.errors import RefusedError, refusals
from nlbench.files import cache_dir as cache_dir
from nlbench.files import canonical_json, delete_all, entries_of, write_atomic

log = logging.getLogger("nlbench")

SHARD_ROWS = 1024

Compute = Callable[[Sequence[range]], Iterator[Tensor]]


class EmbeddingCache:
    """Embeddings by data, encoder, its version, weights, activations, preprocessing and precision.

    Each shard is written when it is done, so that an extraction that was killed goes on after
    its last shard. Two processes that need the same entry at once compute it once: the second
    waits for the first. A damaged shard is reported and computed again.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or cache_dir()) / "embeddings"

    def get(
        self, identity: dict[str, str], n_rows: int, compute: Compute, rows: Tensor | None = None
    ) -> Tensor:
        """Return rows of an entry, computing and storing the shards that are missing.

        No more than the rows asked for and one shard are in memory.

        Args:
            identity: What the embeddings depend on, and the data set's name, by which people know
                an entry: CIFAR-10 with and without human labels is one.
            n_rows: Rows of the whole entry, one per image.
            compute: Gives the (len(shard), d) embeddings of each of the shards asked for.
            rows: (R,) positions; all where left out.

        Returns:
            (R, d) float32 on the CPU.

        Raises:
            RefusedError: if the entry cannot be read or written.
        """
        key = {name: value for name, value in identity.items() if name != "data"}
        entry = self.folder / hashlib.sha256(canonical_json(key).encode()).hexdigest()
        shards = [range(a, min(a + SHARD_ROWS, n_rows)) for a in range(0, n_rows, SHARD_ROWS)]
        asked_rows = _Rows(torch.arange(n_rows) if rows is None else rows.cpu())
        missing = []
        with _held(entry):
            for shard in shards:
                stored = _read(_file(entry, shard), shard)
                if stored is None:
                    missing.append(shard)
                else:
                    asked_rows.take(stored, shard)
            # The iterator stops by itself: `strict` asks it for one more.
            for shard, value in zip(missing, compute(missing) if missing else (), strict=True):
                content = {"embeddings": value.contiguous()}
                metadata = {**identity, "sha256": _digest(value), "rows": _span(shard)}
                write_atomic(_file(entry, shard), safetensors.torch.save(content, metadata))
                asked_rows.take(value, shard)
        return asked_rows.values

    def info(self) -> list[dict[str, str | int]]:
        """Return what is stored: encoder, data, rows and bytes of each entry.

        `outdated` entries were made by an older version of the encoder and are not used any more;
        one that cannot be read has its reason as `problem`.

        Raises:
            RefusedError: if the cache cannot be listed.
        """
        return [_describe(entry) for entry in self._entries()]

    def clear(self, outdated_only: bool = False) -> tuple[int, list[str]]:
        """Delete all entries, or those not used any more.

        Returns:
            The bytes freed, and a message per file that cannot be deleted.

        Raises:
            RefusedError: if the cache cannot be listed.
        """
        old = [e for e in self._entries() if not outdated_only or _describe(e).get("outdated")]
        # Names with a dot in front, which killed writers left half-written, are among the files.
        freed, refused = delete_all(old)
        locks = [entry.with_suffix(".lock") for entry in old]
        if not outdated_only:
            locks = [path for path in entries_of(self.folder) if path.suffix == ".lock"]
        return freed, refused + delete_all(locks)[1]

    def _entries(self) -> list[Path]:
        with refusals(self.folder, "read"):
            return [path for path in entries_of(self.folder) if path.is_dir()]


@contextmanager
def _held(entry: Path) -> Iterator[None]:
    """Hold an entry, making its folder, until no other process needs to compute it again."""
    lock = FileLock(entry.with_suffix(".lock"))
    with refusals(entry):
        entry.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        with refusals(entry):
            for left in entry.glob(".*"):  # what a killed writer left half-written
                left.unlink()
        yield
    finally:
        lock.release()


class _Rows:
    """The rows asked for, filled from one shard after the other."""

    def __init__(self, rows: Tensor) -> None:
        self._sorted, self._order = rows.sort()
        self.values = torch.empty((len(rows), 0))

    def take(self, value: Tensor, shard: range) -> None:
        ends = torch.tensor([shard.start, shard.stop])
        first, last = torch.searchsorted(self._sorted, ends).tolist()
        if not self.values.shape[1]:
            self.values = torch.empty((len(self._order), value.shape[1]), dtype=value.dtype)
        # NumPy copies rows in this thread; torch's threads wait for each other 1000 times.
        source, rows = value.numpy(), (self._sorted[first:last] - shard.start).numpy()
        self.values.numpy()[self._order[first:last].numpy()] = source[rows]


def _file(entry: Path, shard: range) -> Path:
    return entry / f"{shard.start:010d}.safetensors"


def _span(shard: range) -> str:
    return f"{shard.start}-{shard.stop}"


def _read(path: Path, shard: range) -> Tensor | None:
    """Return a shard's embeddings; None where there are none, or none that can be trusted."""
    value: Tensor | None = None
    try:
        with refusals(path, "read"):
            if not path.is_file():
                return None
            path.open("rb").close()  # safetensors does not tell a refusal from a damage
        with safetensors.safe_open(path, framework="pt") as file:
            value = file.get_tensor("embeddings")
            metadata = file.metadata()
            is_whole = _digest(value) == metadata["sha256"] and metadata["rows"] == _span(shard)
    except (safetensors.SafetensorError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        log.warning(
            "cached embeddings %s are damaged and are computed again.",
            path.relative_to(path.parents[1]),
        )
        with refusals(path, "deleted"):
            path.unlink(missing_ok=True)
        return None
    return value


def _describe(entry: Path) -> dict[str, str | int]:
    names: dict[str, str | int] = {"encoder": "nothing yet", "data": entry.name}
    n_rows = n_bytes = 0
    try:
        with refusals(entry, "read"):
            files = sorted(entry.iterdir())
            n_bytes = sum(path.lstat().st_size for path in files)
        for path in files:
            if path.suffix != ".safetensors" or path.name.startswith("."):
                continue
            with refusals(path, "read"):
                path.open("rb").close()
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                shape = file.get_slice("embeddings").get_shape()
            n_rows += shape[0]
            names = {"encoder": metadata["encoder"], "data": metadata["data"]}
            names |= {"rows": n_rows, "dimensions": shape[1], "outdated": is_outdated(metadata)}
    except RefusedError as error:
        names = {"encoder": "not readable", "data": entry.name, "problem": str(error)}
    except (safetensors.SafetensorError, KeyError, TypeError):
        names = {"encoder": "damaged", "data": entry.name}
    return {**names, "bytes": n_bytes}


def _digest(value: Tensor) -> str:
    # The array itself is a buffer: `tobytes` would double the memory of a million embeddings.
    return hashlib.sha256(value.contiguous().view(torch.uint8).numpy().data).hexdigest()
