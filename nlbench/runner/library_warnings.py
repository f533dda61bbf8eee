"""Warnings of libraries go to the log: a line each, once, with the library's name.

Imports nothing heavy: the command line and its worker processes call it before torch is loaded.
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import PurePath
from typing import TextIO

# Not shown: they address the author of the code that called, and say nothing about the numbers of
# this run. The first four are those that Python itself does not show.
HARMLESS: tuple[type[Warning], ...] = (
    DeprecationWarning,
    PendingDeprecationWarning,
    ImportWarning,
    ResourceWarning,
    FutureWarning,  # of what a later version of the library will do
)

log = logging.getLogger("nlbench")

_logged: set[tuple[str, str]] = set()


def log_library_warnings() -> None:
    """Send all warnings of this process to the log "nlbench", each distinct one once.

    Whoever starts Python with ``-W`` or ``PYTHONWARNINGS`` decides for themselves.
    """
    if sys.warnoptions:
        return
    warnings.simplefilter("default")
    for category in HARMLESS:
        warnings.simplefilter("ignore", category)
    warnings.showwarning = _to_log


def logs_warnings() -> bool:
    """Return whether warnings of this process go to the log."""
    return warnings.showwarning is _to_log


def _to_log(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text, library = " ".join(str(message).split()), _library(category, filename)
    if (library, text) not in _logged:
        _logged.add((library, text))
        log.warning("%s warns: %s (%s)", library, text, category.__name__)


def _library(category: type[Warning], filename: str) -> str:
    """Return who warns: the package of the category, else the one that the file belongs to."""
    if category.__module__ not in ("builtins", "__main__"):
        return category.__module__.partition(".")[0]
    parts = PurePath(filename).parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts[:-1]:
            return parts[parts.index(folder) + 1].removesuffix(".py")
    return PurePath(filename).name
