"""A process is killed while it logs; the next command leaves nothing open in MLflow."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow_records import as_running, make_record
from typer.testing import CliRunner

from nlbench.cli import app
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore
from nlbench.tracking import MlflowTracker, default_tracking_uri, settle, settle_left_open
from nlbench.tracking.opening import open_client

# The same calls as of a run: claim, begin, record, finish; killed within the call of that number.
LOGGING = """
import os, signal, sys
from pathlib import Path
from mlflow import MlflowClient
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore
from nlbench.tracking import MlflowTracker
from nlbench.tracking.run_log import RunLog

folder, call, number, before = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
started, ended = (
    RunRecord.from_json((folder / name).read_bytes()) for name in ("started", "ended")
)
calls = 0
original = getattr(MlflowClient, call, None)

def killed(*args, **kwargs):
    global calls
    calls += 1
    if calls == number and before == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = original(*args, **kwargs)
    if calls == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

if original is not None:
    setattr(MlflowClient, call, killed)
store = RunStore(folder / "home")
tracker = MlflowTracker.open(None, store.home)
with store.claim(started.fingerprint) as claim:
    log = RunLog(tracker, store, claim)
    store.write_started(started)
    log.begin(started)
    if call == "train":
        os.kill(os.getpid(), signal.SIGKILL)
    store.write(ended)
    log.finish(ended)
"""
# In the order in which they happen: the run, its summary, the end of the run, the means.
KILLED_AT = [
    ("log_inputs", 1, "before"),
    ("log_artifacts", 1, "before"),
    ("log_artifacts", 1, "after"),
    ("create_run", 2, "after"),  # the summary exists, empty and open
    ("log_batch", 3, "before"),  # the numbers
    ("log_batch", 3, "after"),  # all is there, and the run is still open
    ("set_terminated", 2, "after"),  # the run is complete, its means are not
    ("log_batch", 4, "after"),
]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an MLflow store in it, which takes seconds to create."""
    home = tmp_path_factory.mktemp("fresh") / "home"
    MlflowTracker.open(None, home)
    return home


