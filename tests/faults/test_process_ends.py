"""A plugin that ends the process of a command ends it with a word, whatever way it takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are watched on Linux")

SELECTOR = '''"""Ends the process."""
import atexit, ctypes, os, signal, sys, threading, time
from dataclasses import dataclass
from pathlib import Path
import torch
from nlbench import Selection, Selector
AT_IMPORT


@dataclass(frozen=True)
class Ends(Selector):
    def __post_init__(self):
        WHEN_MADE

    def select(self, data):
        IN_SELECT
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=data.uniform())
'''
# On a busy machine a run may begin a minute late.
WAIT_S = 180
STARTED: list[subprocess.Popen[str]] = []
RUN = (
    "run",
    "--selector",
    "ends",
    "--epochs",
    "1",
    "--json",
    "--tracking-uri",
    "http://127.0.0.1:9",
)


def written(folder: Path, place: str = "", body: str = "pass") -> Path:
    text = SELECTOR.replace(place, body) if place else SELECTOR
    for rest in ("AT_IMPORT", "WHEN_MADE", "IN_SELECT"):
        text = text.replace(rest, "pass")
    path = folder / "ends.py"
    path.write_text(text)
    return path


def started(*words: object, **more: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "nlbench", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    STARTED.append(subprocess.Popen(command, **pipes))  # type: ignore[call-overload]
    return STARTED[-1]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.communicate()


def ended(*words: object) -> tuple[int, str, str]:
    process = started(*words)
    out, err = process.communicate(timeout=WAIT_S)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("place", "body", "code", "how"),
    [
        ("IN_SELECT", "os._exit(0)", 4, "exit code 0"),
        ("IN_SELECT", "ctypes.CDLL(None)._exit(0)", 4, "exit code 0"),
        ("IN_SELECT", "os.execv('/bin/true', ['true'])", 4, "exit code 0"),
        ("IN_SELECT", "os._exit(1)", 4, "exit code 1"),
        ("IN_SELECT", "os.kill(os.getpid(), signal.SIGKILL)", 137, "SIGKILL"),
        ("IN_SELECT", "threading.Thread(target=os._exit, args=(0,)).start(); time.sleep(60)",
         4, "exit code 0"),
        ("AT_IMPORT", "os._exit(0)", 4, "exit code 0"),
        ("WHEN_MADE", "os._exit(0)", 4, "exit code 0"),
    ],
)  # fmt: skip
def test_a_run_whose_process_a_plugin_ends(
    tmp_path: Path, place: str, body: str, code: int, how: str
) -> None:
    path = written(tmp_path, place, body)
    returncode, out, err = ended(*RUN, "--plugin", path)
    assert (returncode, out) == (code, ""), err
    assert f"was ended with {how} before the command was done" in err
    assert str(path) in err


@pytest.mark.parametrize("place", ["AT_IMPORT", "WHEN_MADE", "IN_SELECT"])
@pytest.mark.parametrize("body", ["sys.exit(0)", "raise BaseException('no')"])
def test_what_a_plugin_raises_beyond_exceptions_is_its_error(
    tmp_path: Path, place: str, body: str
) -> None:
    returncode, _, err = ended(*RUN, "--plugin", written(tmp_path, place, body))
    assert returncode == (1 if place == "IN_SELECT" else 4), err
    assert "Error: " in err
    assert "ends.py" in err


@pytest.mark.parametrize("words", [("check",), ("show", "selector", "ends"), ("list", "selectors")])
def test_other_commands_end_with_a_word_too(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = written(tmp_path, "AT_IMPORT", "os._exit(0)")
    more = (path,) if words == ("check",) else ("--plugin", path)
    returncode, out, err = ended(*words, *more)
    # Listing reads files as text, and so it is not ended at all.
    assert (returncode == 4 and "exit code 0" in err) or (returncode == 0 and "ends" in out)


def test_a_failure_stays_one_where_a_plugin_ends_pythons_end(tmp_path: Path) -> None:
    body = "atexit.register(os._exit, 0); raise ValueError('no')"
    returncode, out, err = ended(*RUN, "--plugin", written(tmp_path, "IN_SELECT", body))
    assert returncode == 1
    assert '"status": "failed"' in out
    assert "no" in err


def test_a_plugin_that_behaves_feels_nothing(tmp_path: Path) -> None:
    returncode, out, err = ended(*RUN, "--plugin", written(tmp_path))
    assert returncode == 0, err
    assert '"status": "finished"' in out


def test_a_package_whose_command_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text("import os; os._exit(0)\n")
    info = tmp_path / "theirs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[nlbench.commands]\ntheirs = theirs:command\n")
    process = started("list", "noises", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 4
    assert "Plugins here: theirs" in err


WAITS = "(Path(__file__).parent / str(os.getpid())).touch(); time.sleep(600)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_the_run_and_nothing_stays_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = started(*RUN, "--plugin", written(tmp_path, "IN_SELECT", WAITS))
    inside = began(tmp_path)
    process.send_signal(number)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode in ({130, 1, -2} if number == signal.SIGINT else {-number}), err
    assert "before the command was done" not in err
    deadline = time.monotonic() + 30
    while Path(f"/proc/{inside}/stat").exists():
        assert time.monotonic() < deadline, "the run goes on"
        time.sleep(0.05)


def began(folder: Path) -> int:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for path in folder.iterdir():
            if path.name.isdigit():
                return int(path.name)
        time.sleep(0.05)
    raise AssertionError("the run did not begin")
