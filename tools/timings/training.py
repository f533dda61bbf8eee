"""Print the tables of docs/performance-training.md: nlbench's training against a common script.

    python tools/performance.py training                 # all but accuracy, about 8 minutes
    python tools/performance.py training epoch --device cuda --n 50000
    python tools/performance.py training accuracy --data-dir DIR
    python tools/performance.py training scaling --plot docs/images/training_scaling.png

What is compared alternates, round by round, in one process; a cell is the median of the rounds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from nlbench.machine import device_name
from timings.training_loop import (
    baseline_epochs,
    cifar_size,
    environment,
    matrix_peak,
    nlbench_epochs,
    one_seed,
    operations_per_image,
    seconds_and_memory,
    shares_of_time,
)

# Batch size, and samples of an epoch that is long enough to time on two cores.
NETWORKS = {"small-cnn": (64, 5120), "preact-resnet18": (128, 512)}
ROUNDS = 3
BY_N = (1_000, 3_000, 10_000, 30_000, 100_000)
BY_NETWORK = ("small-cnn", "preact-resnet18", "resnet34-cifar", "vgg19-bn-64")


def epoch(args: argparse.Namespace) -> None:
    """Print images/s of one epoch with its test, and the ratio to the script's."""
    peak = matrix_peak(args.device)
    print(f"\nMeasured bf16 matrix peak: {peak / 1e12:.2f} T operations/s\n")
    print(
        "| network | N | script, images/s | float32 | bf16 | ratio float32 | ratio bf16 | of peak |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for network, (batch, enough) in NETWORKS.items():
        n = args.n or enough
        train, test = cifar_size(args.data_dir, n, n // 5)
        common = (network, train, test, batch, 2, args.device)
        ways: dict[str, Callable[[], float]] = {
            "script": lambda common=common: baseline_epochs(*common).epoch_s[1],
            "float32": lambda common=common: _in("float32", common),
            "bf16": lambda common=common: _in("bfloat16", common),
        }
        if args.device != "cpu":
            ways["deterministic"] = lambda common=common: nlbench_epochs(
                *common, deterministic=True
            )[0][1]
        seconds = _alternating(ways)
        speed = {way: n / s for way, s in seconds.items()}
        used = speed["bf16"] * operations_per_image(network) / peak
        print(
            f"| {network} | {n} | {speed['script']:.0f} | {speed['float32']:.0f} | "
            f"{speed['bf16']:.0f} | {speed['float32'] / speed['script']:.2f} | "
            f"{speed['bf16'] / speed['script']:.2f} | {used:.0%} |"
        )
        if "deterministic" in seconds:
            slower = seconds["deterministic"] / seconds["bf16"]
            print(f"| {network}, `--deterministic` | {n} | | | | {slower:.2f} x the time | | |")


def _in(precision: str, common: tuple) -> float:
    with environment(NLBENCH_PRECISION=precision):
        return nlbench_epochs(*common)[0][1]


def _alternating(ways: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Return the median seconds of each way, all measured in every round."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, measure in ways.items():
            seconds[way].append(measure())
    return {way: statistics.median(times) for way, times in seconds.items()}


def threads(args: argparse.Namespace) -> None:
    """Print seconds of an epoch on one thread and on all, for small and for larger data."""
    every = torch.get_num_threads()
    print(f"\n| network | N | side | 1 thread | {every} threads | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for network, n, side in (
        ("small-cnn", 1600, 8),
        ("small-cnn", 1024, 32),
        ("small-cnn", 5120, 32),
        ("preact-resnet18", 256, 32),
    ):
        train, test = cifar_size(None, n, n // 10, side)

        def measure(
            count: int, common: tuple = (network, train, test, NETWORKS[network][0], 2, "cpu")
        ) -> float:
            torch.set_num_threads(count)
            return nlbench_epochs(*common)[0][1]

        found = _alternating({"one": lambda m=measure: m(1), "all": lambda m=measure: m(every)})
        print(
            f"| {network} | {n} | {side} | {found['one']:.2f} s | {found['all']:.2f} s | "
            f"{found['one'] / found['all']:.2f} |"
        )
    torch.set_num_threads(every)


def shares(args: argparse.Namespace) -> None:
    """Print where the CPU time of an epoch goes."""
    cases = {
        "digits, small-cnn": ("small-cnn", 8, 64, 40),
        "CIFAR, small-cnn": ("small-cnn", 32, 64, 12),
        "CIFAR, PreAct ResNet-18": ("preact-resnet18", 32, 128, 2),
    }
    found = {name: shares_of_time(*case) for name, case in cases.items()}
    kinds = sorted(set().union(*found.values()), key=lambda k: -found["CIFAR, small-cnn"].get(k, 0))
    print("\n| share of CPU time | " + " | ".join(found) + " |")
    print("| --- |" + " ---: |" * len(found))
    for kind in kinds:
        print(f"| {kind} | " + " | ".join(f"{x.get(kind, 0):.0%}" for x in found.values()) + " |")


def accuracy(args: argparse.Namespace) -> None:
    """Print the last epoch's test accuracy over seeds, of the script and of nlbench."""
    batch, _ = NETWORKS[args.network]
    n, n_epochs = args.n or 5000, args.epochs
    train, test = cifar_size(args.data_dir, n, args.n_test)
    found: dict[str, list[float]] = {"script": [], "nlbench": []}
    for seed in range(args.seeds):
        common = (args.network, train, test, batch, n_epochs, args.device, seed)
        found["script"].append(baseline_epochs(*common).test_accuracy[-1])
        found["nlbench"].append(float(nlbench_epochs(*common)[1][-1]))
    print(f"\n{args.network}: {n} images, {n_epochs} epochs, {args.n_test} test images\n")
    print("| | mean test accuracy | SD | by seed |\n| --- | ---: | ---: | --- |")
    for way, values in found.items():
        shown = ", ".join(f"{100 * value:.1f}" for value in values)
        mean, deviation = 100 * statistics.mean(values), 100 * statistics.stdev(values)
        print(f"| {way} | {mean:.2f} % | {deviation:.2f} | {shown} |")


def scaling(args: argparse.Namespace) -> None:
    """Print and draw seconds and memory of an epoch against N and against the network's size."""
    by_n = [_alone("small-cnn", n, 32, 64, args.device) for n in BY_N]
    print("\n| N, small-cnn, 32 x 32 | seconds per epoch | peak MiB |\n| ---: | ---: | ---: |")
    for n, (seconds, memory, _) in zip(BY_N, by_n, strict=True):
        print(f"| {n} | {seconds:.2f} | {memory:.0f} |")
    by_network = [_alone(name, 256, 32, 128, args.device) for name in BY_NETWORK]
    print("\n| network | million weights | seconds per 1000 images | peak MiB |")
    print("| --- | ---: | ---: | ---: |")
    for name, (seconds, memory, weights) in zip(BY_NETWORK, by_network, strict=True):
        print(f"| {name} | {weights:.2f} | {seconds / 0.256:.2f} | {memory:.0f} |")
    if args.plot:
        _draw(args.plot, by_n, by_network)


def _alone(*case: object) -> list[float]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(seconds_and_memory, *case).result()  # type: ignore[arg-type]


def together(args: argparse.Namespace) -> None:
    """Print seconds of several seeds on digits' size, one after the other and in processes."""
    n_processes = 2 if args.device == "cpu" else 4
    work = [(seed, args.device) for seed in range(2 * n_processes)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        list(pool.map(one_seed, work))  # starts the processes
        found = _alternating(
            {
                "one": lambda: _seconds(lambda: [one_seed(each) for each in work]),
                "all": lambda: _seconds(lambda: list(pool.map(one_seed, work))),
            }
        )
    print(f"\n| {len(work)} seeds, digits' size | seconds |\n| --- | ---: |")
    print(f"| one after the other | {found['one']:.1f} |")
    print(f"| in {n_processes} processes | {found['all']:.1f} |")
    print(f"| ratio | {found['one'] / found['all']:.2f} |")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _draw(path: Path, by_n: list[list[float]], by_network: list[list[float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    weights = [row[2] for row in by_network]
    left.loglog(BY_N, [row[0] for row in by_n], "o-", label="seconds per epoch")
    left.loglog(BY_N, [row[1] for row in by_n], "s--", label="peak MiB")
    left.set(xlabel="training images (32 x 32, small-cnn)", title="Against N")
    right.loglog(weights, [row[0] / 0.256 for row in by_network], "o", label="s / 1000 images")
    right.loglog(weights, [row[1] for row in by_network], "s", label="peak MiB")
    for name, (seconds, _, weight) in zip(BY_NETWORK, by_network, strict=True):
        right.annotate(name, (weight, seconds / 0.256), xytext=(-8, 8), textcoords="offset points",
                       ha="right" if weight > 1 else "left", fontsize=8)  # fmt: skip
    right.set(xlabel="million weights", title="Against the network's size")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


PARTS = {
    "shares": shares,
    "epoch": epoch,
    "threads": threads,
    "together": together,
    "scaling": scaling,
}


def main(arguments: list[str]) -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser("performance.py training", description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=[*PARTS, "accuracy"], help="all where left out")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--data-dir", type=Path, help="where CIFAR-10 lies; else random pixels")
    parser.add_argument("--n", type=int, default=0, help="training images of `epoch`, `accuracy`")
    parser.add_argument("--n-test", type=int, default=2000, help="test images of `accuracy`")
    parser.add_argument("--network", default="small-cnn", choices=NETWORKS)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plot", type=Path, help="picture of `scaling`")
    args = parser.parse_args(arguments)
    # More loader workers than cores is what scripts have; torch says so every time.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    load = f"{os.getloadavg()[0]:.1f}"
    device = device_name(torch.device(args.device))
    print(f"{device}; {os.cpu_count()} cores; torch {torch.__version__}; load {load}")
    for name, part in {**PARTS, "accuracy": accuracy}.items():
        if name == args.part or (args.part is None and name in PARTS):
            part(args)
