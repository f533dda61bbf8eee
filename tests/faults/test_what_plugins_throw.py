"""Whatever a plugin throws or prints costs its own run only, and says in few words what it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import nlbench
from nlbench.conformance import check_selector
from nlbench.errors import RunError, text_of
from nlbench.machine import memory_limit
from nlbench.plugins import registry
from nlbench.results.store import RunStore

HEAD = '''"""Does what it should not."""
from dataclasses import dataclass
import asyncio
import os
import torch
import nlbench


class Mute(Exception):
    def __str__(self):
        raise ZeroDivisionError


class Own(BaseException):
    pass


@dataclass(frozen=True)
class Odd(nlbench.Selector):
    def select(self, data):
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        score = data.uniform()
        BODY
        return nlbench.Selection(keep=keep, score=score)
'''

Plugin = Callable[[str], Path]


@pytest.fixture
def odd(tmp_path: Path) -> Plugin:
    def write(body: str) -> Path:
        path = tmp_path / "odd.py"
        path.write_text(HEAD.replace("BODY", body))
        return path

    return write


def run(path: Path) -> nlbench.RunRecord:
    return nlbench.run("odd", noise_rate=0.4, epochs=1, track=False, plugins=[path])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise asyncio.CancelledError('gone')", "CancelledError: gone"),
        ("raise Own('mine')", "Own: mine"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise Mute", r"Mute: \(its text cannot be shown: __str__ raised ZeroDivisionError\)"),
        ("raise ValueError('x' * 50_000_000)", r"x{2000}\.\.\. \(50000000 characters\)"),
        ("raise nlbench.PluginError('y' * 50_000_000)", "^y"),
        ("raise MemoryError", r"The memory limit here is \d+\.\d GiB"),
        ("def f(): f()\n        f()", "RecursionError"),
    ],
)
def test_what_a_selector_throws_is_a_failed_run(odd: Plugin, body: str, says: str) -> None:
    with pytest.raises(nlbench.NlbenchError, match=says):
        run(odd(body))
    (record,), _ = RunStore().records()
    assert record.status == "failed"
    assert record.error is not None
    assert len(record.to_json()) < 50_000
    (result,) = check_selector(registry.selector_class("odd"), only=["check_two_classes"])
    assert result.status == "failed"
    assert len(result.message) < 10_000


def test_ctrl_c_is_no_failure_of_a_selector(odd: Plugin) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(odd("raise KeyboardInterrupt"))
    assert RunStore().records()[0] == []


def test_a_data_set_that_throws_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken_set.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom nlbench import Dataset\n\n\n"
        "@dataclass(frozen=True)\nclass Broken(Dataset):\n"
        "    def load(self, data_dir):\n        raise ValueError('no such drawer')\n"
    )
    with pytest.raises(
        RunError, match=r"data set 'broken-set'.*no such drawer \(at broken_set.py:8"
    ):
        nlbench.run("none", "broken-set", track=False, plugins=[path])


@pytest.mark.parametrize(
    "body",
    [
        "score = torch.nn.Parameter(score)",
        "score = score.clone().requires_grad_() * 2",
        "with torch.inference_mode(): score = score * 2",
    ],
)
def test_a_score_that_belongs_to_a_computation_is_a_score(odd: Plugin, body: str) -> None:
    assert run(odd(body)).status == "finished"
    (result,) = check_selector(registry.selector_class("odd"), only=["check_answer"])
    assert result.status == "passed", result.message


def test_an_error_text_is_cut_and_says_so() -> None:
    assert text_of(ValueError("short")) == "short"
    assert text_of(ValueError("x" * 20), limit=5) == "xxxxx... (20 characters)"


def test_the_memory_limit_is_no_more_than_the_machine_has() -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal"))
    assert 0 < memory_limit() <= total


@pytest.mark.parametrize("command", ["run", "check"])
def test_what_a_plugin_prints_does_not_spoil_the_json(odd: Plugin, command: str) -> None:
    path = odd("print('hello'); os.write(1, b'raw'); os.system('echo from a child')")
    words = {
        "run": ["run", "--plugin", str(path), "--selector", "odd", "--epochs", "1"],
        "check": ["check", str(path), "--only", "answer"],
    }[command]
    done = subprocess.run(
        [sys.executable, "-m", "nlbench", *words, "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    assert all(word in done.stderr for word in ("hello", "raw", "from a child"))
