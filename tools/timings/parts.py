"""Section `parts` of performance.py: `nlbench embed` with some workers, seconds and memory."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from timings.timing import machine

LOOK_S = 0.1


def run(arguments: argparse.Namespace) -> None:
    """Embed a data set in an empty cache with each number of workers, in turns."""
    words = ["--dataset", arguments.dataset, "--encoder", arguments.encoder]
    words += ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    print(machine("cpu"))
    print("\n| workers | wall, s | in the parts, s | driver, MiB | a worker, MiB | embeddings |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            _row("plan only", [*words, "--dry-run"], Path(folder))
        for jobs in arguments.jobs:
            with tempfile.TemporaryDirectory() as folder:
                _row(str(jobs), [*words, "--jobs", str(jobs)], Path(folder))


def _row(what: str, words: list[str], folder: Path) -> None:
    environment = {**os.environ, "NLBENCH_HOME": str(folder), "NLBENCH_THREADS": "1"}
    environment.pop("NLBENCH_CACHE", None)
    command = [sys.executable, "-m", "nlbench", "embed", *words, "--json"]
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=told)
        peaks: dict[int, float] = {}
        while process.poll() is None:
            _look(process.pid, peaks)
            time.sleep(LOOK_S)
        wall_s = time.perf_counter() - started
        said.seek(0)
        told.seek(0)
        content, text = json.loads(said.read()), told.read()
    seconds = sum(map(float, re.findall(r"images +([\d.]+) s", text)))
    driver = peaks.pop(process.pid, 0.0)
    worker = max(peaks.values(), default=0.0)
    n = content.get("embedded", 0)
    print(f"| {what} | {wall_s:.1f} | {seconds:.1f} | {driver:.0f} | {worker:.0f} | {n} |")


def _look(pid: int, peaks: dict[int, float]) -> None:
    """Note the peak so far of a process and of its children, in MiB."""
    children: list[int] = []
    with suppress(OSError):
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        children = [int(each) for each in listed]
    for each in (pid, *children):
        with suppress(OSError, StopIteration):
            status = Path(f"/proc/{each}/status").read_text().splitlines()
            line = next(line for line in status if line.startswith("VmHWM"))
            peaks[each] = int(line.split()[1]) / 1024
