"""performance.py noise: every kind against the per-sample loop of the released codes."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from nlbench import corrupt
from nlbench.machine import PeakMemory
from nlbench.noise.corrupt import noise_takes_rate
from nlbench.plugins.registry import components
from timings.timing import in_new_process, machine, seconds, table, timed

K, RATE, D = 10, 0.4, 64
SIZES = (50_000, 1_000_000)
_OF_LOOP = 500  # samples of the loop that are timed at a million


class Rows:
    """N rows of d features, made when asked for: noise reads images so, and never all at once."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.base = np.random.default_rng(0).random((4096, D))

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, positions: Any) -> Any:
        return self.base[positions % len(self.base)]


def run(arguments: argparse.Namespace) -> None:
    """Print the tables."""
    import baselines

    print(f"{machine('cpu')}\n")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cases = [_cases(n, Path(folder)) for n in SIZES]
        loops = [_loop_s(n, baselines.loop_noise) for n in SIZES]
        for kind in cases[0]:
            cells = []
            for case, loop_s in zip(cases, loops, strict=True):
                case[kind]()
                ours = median(timed(case[kind])[0] for _ in range(5))
                cells += [seconds(ours), f"{loop_s / ours:,.0f}"]
            rows.append([f"`{kind}`", *cells])
    print(table(["kind", "50 000", "loop / ours", "1 000 000", "loop / ours"], rows))
    print(
        f"\nLoop: {seconds(loops[0])} for 50 000; at 1 000 000 its first {_OF_LOOP} samples take "
        f"{loops[1] / SIZES[1] * 1e3:.3g} ms each, which makes {loops[1] / 3600:.1f} hours."
    )
    features, clean = np.random.default_rng(0).random((50_000, D)), _clean(50_000)
    loop_s, _ = timed(lambda: baselines.loop_instance_noise(features, clean, K, RATE))
    ours_s, _ = timed(lambda: corrupt(clean, K, "instance", RATE, features=features))
    print(
        f"`instance` against its own loop (a product and a `choice` for each of 50 000 samples): "
        f"{seconds(loop_s)} / {seconds(ours_s)} = {loop_s / ours_s:.0f}."
    )
    peak = in_new_process("instance-memory")["mib"]
    print(f"Peak of the process for `instance` on 1 000 000: {peak:.0f} MiB.")


def instance_memory() -> None:
    """Print the peak memory of a million labels, imports and all."""
    memory = PeakMemory(torch.device("cpu"))
    n = SIZES[1]
    corrupt(_clean(n), K, "instance", RATE, features=Rows(n))
    print(json.dumps({"mib": memory.mib()}))


def _clean(n: int) -> Any:
    return np.random.default_rng(0).integers(0, K, size=n)


def _cases(n: int, folder: Path) -> dict[str, Callable[[], Any]]:
    clean = _clean(n)
    file = folder / f"{n}_human.pt"
    torch.save({"clean_label": clean, "worse_label": (clean + 1) % K}, file)
    options: dict[str, dict[str, Any]] = {
        "asymmetric": {"class_map": "cifar10"},
        "matrix": {"matrix": (1 - RATE) * np.eye(K) + RATE / K},
        "labels": {"labels": (clean + 1) % K},
        "instance": {"features": Rows(n)},
        "human": {"label_file": file},
    }
    known = components("noises")
    rates = {kind: RATE if noise_takes_rate(known[kind].load()) else None for kind in known}
    return {
        kind: partial(corrupt, clean, K, kind, rates[kind], **options.get(kind, {}))
        for kind in sorted(known)
    }


def _loop_s(n: int, loop: Callable[..., Any]) -> float:
    clean = _clean(n).tolist()
    if n <= SIZES[0]:
        return timed(lambda: loop(clean, K, RATE))[0]
    some, _ = timed(lambda: loop(clean, K, RATE, _OF_LOOP))
    start, _ = timed(lambda: loop(clean, K, RATE, 0))  # the shuffle
    return start + (some - start) / _OF_LOOP * n
