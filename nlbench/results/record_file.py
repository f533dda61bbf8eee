"""A record on the disk: read whatever is in its place, written only if it can be read back."""

from __future__ import annotations

import errno
import math
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nlbench.errors import DataError, refusal, refusals
from nlbench.files import read_file, write_atomic
from nlbench.results.digests import sealed
from nlbench.results.record import RunRecord

MOST_BYTES = 256 * 2**20

_AGAIN = "Re-run the command that made it, or move it away."
_COMMAND = re.compile(rb'"command": ?("(?:[^"\\]|\\["\\/])*")')
# In the way of a record, rather than one that somebody else keeps to themselves.
_NOT_A_FILE = (errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)


def read_record(path: Path) -> RunRecord | None:
    """Return the record in a file; None where there is nothing.

    Raises:
        DataError: if what is there is not a record; the same configuration is then done again.
        RefusedError: if the operating system does not let us read it.
    """
    content = b""
    try:
        content = read_file(path, MOST_BYTES)
        return RunRecord.from_json(content, source=f"'{path}'")
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        reason = f"'{path}' is a link that leads nowhere. {_AGAIN}"
    except DataError as error:
        reason = str(error)
    except OSError as error:
        if error.errno not in _NOT_A_FILE:
            raise refusal(error, path, "read") from error
        reason = f"'{path}' cannot be read: {error.strerror}. {_AGAIN}"
    except ValueError as error:
        reason = f"'{path}' cannot be read: {error}. {_AGAIN}"
    raise DataError(reason + _command_in(content))


def write_record(path: Path, record: RunRecord, beside: Iterable[Path] = ()) -> None:
    """Write a record beside its place, read it back, and only then put it there.

    What is in its place and is not a record is kept under another name.

    Args:
        path: Its place.
        record: It is written with its digest.
        beside: Files that rest on it, whose digests it has; those that are missing are left out.

    Raises:
        DataError: if it cannot be read back; an older record then stays.
        RefusedError: if the operating system does not take it.
    """
    fresh = path.with_name(f"{path.name}.new")
    with refusals(path):
        try:
            write_atomic(fresh, sealed(record.to_json(), beside))
            RunRecord.from_json(fresh.read_bytes(), source=f"'{path}'")
        except (DataError, ValueError, RecursionError) as error:  # JSON has no NaN, no depth of 500
            fresh.unlink(missing_ok=True)
            culprit = next(_unwritable(record.model_dump()), str(error))
            raise DataError(
                f"the record of run {record.fingerprint[:12]} cannot be read back, so it is not "
                f"kept: {culprit}"
            ) from None
        _set_aside(path)
        fresh.replace(path)


def _set_aside(path: Path) -> None:
    """Rename what is in a record's place and is not one: it may be of a newer version."""
    try:
        read_record(path)
    except DataError:
        names = (f"{path.name}.damaged{number}" for number in ("", *map(str, range(2, 1000))))
        free = (path.with_name(name) for name in names)
        path.rename(next(place for place in free if not os.path.lexists(place)))


def _command_in(content: bytes) -> str:
    """Return the record's own command, where the damage left it legible."""
    match = _COMMAND.search(content)
    command = match[1].decode("ascii", "replace")[1:-1].replace("\\", "") if match else ""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    # It is meant for a shell: nothing but one run whose words are quoted.
    is_a_run = words[:2] == ["nlbench", "run"] and shlex.join(words) == command
    return f" The command: {command}" if is_a_run else ""


def _unwritable(value: Any, name: str = "", depth: int = 0) -> Iterator[str]:
    """Yield what JSON or UTF-8 cannot hold, with the next step."""
    if depth > 64:
        yield f"{name[:60]}... is nested more than 64 levels deep. Flatten it."
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _unwritable(part, f"{name}.{key}" if name else str(key), depth + 1)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _unwritable(part, f"{name}.{number}", depth + 1)
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        yield (
            f"{name} is not UTF-8 text, got {value!a:.200}. Rename the file or folder of that "
            "name, or correct the plugin that says it."
        )
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{name} must be a finite number, got {value}. Check what computed it."
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield (
            f"{name} must fit 64 bits, got a number of {value.bit_length()} bits. Check what "
            "computed it."
        )
