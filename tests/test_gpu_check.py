"""The GPU check, as far as a machine without a GPU can tell."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools" / "gpu_check.sh"


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "tools" / "gpu_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_check", module)
    spec.loader.exec_module(module)
    return module


def shell(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = ["bash", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def test_the_script_is_valid_bash() -> None:
    assert shell("-n", SCRIPT).returncode == 0


def test_the_plan_is_listed_and_fits_into_nine_minutes(gpu_check: Any, tmp_path: Path) -> None:
    shown = shell(
        SCRIPT, tmp_path, "--dry-run", env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}
    )
    assert shown.returncode == 0, shown.stderr
    for step in gpu_check.steps():
        assert f"{step.name} ({step.limit_s:.0f} s at most): python " in shown.stdout
    assert sum(step.limit_s for step in gpu_check.steps()) <= gpu_check.TOTAL_S < 9 * 60
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_without_a_gpu_it_says_so_and_fails(tmp_path: Path) -> None:
    refused = shell(SCRIPT, tmp_path, env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"})
    assert refused.returncode == 2
    assert "needs a CUDA device" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_failed_step_and_a_slow_one_are_recorded_and_the_rest_goes_on(
    gpu_check: Any, tmp_path: Path
) -> None:
    step = gpu_check.Step
    slow = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    plan = [
        step("good", "a", ("-c", "print('| 1 |')"), 60),
        step("bad", "b", ("-c", "print('why'); raise SystemExit(3)"), 60),
        step("slow", "c", ("-c", "import time; time.sleep(60)"), 1),
        step("deep", "d", ("-c", slow.replace("input()", "import time; time.sleep(60)")), 1),
        step("wrong", "e", ("-c", "pass"), 60, "home", lambda out: "it differs"),
        step("home", "f", ("-c", "import os; print(os.environ['NLBENCH_HOME'])"), 60, "mine"),
    ]
    outcomes = gpu_check.run(plan, tmp_path)
    assert [o.outcome for o in outcomes] == [
        "ok",
        "failed with exit code 3",
        "ended after 1 s",
        "ended after 1 s",
        "it differs",
        "ok",
    ]
    assert outcomes[2].seconds < 20
    assert outcomes[5].output == [str(tmp_path / "mine")]
    report = json.loads((tmp_path / "report.json").read_text())
    assert [s["name"] for s in report["steps"]] == [s.name for s in plan]
    page = (tmp_path / "report.md").read_text()
    assert "| bad | failed with exit code 3 |" in page
    assert "why" in page


def test_what_no_time_is_left_for_is_said(gpu_check: Any, tmp_path: Path) -> None:
    plan = [gpu_check.Step("late", "a", ("-c", "pass"), 60)]
    (outcome,) = gpu_check.run(plan, tmp_path, total_s=0)
    assert outcome.outcome == "not started: no time was left"


def test_two_deterministic_runs_are_compared_bit_by_bit(gpu_check: Any, tmp_path: Path) -> None:
    def put(home: str, accuracy: float, loss: float) -> None:
        path = tmp_path / home / "runs" / "a" / "record.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"selector": {"name": "small-loss"}, "metrics": {"accuracy": accuracy}}
        path.write_text(json.dumps({**record, "curves": {"train_loss": [loss]}}))

    put("first", 0.5, 0.25)
    assert "0 in the second" in gpu_check.equal_runs(tmp_path)
    put("second", 0.5, 0.25)
    assert gpu_check.equal_runs(tmp_path) == ""
    put("second", 0.5, 0.25 + 2**-40)
    assert gpu_check.equal_runs(tmp_path) == "the two runs differ: small-loss"
    put("second", 0.5000001, 0.25)
    assert gpu_check.equal_runs(tmp_path) == "the two runs differ: small-loss"


def test_the_runs_of_a_sweep_are_read(gpu_check: Any, tmp_path: Path) -> None:
    """On the CPU: what the GPU's runs will be compared by is where a sweep puts it."""
    words = ["-m", "nlbench", "sweep", "--selector", "none", "--noise", "symmetric:0.4"]
    words += ["--seeds", "0", "--epochs", "1", "--device", "cpu"]
    step = gpu_check.Step("first", "a run", tuple(words), 300, "first")
    (outcome,) = gpu_check.run([step], tmp_path)
    assert outcome.outcome == "ok", outcome.output
    assert list(gpu_check._answers(tmp_path / "first")) == ["none"]
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    assert gpu_check.equal_runs(tmp_path) == ""
