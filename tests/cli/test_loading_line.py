"""Before the heavy imports a person is told that they take a while; a file is not."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

SLOW = (
    ["run", "--selector", "nobody"],
    ["sweep", "--seeds", "x"],
    ["check", "nobody"],
    ["data", "check", "nobody"],
)


@pytest.mark.parametrize("words", SLOW, ids=lambda words: words[0])
def test_a_terminal_sees_a_line_first(words: list[str]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "nlbench", *words], stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    first = b""
    while not first.endswith(b"\n"):
        first += os.read(ours, 1)
    assert first.decode().startswith("Loading PyTorch and the methods; this takes some seconds")
    process.kill()
    process.communicate()
    os.close(ours)


def test_a_pipe_sees_none() -> None:
    words = [sys.executable, "-m", "nlbench", "sweep", "--seeds", "x"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert "Loading" not in done.stderr
    assert "seeds must be like 0-2" in done.stderr
