"""A library's warning is a line in the log, once, whatever process it comes from."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nlbench.cli import app
from nlbench.runner import library_warnings
from nlbench.runner.library_warnings import log_library_warnings

WARNING = '''"""Keeps everything, and warns."""
import warnings
from dataclasses import dataclass
import torch
from nlbench import Selection, Selector


@dataclass(frozen=True)
class Warns(Selector):
    """Keep all."""

    def select(self, data):
        warnings.warn("the weights were trained with another activation")
        warnings.warn("will be gone", DeprecationWarning)
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=keep.double())
'''


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Log warnings, and return the list that their lines come into."""
    collected: list[str] = []
    monkeypatch.setattr(library_warnings, "_logged", set())
    monkeypatch.setattr(
        library_warnings.log, "warning", lambda text, *values: collected.append(text % values)
    )
    with warnings.catch_warnings():
        log_library_warnings()
        yield collected


def warn(text: str, category: type[Warning], filename: str, lineno: int = 1) -> None:
    warnings.warn_explicit(text, category, filename, lineno)


def test_each_distinct_warning_is_a_line_with_its_library(lines: list[str]) -> None:
    for lineno in range(3):
        warn("QuickGELU\n mismatch", UserWarning, "/v/site-packages/open_clip/factory.py", lineno)
    warn("did not converge", type("Fit", (UserWarning,), {"__module__": "sklearn.x"}), "here.py")
    warn("overflow", RuntimeWarning, "/home/me/my_idea.py")
    assert lines == [
        "open_clip warns: QuickGELU mismatch (UserWarning)",
        "sklearn warns: did not converge (Fit)",
        "my_idea.py warns: overflow (RuntimeWarning)",
    ]


def test_only_the_named_harmless_ones_are_left_out(lines: list[str]) -> None:
    for category in library_warnings.HARMLESS:
        warn("for authors", category, "/v/site-packages/x/y.py")
    assert lines == []
    warn("for users", UserWarning, "/v/site-packages/x/y.py")
    assert len(lines) == 1


@pytest.mark.parametrize("jobs", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_a_sweep_shows_a_warning_of_a_run(
    jobs: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_warnings, "_logged", set())
    plugin = tmp_path / "warns.py"
    plugin.write_text(WARNING)
    words = ["sweep", "--selector", "warns", "--plugin", str(plugin), "--noise", "none"]
    with caplog.at_level(logging.WARNING, "nlbench"):
        result = CliRunner().invoke(app, [*words, "--seeds", "0", "--epochs", "1", "--jobs", jobs])
    assert result.exit_code == 0, result.output
    assert sum("another activation" in message for message in caplog.messages) == 1
    assert not any("will be gone" in message for message in caplog.messages)


def test_whoever_asks_python_for_warnings_gets_python_s() -> None:
    code = (
        "import warnings; from nlbench.runner.library_warnings import *; log_library_warnings(); "
        "print(logs_warnings()); warnings.warn('x')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"
    assert done.returncode == 1
