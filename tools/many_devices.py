"""Seconds per epoch of one run in one process and in two: `python tools/many_devices.py`.

One thread each, on the CPU, of the first process: by the clock the fastest epoch, which other work
on the machine disturbs least, and of the processor the median. Needs the extra `devices`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise

ROWS = (("small-cnn", 8), ("small-cnn", 32), ("resnet34-cifar", 8))  # network, side of the images


def measure(network: str, side: int, epochs: int) -> None:
    """Run in this process, or as one of several; print the seconds of each epoch but the first."""
    import nlbench

    marks: list[tuple[float, float]] = []

    def note(stage: str, done: int, total: int) -> None:
        if stage == "train":
            marks.append((time.perf_counter(), time.process_time()))

    settings = {"trainer.network": network, "trainer.batch_size": 128, "protocol.image_size": side}
    nlbench.run("none", epochs=epochs, device="cpu", track=False, settings=settings, progress=note)
    seconds = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(marks)]
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(seconds))


def measured(network: str, side: int, n: int, epochs: int) -> tuple[float, float]:
    """Return the fastest epoch by the clock, and the median one of the processor."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)]
    with tempfile.TemporaryDirectory() as home:
        variables = {"NLBENCH_HOME": home, "OMP_NUM_THREADS": "1", "NLBENCH_THREADS": "1"}
        done = subprocess.run(
            [
                sys.executable,
                *torchrun,
                __file__,
                "--epochs",
                str(epochs),
                "--inside",
                f"{network}:{side}",
            ],
            env={**os.environ, **variables, "NLBENCH_PRECISION": "float32"},
            stdout=subprocess.PIPE,
            check=True,
        )
    wall, processor = zip(*json.loads(done.stdout), strict=True)
    return min(wall), statistics.median(processor)


def main() -> None:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--row", action="append", metavar="NETWORK:SIDE")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        network, _, side = asked.inside.partition(":")
        measure(network, int(side), asked.epochs)
        return
    rows = [(n, int(s)) for n, _, s in (row.partition(":") for row in asked.row or ())]
    for network, side in rows or ROWS:
        (wall, processor), (wall2, processor2) = (
            measured(network, side, n, asked.epochs) for n in (1, 2)
        )
        print(
            f"| {network}, {side} x {side} | {wall:.2f} | {wall2:.2f} | {wall / wall2:.2f} | "
            f"{processor:.2f} | {processor2:.2f} | {processor / processor2:.2f} |",
            flush=True,
        )
    print(f"load {os.getloadavg()[1]:.1f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
