"""What libraries warn of while they build a model goes to the log and the record, never nowhere.

A model that is built in another way than its weights were trained for gives wrong numbers, and a
warning is all that says so.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Said again with every import or file, and about code, not about numbers.
_ABOUT_CODE = (
    DeprecationWarning,
    PendingDeprecationWarning,
    FutureWarning,
    ImportWarning,
    ResourceWarning,
)
# Of the hub's client and what it stands on: our own error says what is missing.
_HUB_CLIENTS = ("huggingface_hub", "filelock", "httpcore", "httpx", "requests", "urllib3")


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect what this thread's libraries warn of, through `warnings` and through `logging`.

    Filters of the process, such as the command line's, do not hide them meanwhile. Warnings about
    code (deprecations) go where they would have gone.

    Yields:
        The messages in order, each once, filled when the block ends.
    """
    messages: list[str] = []
    with _hub_clients_quiet(), _logged(messages), warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        yield messages
    for warning in raised:
        if issubclass(warning.category, _ABOUT_CODE):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
        else:
            messages.append(_one_line(str(warning.message)))
    messages[:] = dict.fromkeys(messages)


class _Collector(logging.Handler):
    """Takes this thread's warnings; what other threads log goes on to the usual handlers."""

    def __init__(self, messages: list[str], usual: list[logging.Handler]) -> None:
        super().__init__()
        self.messages, self.usual, self.owner = messages, usual, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Take or pass on a record."""
        ours = record.name.partition(".")[0] == "nlbench"
        if record.thread == self.owner and record.levelno >= logging.WARNING and not ours:
            self.messages.append(_one_line(record.getMessage()))
            return
        for handler in self.usual:
            if record.levelno >= handler.level:
                handler.handle(record)


@contextmanager
def _logged(messages: list[str]) -> Iterator[None]:
    """Stand in for the root logger's handlers.

    With none there, a library's `logging.warning` would add one that then prints all of our own
    log a second time.
    """
    root = logging.getLogger()
    usual, level = list(root.handlers), root.level
    root.handlers = [_Collector(messages, usual)]
    root.setLevel(min(level, logging.WARNING) if level else logging.WARNING)
    try:
        yield
    finally:
        root.handlers = usual
        root.setLevel(level)


@contextmanager
def _hub_clients_quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _HUB_CLIENTS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
