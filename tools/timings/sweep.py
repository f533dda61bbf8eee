"""Section `sweep` of performance.py: seconds of the demo's grid, cold, warm and side by side."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timings.timing import machine

DEMO = Path(__file__).parents[1] / "demo.yaml"
STAGES = ("train", "select", "embed", "data", "log", "rest")


def run(arguments: argparse.Namespace) -> None:
    """Run `nlbench sweep` in an empty home, in one with its embeddings only, and once finished.

    With jobs: in empty homes, one run after the other and that many at once, in turns.
    """
    print(machine("cpu"))
    print(f"\n| home | wall, s | {', s | '.join(STAGES)}, s |")
    print(f"| --- {'| ---: ' * (len(STAGES) + 1)}|")
    options = [word for noise in arguments.noise for word in ("--noise", noise)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        if arguments.jobs:
            _with_jobs(Path(folder), arguments.jobs, arguments.rounds, options)
            return
        _row("empty", home, options)
        shutil.rmtree(home / "runs")
        shutil.rmtree(home / "mlflow")
        _row("embeddings cached", home, options)
        _row("all finished", home, options)
        wall_s = _timed(["leaderboard"], home)[0]
        print(f"\n`nlbench leaderboard` of these runs, every format: {wall_s:.1f} s")


def _with_jobs(folder: Path, jobs: int, rounds: int, options: list[str]) -> None:
    many = ["--jobs", str(jobs)]
    ratios = []
    for number in range(rounds):
        one_s = _row("empty", folder / f"one-{number}", options)
        many_s = _row(f"empty, {' '.join(many)}", folder / f"many-{number}", [*many, *options])
        ratios.append(one_s / many_s)
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"\n{jobs} at once are {statistics.median(ratios):.2f} times as fast ({shown}).")


def _row(what: str, home: Path, options: list[str]) -> float:
    """Print a row; give its wall time. With jobs the stages are sums over runs side by side."""
    wall_s, text = _timed(["sweep", str(DEMO), *options], home)
    found = dict(re.findall(r"(\w+) ([\d.]+)(?:,|$)", text.split(" s: ")[-1].splitlines()[0]))
    cells = [f"{float(found[stage]):.1f}" if stage in found else "" for stage in STAGES]
    print(f"| {what} | {wall_s:.1f} | {' | '.join(cells)} |", flush=True)
    return wall_s


def _timed(words: list[str], home: Path) -> tuple[float, str]:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "nlbench", *words],
        env={**os.environ, "NLBENCH_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - started, done.stderr
