"""Measures what an executor costs beside the runs: cells per minute, overhead per cell, memory.

    python tools/executor_overhead.py                        # local and ray; 1, 2 and 4 at once
    python tools/executor_overhead.py --executors local --rounds 1
    python tools/executor_overhead.py --grid grid.yaml --words "--seeds 0-4"
    python tests/slurm_node.py python tools/executor_overhead.py --executors local ray slurm

Each sweep is a process with an empty home; executors and numbers of jobs take turns in each round.
Cells a minute count from the first start of a run to the last end. The overhead of a cell is the
median time from the end of a run to the start of the next in its place: files, MLflow, hand-over.
For Ray a head node with as many CPUs as jobs is started before the clock; Slurm is whichever
`sbatch` finds, and every run there is a job. Memory is the peak of the proportional set size (PSS),
which counts once what processes share; Slurm's daemons are not in it. Linux only.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import NamedTuple

from nlbench.results.store import RunStore

MARK = "NLBENCH_OVERHEAD_OF"
DEMO = Path(__file__).with_name("demo.yaml")


class Measured(NamedTuple):
    """One sweep: rates per minute, seconds, MiB."""

    per_minute: float
    overhead_s: float
    run_s: float
    start_s: float
    driver_mib: float
    worker_mib: float
    rest_mib: float


def main() -> None:
    """Measure and print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--executors", nargs="+", default=["local", "ray"],
                        choices=["local", "ray", "slurm"])  # fmt: skip
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grid", type=Path, default=DEMO, help="YAML file of a sweep")
    parser.add_argument("--words", default="", help="more words for `nlbench sweep`")
    arguments = parser.parse_args()
    found: dict[tuple[str, int], list[Measured]] = defaultdict(list)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for number in range(arguments.rounds):
            for jobs, executor in product(arguments.jobs, arguments.executors):
                words = shlex.split(arguments.words)
                one = measured(executor, jobs, [str(arguments.grid), *words])
                print(number + 1, executor, jobs, one, file=sys.stderr, flush=True)
                found[executor, jobs].append(one)
    except KeyboardInterrupt:
        print("stopped: the table has what was measured", file=sys.stderr)
    _print_table(found)


def _print_table(found: Mapping[tuple[str, int], list[Measured]]) -> None:
    print("| executor | at once | cells a minute | overhead a cell | a run | start "
          "| driver | each worker | rest |")  # fmt: skip
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for (executor, jobs), all_of_it in found.items():
        rate, over, run, start, *mib = (statistics.median(v) for v in zip(*all_of_it, strict=True))
        rates = [one.per_minute for one in all_of_it]
        span = f"{rate:.1f} ({min(rates):.1f}-{max(rates):.1f})"
        memory = " | ".join(f"{value:.0f} MiB" for value in mib)
        print(f"| {executor} | {jobs} | {span} | {1000 * over:.0f} ms | {run:.2f} s "
              f"| {start:.1f} s | {memory} |")  # fmt: skip


def measured(executor: str, jobs: int, words: list[str]) -> Measured:
    """Run a sweep and return what it took."""
    with tempfile.TemporaryDirectory(prefix="nlo") as folder, _ray(executor, jobs, folder) as more:
        home = Path(folder, "home")
        command = [
            sys.executable, "-m", "nlbench", "sweep", *words, "--jobs", str(jobs),
            "--executor", executor, *more,
        ]  # fmt: skip
        began = time.time()
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(command, env=_environment(folder), stdout=log, stderr=log)
            try:
                peaks = _peaks(process, folder)
            finally:
                process.terminate()  # as when this ends early; a sweep ends its own processes
                process.wait()
        if process.returncode:
            sys.exit(Path(folder, "log").read_text())
        records, _ = RunStore(home).records()
        starts, ends = (sorted(map(_seconds, times)) for times in zip(
            *((record.started_at, record.finished_at) for record in records), strict=True
        ))  # fmt: skip
        per_minute = 60 * len(records) / (ends[-1] - starts[0])
        run_s = statistics.mean(record.times.total_s for record in records)
        # Places are alike: the first to be free is taken first.
        gaps = [start - end for start, end in zip(starts[jobs:], ends, strict=False)]
        return Measured(per_minute, statistics.median(gaps), run_s, starts[0] - began, *peaks)


def _seconds(time_text: str) -> float:
    return datetime.fromisoformat(time_text).timestamp()


def _environment(folder: str) -> dict[str, str]:
    return {
        **os.environ,
        MARK: folder,
        "NLBENCH_HOME": f"{folder}/home",
        "NLBENCH_CACHE": f"{folder}/cache",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }


@contextmanager
def _ray(executor: str, jobs: int, folder: str) -> Iterator[list[str]]:
    """Start a head node with a CPU per job, and end it; yield the words that name it."""
    if executor != "ray":
        yield []
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        "--port", str(port), "--num-cpus", str(jobs), "--include-dashboard", "false",
        "--temp-dir", f"{folder}/ray", "--object-store-memory", str(100 * 2**20),
    ]  # fmt: skip
    log = Path(folder, "ray.log")
    with log.open("wb") as stream:
        head = subprocess.Popen(command, env=_environment(folder), stdout=stream, stderr=stream)
    try:
        while "Ray runtime started" not in log.read_text():
            if head.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.2)
        yield ["--ray-address", f"127.0.0.1:{port}"]
    finally:
        for _ in range(3):
            for pid in _marked(folder):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        head.wait()


def _peaks(process: subprocess.Popen[bytes], folder: str) -> tuple[float, float, float]:
    """Return peak MiB of the driver, of the largest worker, and of all else, until it ends."""
    driver = worker = rest = 0.0
    while process.poll() is None:
        others = 0.0
        for pid in _marked(folder):
            role, mib = _role(pid), _pss_mib(pid)
            if pid == process.pid:
                driver = max(driver, mib)
            elif role == "worker":
                worker = max(worker, mib)
            else:
                others += mib
        rest = max(rest, others)
        time.sleep(2.0)
    return driver, worker, rest


def _role(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        if "spawn_main" in words or words.startswith("ray::run_on_node"):
            return "worker"
    return "rest"


def _marked(folder: str) -> list[int]:
    mark, found = f"{MARK}={folder}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def _pss_mib(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