@pytest.fixture
def home(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(fresh, tmp_path / "home")
    monkeypatch.setenv("NLBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "home"


def killed_while_logging(
    home: Path, call: str, number: int = 1, when: str = "before", attempt: int = 1
) -> RunRecord:
    record = make_record(attempt=attempt)
    (home.parent / "started").write_text(as_running(record).to_json())
    (home.parent / "ended").write_text(record.to_json())
    command = [sys.executable, "-c", LOGGING, str(home.parent), call, str(number), when]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == -signal.SIGKILL, result.stdout + result.stderr
    return record


def everything_in(home: Path) -> tuple[list[Any], list[Any]]:
    """Return the runs of the boards, and their means."""
    client = open_client(default_tracking_uri(home), create=False)
    experiments = client.search_experiments(filter_string="name LIKE 'nlbench%'")
    found: tuple[list[Any], list[Any]] = ([], [])
    for experiment in experiments:
        is_means = experiment.name.startswith("nlbench-means/")
        found[is_means].extend(client.search_runs([experiment.experiment_id]))
    return found


def by_sync(home: Path) -> None:
    result = CliRunner().invoke(app, ["sync"])
    assert result.exit_code == 0, result.output


def by_sweep(home: Path) -> None:
    from nlbench.runner.workplace import open_tracker

    assert open_tracker(None, RunStore(home)) is not None


def by_leaderboard(home: Path) -> None:
    result = CliRunner().invoke(app, ["leaderboard", "--out", str(home / "page")])
    assert result.exit_code == 0, result.output


WAYS = [by_sync, by_sweep, by_leaderboard]


@pytest.mark.parametrize(("call", "number", "when"), KILLED_AT)
def test_a_run_killed_between_record_and_upload_is_completed(
    home: Path, call: str, number: int, when: str
) -> None:
    record = killed_while_logging(home, call, number, when)
    by = WAYS[KILLED_AT.index((call, number, when)) % 3]
    by(home)
    (run,), (mean,) = everything_in(home)
    assert (run.info.status, run.data.tags["nlbench.state"]) == ("FINISHED", "complete")
    assert run.data.metrics["test/acc_last"] == 75.0
    assert run.data.tags["mlflow.parentRunId"] == mean.info.run_id
    assert mean.info.status == "FINISHED"
    assert (mean.data.metrics["seeds"], mean.data.metrics["acc/mean"]) == (1, 75.0)
    assert mean.data.params["selector"] == "clip-knn"
    assert [i.dataset.name for i in mean.inputs.dataset_inputs] == ["digits-symmetric-0.40"]
    assert RunStore(home).mlflow_run(record.fingerprint)["run_id"] == run.info.run_id
    assert RunStore(home).traces() == []
    assert not list(home.glob("runs/*/running.json"))


@pytest.mark.parametrize("by", WAYS)
def test_a_run_killed_before_its_record_is_closed(home: Path, by: Callable[[Path], None]) -> None:
    record = killed_while_logging(home, "train")
    by(home)
    (run,), means = everything_in(home)
    assert (run.info.status, run.data.tags["nlbench.state"]) == ("KILLED", "stale")
    assert means == []
    assert RunStore(home).traces() == []
    # It counts as killed still: the next attempt is the second, and names the first.
    with RunStore(home).claim(record.fingerprint) as claim:
        assert (claim.attempt, claim.previous_mlflow_run) == (2, run.info.run_id)


def test_a_run_that_was_killed_before_it_could_be_noted_is_closed(home: Path) -> None:
    killed_while_logging(home, "create_run", 1, "after")
    by_sweep(home)
    (run,), _ = everything_in(home)
    assert run.info.status == "KILLED"


def test_a_repetition_that_was_killed_leaves_the_result_of_before(home: Path) -> None:
    store, tracker = RunStore(home), MlflowTracker.open(None, home)
    first = make_record()
    store.folder(first.fingerprint).mkdir(parents=True)
    store.write(first)
    tracker.finish(first, store.folder(first.fingerprint), None)
    killed_while_logging(home, "train", attempt=2)
    by_sync(home)
    runs, (mean,) = everything_in(home)
    assert sorted(run.info.status for run in runs) == ["FINISHED", "KILLED"]
    assert mean.data.metrics["seeds"] == 1


def test_a_living_run_and_other_stores_are_left_alone(home: Path) -> None:
    store, tracker = RunStore(home), MlflowTracker.open(None, home)
    record = make_record()
    with store.claim(record.fingerprint) as claim:
        store.mark(claim, tracker.uri, tracker.begin(as_running(record)))
        settle(store, tracker)
        (run,), _ = everything_in(home)
        assert run.info.status == "RUNNING"
    killed_while_logging(home, "log_artifacts")
    marker = store.folder(record.fingerprint) / "running.json"
    elsewhere = {**json.loads(marker.read_text()), "mlflow_uri": "http://127.0.0.1:9"}
    marker.write_text(json.dumps(elsewhere))
    settle_left_open(store, None)
    assert len(store.traces()) == 1


def test_a_store_that_is_gone_costs_the_leaderboard_nothing(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed_while_logging(home, "log_artifacts")
    (home / "mlflow" / "mlflow.db").write_bytes(b"no database" * 100)
    by_leaderboard(home)
    assert any("stay open in MLflow" in message for message in caplog.messages)
    assert len(RunStore(home).traces()) == 1
    assert any((home / "page").iterdir())


def test_sync_writes_means_that_are_missing_or_old(home: Path) -> None:
    store, tracker = RunStore(home), MlflowTracker.open(None, home)
    for seed in (0, 1):
        record = make_record(seed=seed)
        store.folder(record.fingerprint).mkdir(parents=True)
        store.write(record)
        tracker.finish(record, store.folder(record.fingerprint), None)
    client = open_client(default_tracking_uri(home))
    _, (mean,) = everything_in(home)
    client.delete_run(mean.info.run_id)
    by_sync(home)
    runs, (again,) = everything_in(home)
    assert again.info.run_id != mean.info.run_id
    assert again.data.metrics["seeds"] == 2
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {again.info.run_id}
