"""What answers a signal is the same after a block that sets other answers."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from nlbench.runner.signals import handlers_kept


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_set_inside_is_taken_back(fails: bool) -> None:
    before = signal.getsignal(signal.SIGUSR2)
    try:
        with handlers_kept([signal.SIGUSR2]):
            assert signal.getsignal(signal.SIGUSR2) is before
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert signal.getsignal(signal.SIGUSR2) is before


def test_meanwhile_another_answers() -> None:
    heard: list[int] = []
    with handlers_kept([signal.SIGUSR2], lambda number, _: heard.append(number)):
        os.kill(os.getpid(), signal.SIGUSR2)
    assert heard == [signal.SIGUSR2]


def test_in_a_thread_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    inside: list[object] = []

    def look() -> None:
        with handlers_kept([signal.SIGUSR2], signal.SIG_IGN):
            inside.append(signal.getsignal(signal.SIGUSR2))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert inside == [before]
