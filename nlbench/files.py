"""Files that every part writes: where they go, in one piece, and in one text form."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def home_dir() -> Path:
    """Return the folder for everything that nlbench writes, absolute."""
    return Path(os.environ.get("NLBENCH_HOME") or "nlbench-runs").expanduser().absolute()


def cache_dir(home: Path | None = None) -> Path:
    """Return the cache's folder: `NLBENCH_CACHE`, else ``cache`` under the home folder."""
    named = os.environ.get("NLBENCH_CACHE")
    return Path(named).expanduser().absolute() if named else (home or home_dir()) / "cache"


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def readable(name: str) -> str:
    """Return a file name or label that can be written anywhere: what is not UTF-8 as escapes.

    >>> readable("caf\\udce9")
    'caf\\\\xe9'
    """
    try:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character, as JSON can hold it
        return name.encode("utf-8", "backslashreplace").decode()


def canonical_json(value: Mapping[str, Any]) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces; the input of every fingerprint.

    >>> canonical_json({"b": 1, "a": [1.5, None]})
    '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
