"""Files of runs at URLs: copied here to be read, and written there as a whole."""

from __future__ import annotations

from pathlib import Path

from nlbench.errors import ConfigError
from nlbench.files import delete_all, write_atomic
from nlbench.files.buckets import Bucket
from nlbench.files.urls import checked_url, is_url, masked, mirror_folder


def local_copy(named: str, what: str) -> Path:
    """Return the path that somebody named; of a URL, the copy that is fetched now.

    Of a folder at a URL all ``*.json`` files are fetched, and those in its folders.

    Args:
        named: A path or URL.
        what: What it is named for: an option or argument.

    Raises:
        ConfigError: if it is a URL that is not allowed, or nothing is there.
        UnreachableError: if the store does not answer.
    """
    if not is_url(named):
        return Path(named)
    url = checked_url(named, what)
    parent, _, last = url.rpartition("/")
    is_below = not parent.endswith("/")  # of s3://bucket only the bucket is left
    content = Bucket(parent, what).read(last) if is_below else None
    copy = mirror_folder(url)
    if content is not None:
        write_atomic(copy / last, content, is_synced=False)
        return copy / last
    bucket = Bucket(url, what)
    names = [name for name in bucket.found() if name.endswith(".json") and ".." not in name]
    if not names:
        raise ConfigError(
            f"`{what}` must be a file of runs, or a folder with such files, got {masked(url)!r}, "
            "where there is none. Write one with `nlbench export --all --out URL`."
        )
    delete_all([copy])  # what is gone there must be gone here
    for name, content in bucket.read_all(names).items():
        write_atomic(copy / name, content, is_synced=False)
    return copy


def write_anywhere(named: str, content: str, what: str) -> None:
    """Write a file at a path or URL, so that readers see the old content or the new.

    Raises:
        ConfigError: if it is a URL that is not allowed.
        RefusedError: if the operating system does not take it.
        UnreachableError: if the store does not answer.
    """
    if not is_url(named):
        write_atomic(Path(named), content)
        return
    parent, _, last = checked_url(named, what).rpartition("/")
    Bucket(parent, what).write(last, content.encode())


def local_folder(named: Path | None, what: str) -> None:
    """Refuse a URL where only a folder of this machine will do.

    Raises:
        ConfigError: if it is one; a path library has made ``s3://`` to ``s3:/``.
    """
    text = "" if named is None else str(named)
    if is_url(text.replace(":/", "://", 1)) and not text.startswith("/"):
        raise ConfigError(
            f"`{what}` must be a folder of this machine, got {masked(text)!r}. Write to a folder, "
            "and copy it there."
        )
