"""The errors a user can meet; each class has its exit code.

A message says what the rule is, what was given instead, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
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


class ConfigError(NlbenchError, ValueError):
    """An option, name or value is wrong (exit code 2)."""

    exit_code = 2


class DataError(NlbenchError):
    """Data or model weights are missing or damaged (exit code 3)."""

    exit_code = 3


class PluginError(NlbenchError):
    """A plugin cannot be loaded or breaks the contract (exit code 4)."""

    exit_code = 4


def text_of(error: BaseException, limit: int = 2000) -> str:
    """Return what an exception says, cut to `limit` characters, whatever its `__str__` does.

    >>> text_of(ValueError("x" * 50), limit=10)
    'xxxxxxxxxx... (50 characters)'
    """
    try:
        text = str(error)
    except BaseException as second:
        return f"(its text cannot be shown: __str__ raised {type(second).__name__})"
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


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
