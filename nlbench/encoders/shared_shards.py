"""Shards of embeddings at a URL: written once, never changed, listed; copies of them are here.

Their names are their own and their content is checksummed, so that any number of machines may
write at once. What a machine merges, it merges among its copies only.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from nlbench.encoders.shards import SUFFIX, shard_files
from nlbench.errors import refusals
from nlbench.files import write_atomic
from nlbench.files.buckets import Bucket, BucketPlace, UnreachableError
from nlbench.files.leases import leased

log = logging.getLogger("nlbench")

_NAME = re.compile(r"\d{20}-[0-9a-f]{8}(?:[0-9a-f]{8})?" + re.escape(SUFFIX))
_LIST = "shared-shards.json"
_AT_ONCE = 16  # shards in memory, of a few MB each
_LOOK_AGAIN_S = 5.0


class SharedShards:
    """The shards at a URL, by entry; a list beside the copies says which were here once.

    A store that has answered may go away: shards stay here, and are uploaded when it is back.
    """

    def __init__(self, url: str) -> None:
        self._bucket = Bucket(url, "NLBENCH_CACHE")
        self._has_answered = False

    @contextmanager
    def turn(self, entry: Path, data: str) -> Iterator[None]:
        """Wait until no other machine computes the same data set's embeddings, and hold that.

        Args:
            entry: Folder of an encoder's embeddings.
            data: What names the data set.

        Raises:
            UnreachableError: if the store never answered.
        """
        has_said = False
        while True:
            lease = leased(
                BucketPlace(self._bucket, f"leases/{entry.name}.{data}"),
                "the computation of embeddings",
                put_error=UnreachableError,
            )
            try:
                has_it = lease.__enter__()
                self._has_answered = True
            except UnreachableError as error:
                self._pass_over(error)
                yield
                return
            try:
                if has_it:
                    yield
                    return
            finally:
                lease.__exit__(None, None, None)
            if not has_said:
                log.warning("Another machine computes these embeddings; waiting for it.")
                has_said = True
            time.sleep(_LOOK_AGAIN_S)

    def pull(self, entry: Path) -> None:
        """Fetch the shards that were never here.

        Raises:
            UnreachableError: if the store never answered.
            RefusedError: if they cannot be written.
        """
        try:
            found = self._bucket.found(f"embeddings/{entry.name}")
            self._has_answered = True
            names = {path.rpartition("/")[2] for path in found}
            seen = _seen(entry)
            new = sorted(name for name in names - seen if _NAME.fullmatch(name))
            for start in range(0, len(new), _AT_ONCE):
                paths = [self._path(entry, name) for name in new[start : start + _AT_ONCE]]
                for path, content in self._bucket.read_all(paths).items():
                    write_atomic(entry / path.rpartition("/")[2], content, is_synced=False)
                    seen.add(path.rpartition("/")[2])
                _note(entry, seen)
        except UnreachableError as error:
            self._pass_over(error)

    def push(self, entry: Path) -> bool:
        """Upload the shards that are not there yet; return whether all are there now."""
        seen = _seen(entry)
        unsent = [path for path in shard_files(entry) if path.name not in seen]
        try:
            for path in unsent:
                with refusals(path, "read"):
                    content = path.read_bytes()
                self._bucket.write(self._path(entry, path.name), content)
                self._has_answered = True
                seen.add(path.name)
                _note(entry, seen)
        except UnreachableError as error:
            self._pass_over(error)
            return False
        return True

    def has(self, entry: Path, images: str) -> bool:
        """Return whether a shard of just these images (`name_of_images`) is there."""
        try:
            found = self._bucket.found(f"embeddings/{entry.name}")
        except UnreachableError as error:
            self._pass_over(error)
            return False
        return any(path.endswith(f"-{images}{SUFFIX}") for path in found)

    def drop(self, entry: Path, name: str) -> None:
        """Delete a shard that is damaged, so that it counts as missing everywhere."""
        try:
            self._bucket.remove(self._path(entry, name))
        except UnreachableError as error:
            self._pass_over(error)

    def know(self, entry: Path) -> None:
        """Note that what all shards here have is at the URL as well, as after a merge of these."""
        _note(entry, _seen(entry) | {path.name for path in shard_files(entry)})

    def _path(self, entry: Path, name: str) -> str:
        return f"embeddings/{entry.name}/{name}"

    def _pass_over(self, error: UnreachableError) -> None:
        if not self._has_answered:
            raise error
        text = str(error)
        if text not in _SAID:
            _SAID.add(text)
            log.warning("%s Embeddings are kept here, and uploaded when they are next used.", text)


_SAID: set[str] = set()


@cache
def shared_shards(url: str) -> SharedShards:
    """Return the shards at a URL, one object per process.

    Raises:
        ConfigError: if the URL is not allowed, or its driver is not installed.
    """
    return SharedShards(url)


def _seen(entry: Path) -> set[str]:
    try:
        names = json.loads((entry / _LIST).read_text(encoding="utf-8"))
        return {name for name in names if isinstance(name, str)}
    except (OSError, ValueError, TypeError):  # fetched again: equal shards do no harm
        return set()


def _note(entry: Path, names: Iterable[str]) -> None:
    write_atomic(entry / _LIST, json.dumps(sorted(names)), is_synced=False)
