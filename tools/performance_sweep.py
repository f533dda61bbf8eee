"""Section `sweep` of performance.py: where the seconds of the demo's grid go, cold and warm."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from performance_timing import machine

STAGES = ("train", "select", "embed", "data", "log", "rest")


def run(arguments: argparse.Namespace) -> None:
    """Run `nlbench sweep` in an empty home, in one with its embeddings only, and once finished."""
    print(machine("cpu"))
    print(f"\n| home | wall, s | {', s | '.join(STAGES)}, s |")
    print(f"| --- {'| ---: ' * (len(STAGES) + 1)}|")
    options = [word for noise in arguments.noise for word in ("--noise", noise)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        _row("empty", home, options)
        shutil.rmtree(home / "runs")
        shutil.rmtree(home / "mlflow")
        _row("embeddings cached", home, options)
        _row("all finished", home, options)
        wall_s = _timed(["leaderboard"], home)[0]
        print(f"\n`nlbench leaderboard` of these runs, every format: {wall_s:.1f} s")


def _row(what: str, home: Path, options: list[str]) -> None:
    wall_s, text = _timed(["sweep", *options], home)
    found = dict(re.findall(r"(\w+) ([\d.]+)(?:,|$)", text.split(" s: ")[-1].splitlines()[0]))
    cells = [f"{float(found[stage]):.1f}" if stage in found else "" for stage in STAGES]
    print(f"| {what} | {wall_s:.1f} | {' | '.join(cells)} |", flush=True)


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
