"""The actor between driver and nodes: news of cells, and what embeddings the cluster has.

Imports nothing heavy: it has a process of its own on the head node.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

LEASE_S = 20.0
"""After this time without a renewal, who computes embeddings counts as dead."""


class News(NamedTuple):
    """Something that work says: `kind` is progress, started, clock, log or shard."""

    fingerprint: str
    kind: str
    content: Any


class Turn(NamedTuple):
    """The answer to who needs embeddings: what there is, and who makes the rest.

    `shards` are (file name, reference to its bytes).
    """

    state: Literal["done", "yours", "wait"]
    shards: list[tuple[str, Any]]


@dataclass
class _Entry:
    shards: dict[str, Any] = field(default_factory=dict)
    holder: str = ""
    renewed: float = 0.0
    is_done: bool = False


class Post:
    """Keeps news until the driver takes them, and shards of embeddings as long as the sweep."""

    def __init__(self) -> None:
        self._news: list[News] = []
        self._entries: dict[str, _Entry] = {}
        self._keys: dict[str, Any] = {}
        self._sent: set[tuple[str, str]] = set()

    def tell(self, news: Sequence[News]) -> None:
        """Take news; they stay in order."""
        self._news += news

    def take(self) -> list[News]:
        """Return what came in since the last call."""
        news, self._news = self._news, []
        return news

    def send(self, entry: str, name: str, content: bytes) -> None:
        """Take a shard for the driver, as news: it is at home when the driver has taken them."""
        self._news.append(News("", "shard", (entry, name, content)))
        self._sent.add((entry, name.partition(".")[0].rpartition("-")[2]))

    def has_sent(self, entry: str, images: str) -> bool:
        """Return whether a shard of these images was sent, as by a task that died afterwards."""
        return (entry, images) in self._sent

    def keys_of(self, data_key: str) -> Any:
        """Return the keys of a data set's images, which cost a reading of all; None if unknown."""
        return self._keys.get(data_key)

    def take_keys(self, data_key: str, keys: Any) -> None:
        """Keep the keys of a data set's images."""
        self._keys[data_key] = keys

    def turn(self, key: str, holder: str) -> Turn:
        """Return the shards of an encoder and data set; who gets "yours" computes what is missing.

        Only one has the turn. Whoever does not renew it has lost it to the next one who asks.
        """
        entry = self._entries.setdefault(key, _Entry())
        shards = list(entry.shards.items())
        if entry.is_done:
            return Turn("done", shards)
        now = time.monotonic()
        if entry.holder not in ("", holder) and now - entry.renewed < LEASE_S:
            return Turn("wait", [])
        entry.holder, entry.renewed = holder, now
        return Turn("yours", shards)

    def renew(self, key: str, holder: str) -> None:
        """Keep the turn."""
        entry = self._entries[key]
        if entry.holder == holder:
            entry.renewed = time.monotonic()

    def publish(self, key: str, name: str, content: bytes) -> None:
        """Take a shard; it is in the object store from now on, as long as this actor lives."""
        import ray

        self._entries[key].shards.setdefault(name, ray.put(content))

    def end_turn(self, key: str, holder: str, is_done: bool) -> None:
        """Give the turn back; `is_done` if nothing is missing any more."""
        entry = self._entries[key]
        entry.is_done = entry.is_done or is_done
        if entry.holder == holder:
            entry.holder = ""
