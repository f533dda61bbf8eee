"""--max-time and signals: the command ends with 75, and the same command goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import nlbench_selectors
from nlbench.cli import app
from nlbench.cli.options import seconds_of
from nlbench.errors import ConfigError
from nlbench.results.store import RunStore

RUN = ["run", "--selector", "none", "--epochs", "3"]
SWEEP = ["sweep", "--selector", "none", "--noise", "symmetric:0.4", "--epochs", "3"]


@pytest.mark.parametrize(
    "text", ["", "30", "m", "1.m", "-5s", "5 s", "30m2", "1e3s", "9" * 30 + "s"]
)
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 90s, 30m, 2h"):
        seconds_of(text, "--max-time")
    done = CliRunner().invoke(app, [*RUN, f"--max-time={text}"])
    assert done.exit_code == 2


def test_no_time_at_all_is_refused() -> None:
    assert CliRunner().invoke(app, [*RUN, "--max-time", "0s"]).exit_code == 2


def test_a_run_with_a_time_limit_ends_with_75_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    codes, said = [], ""
    for _ in range(3):
        done = CliRunner().invoke(app, [*RUN, "--max-time", "0.01s"])
        codes.append(done.exit_code)
        said += done.stderr
    assert codes == [75, 75, 0]
    assert "ends early (--max-time) after epoch 1 of 3" in said
    assert "goes on after epoch 2" in caplog.text
    assert said.startswith("run ")  # not as an error
    (record,) = RunStore().records()[0]
    assert record.status == "finished" and record.resumed == 2 and record.attempt == 3


def test_a_sweep_with_a_time_limit_ends_with_75_and_goes_on() -> None:
    said, codes = [], []
    for _ in range(7):
        done = CliRunner().invoke(app, [*SWEEP, "--seeds", "0,1", "--max-time", "0.001s"])
        said.append(done.stderr)
        codes.append(done.exit_code)
        if done.exit_code != 75:
            break
    assert codes == [75] * 5 + [0]  # an epoch each time, however short it is
    assert "1 paused, 1 not begun" in said[0] and "The same command goes on" in said[0]
    assert len(RunStore().records()[0]) == 2


def test_a_dry_run_tells_a_paused_run_from_a_killed_one() -> None:
    words = [*SWEEP, "--seeds", "0"]
    assert CliRunner().invoke(app, [*words, "--max-time", "0.001s"]).exit_code == 75
    listed = CliRunner().invoke(app, [*words, "--dry-run"]).stdout
    assert listed.startswith("paused "), listed
    assert CliRunner().invoke(app, words).exit_code == 0
    assert CliRunner().invoke(app, [*words, "--dry-run"]).stdout.startswith("finished ")


def command(home: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nlbench", *words],
        env={**os.environ, "NLBENCH_HOME": str(home), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(home: Path, pattern: str) -> None:
    end = time.monotonic() + 120
    while not list(home.glob(pattern)):
        assert time.monotonic() < end, f"no {pattern}"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "brought"),
    [
        (signal.SIGTERM, "shipped"),
        pytest.param(signal.SIGUSR1, "shipped", marks=pytest.mark.slow),
        (signal.SIGUSR1, "plugin"),
    ],
)
def test_a_signal_ends_a_run_after_its_epoch(
    number: signal.Signals, brought: str, tmp_path: Path
) -> None:
    words = ["run", "--selector", "none", "--epochs", "2000", "--checkpoint-every", "0s"]
    if brought == "plugin":  # the process that watches over it gets the signal
        assert nlbench_selectors.__file__ is not None
        plugin = Path(shutil.copy(Path(nlbench_selectors.__file__).with_name("none.py"), tmp_path))
        words += ["--plugin", str(plugin.rename(tmp_path / "mine.py")), "--selector", "mine"]
    process = command(tmp_path, *words)
    wait_for(tmp_path, "runs/*/checkpoints/*.json")
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 75, said
    assert f"{number.name}: what is in training ends" in said
    assert f"ends early ({number.name})" in said
    assert list(tmp_path.glob("runs/*/checkpoints/*.json"))


def test_a_signal_before_training_ends_the_process_as_ever(tmp_path: Path) -> None:
    process = command(tmp_path, "run", "--epochs", "2000")
    time.sleep(0.5)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM


def test_a_signal_ends_a_sweep_with_its_processes(tmp_path: Path) -> None:
    words = (*SWEEP[:-1], "2000", "--seeds", "0-2", "--jobs", "2", "--checkpoint-every", "0s")
    process = command(tmp_path, *words)
    wait_for(tmp_path, "runs/*/checkpoints/*.json")
    process.terminate()
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 75, said
    assert "2 paused, 1 not begun" in said and "FAILED" not in said
