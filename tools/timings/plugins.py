"""What the processes of plugins cost: whole commands with one run each, in turns."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nlbench_selectors
from timings.timing import machine, seconds, table

_UNWATCHED = ("-c", "from nlbench.cli import app; app()")


def run(arguments: argparse.Namespace) -> None:
    """Print the seconds of whole runs of a plugin, with its processes and without."""
    source = Path(nlbench_selectors.__file__).with_name("clip_knn.py")
    with tempfile.TemporaryDirectory() as name:
        plugin = Path(name, "my_knn.py")
        plugin.write_text(source.read_text())
        mine = ("--plugin", str(plugin), "--selector", "my-knn", "--force")
        noise = ("--noise", "symmetric:0.4", "--seeds", "0")
        cases = {
            "run, not watched": (*_UNWATCHED, "run", *mine),
            "run": ("-m", "nlbench", "run", *mine),
            "sweep, shipped selector": ("-m", "nlbench", "sweep", "--selector", "clip-knn",
                                        "--force", *noise),
            "sweep, the same as a plugin": ("-m", "nlbench", "sweep", *mine, *noise),
        }  # fmt: skip
        took: dict[str, list[float]] = {case: [] for case in cases}
        for number in range(arguments.rounds + 1):  # the first one fills caches
            for case, words in cases.items():
                wall_s = _wall(words, Path(name))
                if number:
                    took[case].append(wall_s)
    print(f"{machine('cpu')}\n")
    (bare, watched, shipped, apart) = (statistics.median(each) for each in took.values())
    rows = [
        [
            "`nlbench run --plugin`, watched",
            seconds(bare),
            seconds(watched),
            f"{watched / bare:.2f}",
        ],
        ["`nlbench sweep` of one run", seconds(shipped), seconds(apart), f"{apart / shipped:.2f}"],
    ]
    print(table(["command", "without", "with a process of its own", "ratio"], rows))


def _wall(words: Sequence[str], home: Path) -> float:
    places = {"NLBENCH_HOME": str(home / "home"), "NLBENCH_CACHE": str(home / "cache")}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *words], env={**os.environ, **places}, check=True, capture_output=True
    )
    return time.perf_counter() - began
