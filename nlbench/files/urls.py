"""URLs in the place of folders: which are allowed, and the folder here that has their copies."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from nlbench.errors import ConfigError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")
_PASSWORD = re.compile(r"(?<=://)[^/@]*:[^/@]*@")
_READABLE = 40


def is_url(text: str) -> bool:
    """Return whether a text is a URL, not a path.

    >>> is_url("s3://lab/runs"), is_url("/data/s3"), is_url("C:/data")
    (True, False, False)
    """
    return bool(_URL.match(text))


def masked(url: str) -> str:
    """Return a URL without what may be secret in it: user, password and query.

    >>> masked("sftp://me:secret@host/runs?token=1")
    'sftp://***@host/runs?***'
    """
    shown = re.sub(r"(?<=://)[^/@]*@", "***@", url)
    return re.sub(r"\?.*", "?***", shown)


def checked_url(url: str, what: str) -> str:
    """Return a URL as it is used everywhere, without a slash at its end.

    Args:
        url: As somebody wrote it.
        what: What it is for: a variable or an option.

    Raises:
        ConfigError: if it has a password in it, names a chain of file systems, or no place.
    """
    if _PASSWORD.search(url):
        raise ConfigError(
            f"`{what}` must be a URL without a password, got {masked(url)!r}: URLs end up in logs. "
            "Put it where the driver looks for it: for s3:// in ~/.aws/credentials, or in "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    place = url.partition("://")[2].strip("/")
    if not place or re.search(r"::|[?#*]", url) or any(part == ".." for part in place.split("/")):
        raise ConfigError(
            f"`{what}` must be one URL with a bucket or folder, without '::', '..', '?', '#' and "
            f"'*', got {masked(url)!r}. As in s3://my-bucket/nlbench."
        )
    return url.rstrip("/")


def home_url() -> str | None:
    """Return the URL that `NLBENCH_HOME` has; None where it is a folder.

    Raises:
        ConfigError: as `checked_url` raises it.
    """
    named = os.environ.get("NLBENCH_HOME", "")
    return checked_url(named, "NLBENCH_HOME") if is_url(named) else None


def cache_url() -> str | None:
    """Return the URL of the cache: `NLBENCH_CACHE`, else ``cache`` under the home's.

    None where `NLBENCH_CACHE` is a folder, or the home is one and nothing else is named.

    Raises:
        ConfigError: as `checked_url` raises it.
    """
    named = os.environ.get("NLBENCH_CACHE", "")
    if named:
        return checked_url(named, "NLBENCH_CACHE") if is_url(named) else None
    home = home_url()
    return None if home is None else f"{home}/cache"


def url_of_cache(folder: Path) -> str | None:
    """Return the URL that a cache's folder has copies of; None where it has none.

    Raises:
        ConfigError: as `checked_url` raises it.
    """
    url, home = cache_url(), home_url()
    if url is None:
        return None
    is_named = bool(os.environ.get("NLBENCH_CACHE"))
    place = mirror_folder(url) if is_named or home is None else mirror_folder(home) / "cache"
    return url if folder == place else None


def mirror_folder(url: str) -> Path:
    """Return the folder of this machine with copies of what is at a URL.

    It is in the user's cache folder: `XDG_CACHE_HOME`, else ``~/.cache``.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    readable = re.sub(r"[^A-Za-z0-9]+", "-", masked(url)).strip("-")[:_READABLE]
    key = hashlib.sha256(url.encode()).hexdigest()[:12]
    return Path(base).expanduser().absolute() / "nlbench" / f"{readable}-{key}"
