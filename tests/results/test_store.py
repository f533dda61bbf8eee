"""The local store: what is finished, what is running, what was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import dedent

import pytest
from test_results import make_record

from nlbench.errors import DataError, RunError
from nlbench.files import home_dir
from nlbench.results.store import RunStore

HOLD = dedent("""
    import sys, time
    from pathlib import Path
    from nlbench.results.store import RunStore
    store = RunStore(Path(sys.argv[1]))
    with store.claim("f" * 64) as claim:
        store.mark(claim, mlflow_run="run-7")
        print("holding", flush=True)
        time.sleep(60)
""")
RACE = dedent("""
    import sys, time
    from pathlib import Path
    from nlbench.errors import RunError
    from nlbench.results.store import RunStore
    home, n = Path(sys.argv[1]), int(sys.argv[3])
    (home / f"ready-{sys.argv[2]}").touch()
    while len(list(home.glob("ready-*"))) < n:
        time.sleep(0.005)
    try:
        with RunStore(home).claim("e" * 64):
            print("won", flush=True)
            while len(list(home.glob("done-*"))) < n - 1:
                time.sleep(0.005)
    except RunError:
        print("refused", flush=True)
        (home / f"done-{sys.argv[2]}").touch()
""")
NAME = "f" * 64


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for_holding(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs home")


def test_home_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home_dir() == tmp_path / "home"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLBENCH_HOME", "")
    assert home_dir() == tmp_path / "nlbench-runs"
    assert RunStore().home.is_absolute()


def test_what_is_written_is_read(store: RunStore) -> None:
    record = make_record()
    assert store.read(record.fingerprint) is None
    path = store.write(record)
    assert path == store.folder(record.fingerprint) / "record.json"
    assert store.read(record.fingerprint) == record
    assert store.records() == ([record], [])


def test_records_of_an_empty_store(store: RunStore) -> None:
    assert store.records() == ([], [])


def test_a_damaged_record_is_named_and_the_others_are_read(store: RunStore) -> None:
    good = [make_record(letter * 64) for letter in "ac"]
    for record in reversed(good):
        store.write(record)
    broken = store.write(make_record("b" * 64))
    broken.write_text(broken.read_text()[:200])
    records, problems = store.records()
    assert records == good
    assert len(problems) == 1
    assert str(broken) in problems[0]
    with pytest.raises(DataError, match="b" * 64):
        store.read("b" * 64)


def test_a_claim_is_given_back(store: RunStore) -> None:
    for _ in range(2):
        with store.claim(NAME) as claim:
            assert (claim.attempt, claim.previous_killed) == (1, False)
            assert (claim.folder / "running.json").is_file()
        assert not (claim.folder / "running.json").exists()
    assert store.records() == ([], [])


def test_a_second_claim_in_one_process_is_refused(store: RunStore) -> None:
    with store.claim(NAME):
        with pytest.raises(RunError, match="under way in another process"), store.claim(NAME):
            pytest.fail("two hold the same run")
        with store.claim("a" * 64) as other:
            assert other.attempt == 1


def test_a_second_process_is_refused_and_a_killed_one_taken_over(store: RunStore) -> None:
    store.runs.mkdir(parents=True)
    process = start(HOLD, str(store.home))
    try:
        wait_for_holding(process)
        with pytest.raises(RunError, match=f"{NAME[:12]} is under way"), store.claim(NAME):
            pytest.fail("two hold the same run")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
    finally:
        process.kill()
        process.communicate()
    with store.claim(NAME) as claim:
        assert claim.attempt == 2
        assert claim.previous_killed
        assert claim.previous_mlflow_run == "run-7"
    with store.claim(NAME) as claim:
        assert not claim.previous_killed


def test_killed_again_and_again(store: RunStore) -> None:
    store.runs.mkdir(parents=True)
    for _ in range(2):
        process = start(HOLD, str(store.home))
        wait_for_holding(process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)
    with store.claim(NAME) as claim:
        assert claim.attempt == 3


def test_a_run_that_failed_by_itself_was_not_killed(store: RunStore) -> None:
    with pytest.raises(ZeroDivisionError), store.claim(NAME):
        raise ZeroDivisionError
    with store.claim(NAME) as claim:
        assert not claim.previous_killed


@pytest.mark.parametrize("content", [b"\xff\x00garbage", b"[1]", b"{", b""])
def test_a_damaged_marker_does_not_block_a_run(store: RunStore, content: bytes) -> None:
    store.folder(NAME).mkdir(parents=True)
    (store.folder(NAME) / "running.json").write_bytes(content)
    with store.claim(NAME) as claim:
        assert claim.attempt >= 1


def test_of_many_threads_one_wins(store: RunStore) -> None:
    barrier, answers = threading.Barrier(8), []

    def compete() -> None:
        barrier.wait()
        try:
            with store.claim(NAME):
                answers.append("won")
                time.sleep(0.5)
        except RunError:
            answers.append("refused")

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(answers) == ["refused"] * 7 + ["won"]


def test_of_many_processes_one_wins(store: RunStore) -> None:
    store.home.mkdir(parents=True)
    processes = [start(RACE, str(store.home), str(i), "3") for i in range(3)]
    answers = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(answers) == ["refused", "refused", "won"]


def test_where_a_run_was_logged(store: RunStore) -> None:
    assert store.mlflow_run(NAME) == {}
    place = {"uri": "http://server", "run_id": "run-1", "board": None}
    store.note_mlflow(NAME, place)
    assert store.mlflow_run(NAME) == place


BEGIN = dedent("""
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from test_results import make_record
    from nlbench.results.store import RunStore
    store = RunStore(Path(sys.argv[1]))
    record = make_record(status="running", metrics=None)
    with store.claim(record.fingerprint):
        store.write_started(record)
        print("holding", flush=True)
        time.sleep(60)
""")


def test_a_run_under_way_is_seen_and_one_that_was_killed_too(store: RunStore) -> None:
    process = start(BEGIN, str(store.home), str(Path(__file__).parent))
    wait_for_holding(process)
    (under_way,) = store.unfinished()
    assert (under_way.record.status, under_way.alive) == ("running", True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (killed,) = store.unfinished()
    assert not killed.alive
    store.write(make_record())
    assert store.unfinished() == []
    assert not list(store.runs.glob("*/started.json"))


def test_a_finished_run_that_is_done_again_still_counts(store: RunStore) -> None:
    record = make_record()
    store.write(record)
    store.write_started(record.model_copy(update={"status": "running", "metrics": None}))
    assert store.unfinished() == []
    assert store.read(record.fingerprint) == record


def test_a_damaged_note_of_a_start_is_passed_over(store: RunStore) -> None:
    store.folder("x").mkdir(parents=True)
    (store.folder("x") / "started.json").write_text("{")
    assert store.unfinished() == []


def test_a_record_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    store, good = RunStore(tmp_path), make_record()
    store.write(good)
    names = ["clean", "caf\udce9"]
    dataset = good.dataset.model_copy(update={"class_names": names})
    bad = good.model_copy(update={"dataset": dataset})
    for write in (store.write, store.write_started):
        with pytest.raises(DataError, match=r"dataset.class_names.1 is not UTF-8 text, got 'caf"):
            write(bad)
    nan = good.model_copy(update={"diagnostics": {"deep": [1.0, float("nan")]}})
    with pytest.raises(DataError, match=r"diagnostics.deep.1 must be a finite number, got nan"):
        store.write(nan)
    assert store.read(good.fingerprint) == good
    assert store.unfinished() == []
    assert [p.name for p in store.folder(good.fingerprint).iterdir()] == ["record.json"]
