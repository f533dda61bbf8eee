"""Leases on shared folders: one holder, also where file locks do nothing and clocks disagree."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch

from nlbench.encoders import cache as caches
from nlbench.encoders.cache import EmbeddingCache
from nlbench.errors import RunError
from nlbench.files import leases
from nlbench.files.leases import FolderPlace, leased
from nlbench.results.store import RunStore

NAME = "f" * 64
# As on NFS without a lock service: every process gets every lock.
NO_LOCKS = "import fcntl\nfcntl.flock = lambda *arguments: None\n"
RACE = NO_LOCKS + dedent("""
    import sys, time
    from pathlib import Path
    from nlbench.errors import RunError
    from nlbench.results.store import RunStore
    home, n = Path(sys.argv[1]), int(sys.argv[3])
    (home / f"ready-{sys.argv[2]}").touch()
    while len(list(home.glob("ready-*"))) < n:
        time.sleep(0.001)
    try:
        with RunStore(home).claim("f" * 64):
            print("won", flush=True)
            while len(list(home.glob("done-*"))) < n - 1:
                time.sleep(0.005)
    except RunError:
        print("refused", flush=True)
        (home / f"done-{sys.argv[2]}").touch()
""")
SWEEP = NO_LOCKS + dedent("""
    import sys, time
    from pathlib import Path
    import torch
    from nlbench.config.sweep_plan import SweepPlan
    from nlbench.results.store import RunStore
    from nlbench.runner import run
    from nlbench.runner.sweep import run_sweep
    from nlbench.runner.workplace import Workplace
    torch.set_num_threads(1)
    plan = SweepPlan(selectors=("none", "random"), noises=("pair:0.3",), seeds=(0, 1, 2), epochs=1)
    place = Workplace(RunStore(), torch.device("cpu"))
    really_run = run._run
    def counted(*arguments):
        print("ran", flush=True)
        return really_run(*arguments)
    run._run = counted
    here = Path(sys.argv[1])
    (here / f"ready-{sys.argv[2]}").touch()
    while len(list(here.glob("ready-*"))) < 2:
        time.sleep(0.001)
    for cell in run_sweep(plan.configs(None), place):
        print(cell.status, flush=True)
""")
HOLD = dedent("""
    import sys, time
    from pathlib import Path
    from nlbench.files import leases
    leases._machine = lambda: "another machine"
    leases.RENEWED_EVERY_S = float(sys.argv[2])
    with leases.leased(leases.FolderPlace(Path(sys.argv[1])), "it") as has_it:
        print("holding" if has_it else "refused", flush=True)
        time.sleep(60)
