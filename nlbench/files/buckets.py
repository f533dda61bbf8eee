"""Files at a URL, through fsspec: read and written whole, and one kind of error for all drivers."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NamedTuple

from nlbench.errors import ConfigError, RunError, text_of
from nlbench.files.urls import checked_url, is_url, masked

log = logging.getLogger("nlbench")

# A file that is written there is seen whole or not at all; elsewhere it is renamed into its place.
_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"}
_EXTRAS = {"s3": "nlbench[s3]", "s3a": "nlbench[s3]", "https": "fsspec[http]"}
_OPTIONS: dict[str, dict[str, Any]] = {
    protocol: {
        "config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}
    }
    for protocol in ("s3", "s3a")
}
_DOWN_S = 60.0
_AT_ONCE = 500


class UnreachableError(RunError):
    """A store at a URL does not answer, or refuses (exit code 1)."""


class Stored(NamedTuple):
    """A file at a URL: what changes when its content does, and when it was written, in seconds."""

    version: str
    modified: float


class Bucket:
    """The files below a URL, by their names relative to it.

    After an error it is not asked again for a minute: a store that is gone must not make every
    step wait for it.

    Raises:
        ConfigError: if the URL is not allowed, or its driver is not installed.
    """

    def __init__(self, url: str, what: str = "the URL") -> None:
        self.url = checked_url(url, what)
        self.shown = masked(self.url)
        self._down_until = 0.0
        self._reason = ""
        self._files, self._root = _opened(self.url, what)
        self._is_whole = self.url.partition("://")[0].lower() in _WHOLE

    @property
    def is_down(self) -> bool:
        """Whether it failed within the last minute."""
        return time.monotonic() < self._down_until

    def found(self, folder: str = "") -> dict[str, Stored]:
        """Return the files in a folder and those in it, by name; none where there is no folder.

        Raises:
            UnreachableError: if it does not answer.
        """
        with self._answering("listed"):
            self._files.invalidate_cache()
            try:
                details = self._files.find(self._path(folder), detail=True)
            except FileNotFoundError:
                return {}
        start = len(self._path("").rstrip("/")) + 1
        return {path[start:]: _stored(info) for path, info in details.items()}

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None where there is none.

        Raises:
            UnreachableError: if it does not answer.
        """
        return self.read_all([name]).get(name)

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return the contents of those files that are there, fetched side by side.

        Raises:
            UnreachableError: if it does not answer.
        """
        contents: dict[str, bytes] = {}
        for start in range(0, len(names), _AT_ONCE):
            paths = {self._path(name): name for name in names[start : start + _AT_ONCE]}
            with self._answering("read"):
                got = self._files.cat(list(paths), on_error="return")
                for path, content in got.items():
                    if isinstance(content, FileNotFoundError | IsADirectoryError):
                        continue
                    if isinstance(content, BaseException):
                        raise content
                    contents[paths[path]] = content
        return contents

    def write(self, name: str, content: bytes) -> None:
        """Write a file, so that readers see the old content or the new.

        Raises:
            UnreachableError: if it does not answer.
        """
        path = self._path(name)
        with self._answering("written"):
            if self._is_whole:
                self._files.pipe_file(path, content)
                return
            folder, _, last = path.rpartition("/")
            self._files.makedirs(folder, exist_ok=True)
            beside = f"{folder}/.{last}.{uuid.uuid4().hex[:8]}"
            try:
                self._files.pipe_file(beside, content)
                self._files.mv(beside, path)
            except BaseException:
                with suppress(Exception):
                    self._files.rm_file(beside)
                raise

    def remove(self, name: str) -> None:
        """Delete a file; one that is gone is passed over.

        Raises:
            UnreachableError: if it does not answer.
        """
        with self._answering("deleted"), suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def stored(self, name: str) -> Stored | None:
        """Return what is known of a file without reading it; None where there is none.

        Raises:
            UnreachableError: if it does not answer.
        """
        with self._answering("read"), suppress(FileNotFoundError):
            self._files.invalidate_cache()
            return _stored(self._files.info(self._path(name)))
        return None

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        """Turn whatever a driver raises into one error, and remember that it is down."""
        if self.is_down:
            raise UnreachableError(self._reason)
        try:
            yield
        except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
            raise
        except BaseException as error:
            self._reason = (
                f"'{self.shown}' cannot be {what}: {_reason(error)}. Check the URL, the "
                "credentials and the network, then repeat the command."
            )
            self._down_until = time.monotonic() + _DOWN_S
            raise UnreachableError(self._reason) from error


class BucketPlace:
    """The lease files of one thing, at a URL; their times are by the clock of the store."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket, self._folder = bucket, folder

    def put(self, name: str, content: bytes) -> None:
        """Write a file, or write it again with the time of now."""
        self._bucket.write(f"{self._folder}/{name}", content)

    def times(self) -> dict[str, float]:
        """Return the times of all lease files."""
        found = self._bucket.found(self._folder)
        names = {path.rpartition("/")[2]: stored.modified for path, stored in found.items()}
        return {name: at for name, at in names.items() if not name.startswith(".")}

    def content(self, name: str) -> bytes | None:
        """Return the content of a file."""
        return self._bucket.read(f"{self._folder}/{name}")

    def remove(self, name: str) -> None:
        """Delete a file."""
        self._bucket.remove(f"{self._folder}/{name}")


def _opened(url: str, what: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0].lower()
    try:
        files, root = url_to_fs(
            url, use_listings_cache=False, skip_instance_cache=True, **_OPTIONS.get(protocol, {})
        )
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        cure = f"pip install '{extra}'" if extra else f"pip install 'fsspec[{protocol}]'"
        raise ConfigError(
            f"`{what}` is {masked(url)!r}, and the driver for {protocol}:// is not installed "
            f"({text_of(error, 200)}). Install it: {cure}"
        ) from None
    except Exception as error:
        raise ConfigError(
            f"`{what}` must be a URL that fsspec can open, got {masked(url)!r}: "
            f"{_reason(error)}. As in s3://my-bucket/nlbench."
        ) from None
    return files, str(root).rstrip("/")


def _stored(info: dict[str, Any]) -> Stored:
    times = (info.get(key) for key in ("LastModified", "mtime", "updated", "modified", "created"))
    at = next((time for time in times if time is not None), 0.0)
    seconds = _seconds(at)
    version = info.get("ETag") or info.get("etag") or f"{info.get('size')} {seconds!r}"
    return Stored(str(version), seconds)


def _seconds(at: Any) -> float:
    if isinstance(at, str):
        at = datetime.fromisoformat(at.replace("Z", "+00:00"))
    return at.timestamp() if isinstance(at, datetime) else float(at)


def _reason(error: BaseException) -> str:
    """Return what a driver says, in one line, with no URL that may have a secret in it."""
    text = " ".join(text_of(error, 300).split()) or type(error).__name__
    return " ".join(masked(word) if is_url(word) else word for word in text.split()).rstrip(".")
