"""What was written is what is read: digests of a record and of the files beside it.

The last key of a record's JSON, ``digests``, has a SHA-256 of each file beside the record and of
all of the record's own text before it. Records of earlier versions have none and are read all the
same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from nlbench.errors import DataError
from nlbench.files import read_file, read_if_there

# Strings of JSON have no line breaks, and what is nested is indented further.
_MARK = b',\n "digests": {'
_OWN = b'"record": "'
_END = b'"}\n}'
_HEX = 64


def sealed(text: str, files: Iterable[Path] = ()) -> str:
    """Return a record's JSON with its digests.

    Args:
        text: As `RunRecord.to_json` gives it.
        files: Beside the record; those that are missing are left out.

    Raises:
        RefusedError: if the operating system does not let us read one of them.

    >>> print(sealed('{\\n "schema": 1\\n}')[:50])
    {
     "schema": 1,
     "digests": {"record": "0b69208c2f
    """
    contents = {path.name: read_if_there(path) for path in files}
    named = "".join(
        f'"{name}": "{_sha256(content)}", '
        for name, content in contents.items()
        if content is not None
    )
    body = text.removesuffix("\n}").encode() + _MARK + named.encode() + _OWN
    return (body + _sha256(body).encode() + _END).decode()


def unsealed(content: bytes) -> bytes:
    """Return a record's JSON without its digests, as it is where it has none.

    Raises:
        ValueError: if it is not what was written.
    """
    at = content.rfind(_MARK)
    if at < 0:
        return content
    stated = content[-_HEX - len(_END) :]
    if stated != _sha256(content[: -len(stated)]).encode() + _END:
        raise ValueError("its digest differs, so it is not what was written")
    return content[:at] + b"\n}"


def has_digests(record: Path) -> bool:
    """Return whether a record's file was written with digests."""
    try:
        return _MARK in record.read_bytes()
    except OSError:
        return False


def read_beside(path: Path) -> bytes | None:
    """Return a file beside a record; None where there is nothing.

    Raises:
        DataError: if it is not what the record was written with. Where there is no record yet, or
            one without digests, nobody can tell.
        RefusedError: if the operating system does not let us read it.
        ValueError: as `read_file` raises it.
    """
    content = read_if_there(path)
    if content is None:
        return None
    stated = _stated(path.with_name("record.json"), path.name)
    if stated and stated != _sha256(content):
        raise DataError(
            f"'{path}' is damaged: its digest differs, so it is not what was written. "
            "Repeat the run with --force, or export it with --no-evidence."
        )
    return content


def _stated(record: Path, name: str) -> str:
    try:
        content = read_file(record, 2**28)
        _, mark, digests = content.rpartition(_MARK)
        return str(json.loads(b"{" + digests[:-2])[name]) if mark else ""
    except (OSError, ValueError, KeyError):  # a damaged record says so where it is read
        return ""


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
