"""A node's cache of embeddings, which takes from the cluster what another node has computed."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from torch import Tensor

from nlbench.data.content_keys import Keys, position_keys
from nlbench.encoders.cache import Compute, EmbeddingCache, read_stored
from nlbench.encoders.key_index import KnownImages
from nlbench.encoders.shards import name_of_images
from nlbench.encoders.wanted_rows import WantedRows
from nlbench.errors import refusals
from nlbench.files import write_atomic
from nlbench.runner.on_ray.post import LEASE_S, Turn

_ASK_AGAIN_S = 0.5


class ClusterCache(EmbeddingCache):
    """The cache of this node, where no other node of the sweep computes what one has computed.

    Where rows are missing, one process of the cluster at a time computes them and publishes shard
    after shard; the others wait, then fetch. If its machine dies, the next one goes on after the
    last shard.

    Args:
        folder: Of this node's cache.
        post: The actor that knows the shards.
    """

    def __init__(self, folder: Path, post: Any) -> None:
        super().__init__(folder)
        self._post, self._holder = post, uuid.uuid4().hex

    def get(
        self,
        identity: dict[str, str],
        n_rows: int,
        compute: Compute,
        rows: Tensor | None = None,
        keys: Callable[[], Keys] | None = None,
    ) -> Tensor:
        """Return embeddings as `EmbeddingCache.get` does; the images' keys are shared, too."""
        data_key = identity.get("data_key", "")
        own = keys or (lambda: position_keys(data_key, n_rows))

        def look() -> Keys:
            shared: Keys | None = ray.get(self._post.keys_of.remote(data_key))
            if shared is None:
                shared = own()
                self._post.take_keys.remote(data_key, shared)
            return shared

        return super().get(identity, n_rows, compute, rows, look)

    def _add(
        self, entry: Path, wanted: WantedRows, known: KnownImages, compute: Compute,
        identity: Mapping[str, str],
    ) -> None:  # fmt: skip
        key = _key(entry, identity)
        with self._turn(key) as turn:
            for name, reference in turn.shards:
                content = ray.get(reference)
                with self.lock(entry):
                    write_atomic(entry / name, content)
            with self.lock(entry), refusals(entry, "read"):
                read_stored(entry, wanted)
            if len(wanted.missing()):
                super()._add(entry, wanted, known, compute, identity)

    def _written(self, path: Path, identity: Mapping[str, str]) -> None:
        ray.get(self._post.publish.remote(_key(path.parent, identity), path.name, _bytes(path)))

    def has(self, entry: Path, keys: Keys) -> bool:
        """Return whether a shard of just these images is on its way home; one that is here goes."""
        if ray.get(self._post.has_sent.remote(entry.name, name_of_images(keys))):
            return True
        path = self.whole_shard(entry, keys)
        if path is None:
            return super().has(entry, keys)
        self.bring_home(path)
        return True

    def bring_home(self, path: Path) -> None:
        """Send a shard to the driver."""
        ray.get(self._post.send.remote(path.parent.name, path.name, _bytes(path)))

    @contextmanager
    def _turn(self, key: str) -> Iterator[Turn]:
        """Wait until the cluster has the embeddings or this process may compute them."""
        turn: Turn = ray.get(self._post.turn.remote(key, self._holder))
        while turn.state == "wait":
            time.sleep(_ASK_AGAIN_S)
            turn = ray.get(self._post.turn.remote(key, self._holder))
        done, stop = False, threading.Event()
        threading.Thread(target=self._renew, args=(key, stop), daemon=True).start()
        try:
            yield turn
            done = True
        finally:
            stop.set()
            ray.get(self._post.end_turn.remote(key, self._holder, done))

    def _renew(self, key: str, stop: threading.Event) -> None:
        while not stop.wait(LEASE_S / 5):
            self._post.renew.remote(key, self._holder)


def _key(entry: Path, identity: Mapping[str, str]) -> str:
    return f"{entry.name}/{identity.get('data_key', '')}"


def _bytes(path: Path) -> bytes:
    with refusals(path, "read"):
        return path.read_bytes()
