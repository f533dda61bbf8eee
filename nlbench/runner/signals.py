"""Answers to signals for a while, and what was there before put back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handlers_kept(
    numbers: Iterable[int],
    meanwhile: Callable[[int, FrameType | None], object] | signal.Handlers | None = None,
) -> Iterator[None]:
    """Keep this process's handlers of signals, whatever is set inside.

    Outside the main thread, where Python lets nobody set handlers, nothing changes.

    Args:
        numbers: The signals.
        meanwhile: What answers them inside; None for the handlers that are there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        if meanwhile is not None:
            for number in before:
                signal.signal(number, meanwhile)
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # set by nobody who knows Python
                signal.signal(number, handler)
