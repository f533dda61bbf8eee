"""The errors a user can meet; each class has its exit code.

A message says what the rule is, what was given instead, and what to do next.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class NlbenchError(Exception):
    """Base of all errors that are reported without a traceback.

    Attributes:
        record: The `RunRecord` of the run that failed, where it has one.
    """

    exit_code = 1
    record: Any = None


class RunError(NlbenchError):
    """A run could not be finished (exit code 1)."""

    exit_code = 1


class BusyError(RunError):
    """The same run is under way in another process (exit code 1)."""


class DivergedError(RunError):
    """A training whose loss or outputs are not finite any more (exit code 1).

    Attributes:
        epoch: The first such epoch, from 1.
        curves: One value per epoch up to there; ``train_loss`` ends with None.
    """

    epoch: int = 0
    curves: Mapping[str, list[float | None]] = {}


class PausedError(NlbenchError):
    """A run that was told to end early and goes on with the same command (exit code 75)."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


class ConfigError(NlbenchError, ValueError):
    """An option, name or value is wrong (exit code 2)."""

    exit_code = 2


class DataError(NlbenchError):
    """Data or model weights are missing or damaged (exit code 3)."""

    exit_code = 3


class PluginError(NlbenchError):
    """A plugin cannot be loaded or breaks the contract (exit code 4)."""

    exit_code = 4


class RefusedError(NlbenchError, OSError):
    """The operating system refused to read or write a file (exit code 1)."""

    exit_code = 1


_LACKS_PERMISSION = (
    "You lack permission there; it may be another user's. Change its permissions, or choose "
    "another folder."
)
_IN_THE_WAY = "A file is in the place of a folder, or a link leads nowhere: move it away."
_CURES = {
    errno.ENOSPC: "Free some space on that disk, then repeat the command.",
    errno.EDQUOT: "Free some space of your quota, then repeat the command.",
    errno.EFBIG: "Raise the limit on file sizes (ulimit -f), then repeat the command.",
    errno.EACCES: _LACKS_PERMISSION,
    errno.EPERM: _LACKS_PERMISSION,
    errno.EROFS: "Choose a folder on a disk that can be written.",
    errno.EISDIR: "A folder is in the place of the file: move it away.",
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "A link in it leads to itself: remove the link.",
    errno.ENOENT: "It is missing, or a link leads nowhere: check the path.",
    errno.ENOTEMPTY: "Another process writes there: wait for it, then repeat the command.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n), then repeat the command.",
}


def refusal(error: OSError, path: str | Path, what: str = "written") -> RefusedError:
    """Return an error of the operating system in one line: the path, the reason, the next step.

    Args:
        error: What was raised; one that says all this already is returned as it is.
        path: The file or folder that was asked for.
        what: What could not be done with it: written, read, deleted.

    >>> str(refusal(OSError(errno.ENAMETOOLONG, "File name too long"), "a.json"))
    "'a.json' cannot be written: File name too long. Choose a shorter name."
    """
    if isinstance(error, RefusedError):
        return error
    cure = _CURES.get(error.errno or 0, "Check the disk, then repeat the command.")
    # Where a folder on the way to it is at fault, that one is named too.
    at = Path(str(error.filename)) if error.filename else Path(path)
    by = f" (at '{at}')" if at in Path(path).parents else ""
    reason = text_of(OSError(error.strerror)) if error.strerror else text_of(error)
    refused = RefusedError(_one_line(f"'{path}' cannot be {what}: {reason}{by}. {cure}"))
    refused.errno = error.errno
    return refused


@contextmanager
def refusals(path: str | Path, what: str = "written") -> Iterator[None]:
    """Raise `refusal` instead of what the operating system raises inside."""
    try:
        yield
    except OSError as error:
        raise refusal(error, path, what) from error


def _one_line(text: str) -> str:
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


def text_of(error: BaseException, limit: int = 2000) -> str:
    """Return what an exception says, cut to `limit` characters, whatever its `__str__` does.

    >>> text_of(ValueError("x" * 50), limit=10)
    'xxxxxxxxxx... (50 characters)'
    """
    try:
        text = str(error)
    except BaseException as second:
        return f"(its text cannot be shown: __str__ raised {type(second).__name__})"
    # Half a character, as names of files may hold it, can be written nowhere.
    short = text[:limit].encode("utf-8", "backslashreplace").decode()
    return short if len(text) <= limit else f"{short}... ({len(text)} characters)"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint naming up to three near matches, else all valid names.

    Args:
        name: What the user wrote.
        known: The valid names.

    Returns:
        A sentence such as ``Did you mean 'clip-knn'?``.

    >>> did_you_mean("clipcleanr", ["clipcleaner", "oracle"])
    "Did you mean 'clipcleaner'?"
    >>> did_you_mean("zzz", ["none", "oracle"])
    "Valid: 'none', 'oracle'."
    """
    valid = sorted(known)
    normalised = {v.lower().replace("_", "-"): v for v in valid}
    near = difflib.get_close_matches(name.lower().replace("_", "-"), normalised, n=3, cutoff=0.6)
    if near:
        return "Did you mean " + " or ".join(repr(normalised[n]) for n in near) + "?"
    if not valid:
        return "There are none."
    return "Valid: " + ", ".join(repr(v) for v in valid) + "."