""")


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def lease_of_another_machine(folder: Path, age_s: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lease-theirs"
    path.write_text(json.dumps({"host": "b", "machine": "another", "processes": "x", "pid": 1}))
    at = time.time() - age_s
    os.utime(path, (at, at))
    return path


def test_without_locks_one_of_many_processes_wins(tmp_path: Path) -> None:
    processes = [start(RACE, tmp_path, i, 4) for i in range(4)]
    answers = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert sorted(answers) == ["refused", "refused", "refused", "won"]


@pytest.mark.slow
def test_without_locks_two_sweeps_run_each_cell_once(tmp_path: Path) -> None:
    sweeps = [start(SWEEP, tmp_path, i) for i in range(2)]
    answers = [sweep.communicate(timeout=240)[0].splitlines() for sweep in sweeps]
    for cells in answers:
        assert sum("finished" in line for line in cells) == 6
    assert [*answers[0], *answers[1]].count("ran") == 6


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_that_refuses_locks_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    store = RunStore(tmp_path)
    refused = pytest.raises(RunError, match="under way in another process")
    with store.claim(NAME), refused, store.claim(NAME):
        pytest.fail("two hold the same run")
    with store.claim(NAME) as claim:
        assert not claim.previous_killed


@pytest.mark.parametrize(("age_s", "is_ours"), [(60, False), (590, False), (700, True)])
@pytest.mark.parametrize("skew_s", [0, 86_400, -86_400])
def test_another_machine_is_dead_ten_minutes_after_its_last_renewal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_s: float, is_ours: bool, skew_s: float
) -> None:
    store = RunStore(tmp_path)
    theirs = lease_of_another_machine(store.folder(NAME), age_s)
    (store.folder(NAME) / "running.json").write_text('{"attempt": 1}')
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + skew_s)  # of this machine, not the disk
    if not is_ours:
        with pytest.raises(RunError, match="under way"), store.claim(NAME):
            pytest.fail("two hold the same run")
        assert theirs.exists()
        return
    with store.claim(NAME) as claim:
        assert (claim.attempt, claim.previous_killed) == (2, True)
        assert not theirs.exists()
    assert not list(store.folder(NAME).glob("lease-*"))


def test_a_lease_that_is_renewed_is_kept_and_a_dead_one_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "DEAD_AFTER_S", 1.5)
    holder = start(HOLD, tmp_path, 0.2)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        until = time.monotonic() + 4
        while time.monotonic() < until:
            with leased(FolderPlace(tmp_path), "it") as has_it:
                assert not has_it
            time.sleep(0.1)
        holder.send_signal(signal.SIGKILL)
        time.sleep(2)
        with leased(FolderPlace(tmp_path), "it") as has_it:
            assert has_it
    finally:
        holder.kill()
        holder.communicate()


def test_a_killed_process_of_this_machine_is_noticed_at_once_without_locks(tmp_path: Path) -> None:
    script = HOLD.replace('leases._machine = lambda: "another machine"', "")
    holder = start(script, tmp_path, 60)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    with leased(FolderPlace(tmp_path), "it") as has_it:
        assert not has_it
    holder.send_signal(signal.SIGKILL)
    time.sleep(0.2)  # killed, and a zombie: nobody has waited for it
    with leased(FolderPlace(tmp_path), "it") as has_it:
        assert has_it
    holder.communicate()


def test_who_was_taken_over_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leases, "RENEWED_EVERY_S", 0.05)
    with leased(FolderPlace(tmp_path), "run 0123") as has_it:
        assert has_it
        (mine,) = tmp_path.glob("lease-*")
        mine.unlink()
        time.sleep(0.5)
        assert not list(tmp_path.glob("lease-*"))
    assert "run 0123 was taken over by another process" in caplog.text


def test_threads_that_race_without_locks_never_both_win(tmp_path: Path) -> None:
    """Each of many rounds has at most one holder at a time, and someone gets it in the end."""
    inside, wins, most = [0], [0], [0]
    guard = threading.Lock()

    def compete() -> None:
        for _ in range(15):
            with leased(FolderPlace(tmp_path), "it") as has_it:
                if not has_it:
                    continue
                with guard:
                    inside[0] += 1
                    wins[0] += 1
                    most[0] = max(most[0], inside[0])
                time.sleep(0.002)
                with guard:
                    inside[0] -= 1

    threads = [threading.Thread(target=compete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert wins[0] >= 4


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"pid": "x"}', b"{" * 4000])
def test_a_damaged_lease_counts_by_its_age(tmp_path: Path, content: bytes) -> None:
    path = lease_of_another_machine(tmp_path, 0)
    path.write_bytes(content)
    with leased(FolderPlace(tmp_path), "it") as has_it:
        assert not has_it
    os.utime(path, (1, 1))
    with leased(FolderPlace(tmp_path), "it") as has_it:
        assert has_it


def test_embeddings_that_another_machine_merges_meanwhile_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without locks a shard may go between being listed and being read: its merge is there."""
    cache = EmbeddingCache(tmp_path)
    identity = {"encoder": "x", "data_key": "k", "data": "d"}
    made: list[int] = []

    def compute(parts: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        for part in parts:
            made.append(len(part))
            yield part[:, None].float()

    first = cache.get(identity, 5, compute)
    really_read = caches.read_shard

    def read_late(path: Path, **options: Any) -> Any:
        if path in originals:  # the other machine is done merging just now
            path.rename(path.with_name(f"9{path.name}"))
        return really_read(path, **options)

    (entry,) = (path for path in cache.folder.iterdir() if path.is_dir())
    originals = set(entry.glob("*.safetensors"))
    half_written = entry / ".0123.safetensors.abc"
    half_written.write_bytes(b"by the other machine, at this moment")
    monkeypatch.setattr(caches, "read_shard", read_late)
    assert torch.equal(cache.get(identity, 5, compute), first)
    assert made == [5]
    assert half_written.exists()
