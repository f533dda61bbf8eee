"""How performance.py measures: baseline and ours in turns, memory in a process of its own."""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))  # the baselines and the data


@dataclass(frozen=True)
class Pair:
    """Medians of a baseline and of ours, with what each answered last."""

    baseline_s: float
    ours_s: float
    baseline: Any
    ours: Any

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.baseline_s / self.ours_s


def in_turns(baseline: Callable[[], Any], ours: Callable[[], Any], rounds: int) -> Pair:
    """Time ours, baseline, ours, baseline, ..., ours: other work on the machine meets both."""
    of_ours, of_baseline, theirs = [], [], None
    seconds, answer = timed(ours)
    of_ours.append(seconds)
    for _ in range(rounds):
        seconds, theirs = timed(baseline)
        of_baseline.append(seconds)
        seconds, answer = timed(ours)
        of_ours.append(seconds)
    return Pair(median(of_baseline), median(of_ours), theirs, answer)


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of a call and its answer; what a GPU was given is waited for."""
    import torch

    gc.collect()
    started = time.perf_counter()
    answer = function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, answer


def in_new_process(*arguments: object) -> dict[str, Any]:
    """Run a part of performance.py in a fresh process, whose peak memory is its own."""
    command = [sys.executable, str(ROOT / "tools" / "performance.py"), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def machine(device: str) -> str:
    """Return the machine and versions in one line."""
    import numpy
    import sklearn
    import torch

    from nlbench.machine import device_name

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        cpu = names[0] if names else cpu
    where = f"{cpu}, {torch.get_num_threads()} threads"
    if device != "cpu":
        where += f"; {device_name(torch.device(device))}"
    return (
        f"{where}. Python {platform.python_version()}, torch {torch.__version__}, "
        f"scikit-learn {sklearn.__version__}, numpy {numpy.__version__}. "
        f"Load {os.getloadavg()[0]:.1f}."
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the rest are numbers."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows])


def seconds(value: float) -> str:
    """Return seconds in a readable unit."""
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if value < 600 else f"{value / 60:.0f} min"
