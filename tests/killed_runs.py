"""Runs that are killed at random moments until they end: is the result that of a quiet run?

A program of its own, since it forks: ``python tests/killed_runs.py KILLS SEED FOLDER``. It prints a
line for each method and ends with 1 where a result differs. Half of the kills are in the time of
a whole run, the other half come while a checkpoint is being written.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

os.environ["OMP_NUM_THREADS"] = "1"  # a forked process has no threads but its own
import nlbench

METHODS = ("small-loss+mixfix", "co-teaching+sop", "aum", "dividemix+elr", "clip-knn")
OPTIONS: dict[str, Any] = {"epochs": 8, "checkpoint_every_s": 0, "track": False}
_PASSING = ("times", "attempt", "resumed", "started_at", "finished_at")


def begin(method: str, home: Path) -> int:
    """Start a run in a process of its own; return its number."""
    process = os.fork()
    if process == 0:
        try:
            nlbench.run(method, home=home, **OPTIONS)
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{method}: {error}\n")
            os._exit(1)
    return process


def record_in(home: Path) -> nlbench.RunRecord:
    (file,) = home.glob("runs/*/record.json")
    return nlbench.RunRecord.from_json(file.read_bytes())


def result(home: Path) -> dict[str, Any]:
    """Return all that the only run of a home gave, seconds and dates aside."""
    (file,) = home.glob("runs/*/record.json")
    content = record_in(home).model_dump()
    for name in _PASSING:
        content.pop(name, None)
    for name in ("selection", "predictions"):
        content[name] = pq.read_table(file.with_name(f"{name}.parquet")).to_pydict()
    assert content["status"] == "finished"
    assert not (file.parent / "checkpoints").exists(), "checkpoints outlive their run"
    return content


def killed(process: int, home: Path, after_s: float, in_a_write: bool) -> bool:
    """Kill a process at a moment; False where it had ended."""
    end = time.monotonic() + after_s
    while time.monotonic() < end:
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
        time.sleep(0.002)
    # A file that is being written has a hidden name.
    while in_a_write and not list(home.glob("runs/*/checkpoints/.*")):
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def try_method(method: str, n_kills: int, folder: Path, draws: random.Random) -> bool:
    """Kill a method's runs so many times; return whether every result was the quiet one's."""
    quiet, home = folder / "quiet", folder / "killed"
    started = time.monotonic()
    assert os.waitpid(begin(method, quiet), 0)[1] == 0
    whole_s, expected = time.monotonic() - started, result(quiet)
    n_killed = n_runs = n_resumed = n_other = 0
    while n_killed < n_kills or n_runs == 0:
        process, is_killed = begin(method, home), False
        if n_killed < n_kills:
            after_s = draws.uniform(0, 0.7 * whole_s)
            is_killed = killed(process, home, after_s, in_a_write=draws.random() < 0.5)
        else:
            assert os.waitpid(process, 0)[1] == 0
        if is_killed:
            n_killed += 1
            continue
        n_other += result(home) != expected
        n_runs, n_resumed = n_runs + 1, n_resumed + record_in(home).resumed
        shutil.rmtree(home)
    print(
        f"{method}: {n_killed} kills, {n_resumed} times taken up on the way to {n_runs} results, "
        f"{n_other} of which differ",
        flush=True,
    )
    shutil.rmtree(quiet)
    return n_other == 0


def main(n_kills: int, seed: int, folder: Path) -> int:
    """Share the kills among the methods."""
    draws = random.Random(seed)  # noqa: S311
    # Data and libraries are loaded once, so that kills come in training and not before it.
    nlbench.run("none", home=folder / "first", track=False, epochs=1)
    methods = METHODS[: max(1, min(len(METHODS), n_kills // 3))]
    shares = [n_kills // len(methods)] * len(methods)
    shares[0] += n_kills - sum(shares)
    same = [
        try_method(method, share, folder / str(i), draws)
        for i, (method, share) in enumerate(zip(methods, shares, strict=True))
    ]
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
