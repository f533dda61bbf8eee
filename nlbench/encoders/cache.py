"""The embedding cache: one checksummed safetensors file per content key."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
from filelock import FileLock
from torch import Tensor

from nlbench.results import canonical_json, write_atomic
from nlbench.store import home_dir

log = logging.getLogger("nlbench")


def cache_dir(home: Path | None = None) -> Path:
    """Give the cache's folder: `NLBENCH_CACHE`, else ``cache`` under the home folder."""
    given = os.environ.get("NLBENCH_CACHE")
    return Path(given).expanduser().absolute() if given else (home or home_dir()) / "cache"


class EmbeddingCache:
    """Embeddings by (data fingerprint, encoder, weights hash, preprocessing).

    Two processes that need the same entry at once compute it once: the second waits for the
    first. A damaged entry is reported and computed again.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or cache_dir()) / "embeddings"

    def get(self, identity: dict[str, str], compute: Callable[[], Tensor]) -> Tensor:
        """Give the entry of an identity, computing and storing it where it is missing."""
        key = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
        path = self.folder / f"{key}.safetensors"
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            found = self._read(path)
            if found is not None:
                return found
            value = compute().cpu().contiguous()
            metadata = {**identity, "sha256": _digest(value)}
            write_atomic(path, safetensors.torch.save({"embeddings": value}, metadata))
            return value

    def info(self) -> list[dict[str, str | int]]:
        """Give what is stored: encoder, data, rows and bytes of each entry."""
        rows: list[dict[str, str | int]] = []
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                with safetensors.safe_open(path, framework="pt") as file:
                    metadata = file.metadata()
                    shape = file.get_slice("embeddings").get_shape()
                    names = {"encoder": metadata["encoder"], "data": metadata["data"]}
            except (safetensors.SafetensorError, KeyError, TypeError):
                rows.append({"encoder": "damaged", "data": path.name, "bytes": path.stat().st_size})
                continue
            rows.append(
                {
                    **names,
                    "rows": shape[0],
                    "dimensions": shape[1],
                    "bytes": path.stat().st_size,
                }
            )
        return rows

    def clear(self) -> int:
        """Delete all entries; give the number of bytes freed."""
        freed = 0
        # Names with a dot in front are what killed writers left half-written.
        for path in [*self.folder.glob("*.safetensors"), *self.folder.glob(".*.safetensors.*")]:
            freed += path.stat().st_size
            path.unlink()
        for path in self.folder.glob("*.lock"):
            path.unlink(missing_ok=True)
        return freed

    def _read(self, path: Path) -> Tensor | None:
        if not path.is_file():
            return None
        value: Tensor | None = None
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                value = file.get_tensor("embeddings")
                expected = file.metadata()["sha256"]
        except (safetensors.SafetensorError, KeyError, TypeError):
            value, expected = None, ""
        if value is None or _digest(value) != expected:
            log.warning("cached embeddings %s are damaged and are computed again.", path.name)
            path.unlink(missing_ok=True)
            return None
        return value


def _digest(value: Tensor) -> str:
    # The array itself is a buffer: `tobytes` would double the memory of a million embeddings.
    return hashlib.sha256(value.contiguous().numpy().data).hexdigest()
