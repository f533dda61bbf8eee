"""Seconds per epoch of one run in one process and in two: `python tools/many_devices.py`.

Each row is measured in turns, so that what else the machine does meets both. One thread each, on
the CPU; needs the extra `devices`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

NETWORKS = ("small-cnn", "resnet34-cifar", "preact-resnet18")


def seconds_per_epoch(network: str, n_devices: int, epochs: int) -> float:
    """Return the mean over the epochs of a run in an empty home."""
    words = [
        "run", "--selector", "none", "--epochs", str(epochs), "--device", "cpu",
        "--devices", str(n_devices), "--json", "--set", f"trainer.network={network}",
        "--set", "trainer.batch_size=128",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as home:
        variables = {"NLBENCH_HOME": home, "OMP_NUM_THREADS": "1", "NLBENCH_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "nlbench", *words],
            env={**os.environ, **variables, "NLBENCH_PRECISION": "float32"},
            stdout=subprocess.PIPE,
            check=True,
        )
    return float(json.loads(done.stdout)["times"]["train_s"]) / epochs


def main() -> None:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", action="append")
    asked = parser.parse_args()
    for network in asked.network or NETWORKS:
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(asked.rounds):
            for n, found in seconds.items():
                found.append(seconds_per_epoch(network, n, asked.epochs))
        one, two = (statistics.median(found) for found in seconds.values())
        print(f"| {network} | {one:.2f} | {two:.2f} | {one / two:.2f} |", flush=True)
    print(f"load {os.getloadavg()[1]:.1f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
