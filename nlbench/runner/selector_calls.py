"""Around every call of a run's selector: its surroundings are kept, and its clock runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager

from nlbench.plugins.registry import plugin_name
from nlbench.surroundings import keep_switches, kept, switches_before

# Seconds in the selector before the call under way, and when that began; 0 where there is none.
# In a worker process its parent reads them.
_clock: MutableSequence[float] = [0.0, 0.0]


def use_clock(clock: MutableSequence[float]) -> None:
    """Keep the time in two numbers that another process can read."""
    global _clock
    _clock = clock


class SelectorCalls:
    """The calls of one run's selector, whose clock starts anew."""

    def __init__(self, name: str) -> None:
        self._who = plugin_name("selectors", name)
        _clock[0] = _clock[1] = 0.0

    @contextmanager
    def call(self, patches: bool = True) -> Iterator[None]:
        """Make a call inside; `patches` as in `kept`."""
        _clock[1] = time.monotonic()
        try:
            with kept(self._who, patches):
                yield
        finally:
            _end_call()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Make a call inside that is one of thousands: torch's switches alone are looked at."""
        _clock[1] = time.monotonic()
        before = switches_before() if self._who else []
        try:
            yield
        finally:
            if self._who:
                keep_switches(self._who, before)
            _end_call()


def _end_call() -> None:
    _clock[0] += time.monotonic() - _clock[1]
    _clock[1] = 0.0
