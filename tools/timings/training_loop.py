"""Measurements behind `performance.py training`: epochs, operations, memory, matrix peak."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from nlbench.data.images import ImageSource
from nlbench.machine import PeakMemory, deterministic_algorithms
from nlbench.plugins.registry import make_component
from nlbench.selector import Selection
from nlbench.training.cross_entropy import CrossEntropy
from nlbench.training.networks import make_network
from nlbench.training.task import TrainingTask

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "benchmarks"))
from baseline_training import Baseline

Part = tuple[Tensor, Tensor]


def cifar_size(data_dir: Path | None, n: int, n_test: int, side: int = 32) -> tuple[Part, Part]:
    """Return training and test part, (N, 3, side, side) uint8 and labels.

    Real CIFAR-10 where a folder is given, else random pixels, which take as long.
    """
    if data_dir is None:
        shape = (n + n_test, 3, side, side)
        images = torch.randint(0, 256, shape, dtype=torch.uint8)
        labels = torch.arange(n + n_test) % 10
        return (images[:n], labels[:n]), (images[n:], labels[n:])
    data = make_component("datasets", "cifar10", {"n_train": n}).load(data_dir)
    return (
        _part(data.train_images, torch.from_numpy(data.train_labels), n),
        _part(data.test_images, torch.from_numpy(data.test_labels), n_test),
    )


def _part(images: ImageSource, labels: Tensor, n: int) -> Part:
    # Drawn, not the first n: published files may be sorted by class.
    drawn = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:n]
    missing = set(labels.tolist()) - set(labels[drawn].tolist())
    if missing:
        raise SystemExit(f"{n} images are too few: none of classes {sorted(missing)}.")
    return images.load(drawn), labels[drawn]


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for a while; "" unsets."""
    before = {name: os.environ.get(name, "") for name in variables}
    try:
        os.environ.update(variables)
        yield
    finally:
        os.environ.update(before)


def baseline_epochs(
    network: str, train: Part, test: Part, batch: int, epochs: int, device: str, seed: int = 0
) -> Baseline:
    """Train as scripts do; the answer has seconds and accuracy by epoch."""
    baseline = Baseline(network, epochs=epochs, batch_size=batch, seed=seed, device=device)
    baseline.train(train, test)
    return baseline


def nlbench_epochs(
    network: str,
    train: Part,
    test: Part,
    batch: int,
    epochs: int,
    device: str,
    seed: int = 0,
    deterministic: bool = False,
) -> tuple[list[float], list[float | None]]:
    """Train as `nlbench run` does; give seconds and test accuracy by epoch."""
    marks: list[float] = []
    place = torch.device(device)
    images, labels, test_images, test_labels = (x.to(place) for x in (*train, *test))
    keep = torch.ones(len(labels), dtype=torch.bool, device=place)
    task = TrainingTask(
        images=images,
        noisy_labels=labels,
        val_images=images[:0],
        val_labels=labels[:0],
        test_images=test_images,
        test_labels=test_labels,
        n_classes=10,
        selection=Selection(keep=keep, score=keep.double()),
        seed=seed,
        device=place,
        progress=lambda done, total: marks.append(time.perf_counter()),
    )
    trainer = CrossEntropy(epochs=1, batch_size=batch, network=network, augmentation="crop-flip")
    with deterministic_algorithms(place, deterministic):
        started = time.perf_counter()
        outcome = replace(trainer, epochs=epochs).train(task)
    seconds = [end - start for start, end in zip([started, *marks], marks, strict=False)]
    return seconds, outcome.curves["test_accuracy"]


def seconds_and_memory(network: str, n: int, side: int, batch: int, device: str) -> list[float]:
    """Return an epoch's seconds, its peak memory in MiB, and millions of weights.

    Without a test set; in a fresh process, so that nobody else's memory counts.
    """
    train, test = cifar_size(None, n, 1, side)
    memory = PeakMemory(torch.device(device))
    seconds, _ = nlbench_epochs(network, train, test, batch, 1, device)
    weights = sum(w.numel() for w in make_network(network, 3, 10, 0).parameters())
    return [seconds[0], memory.mib(), weights / 1e6]


def one_seed(seed_and_device: tuple[int, str]) -> None:
    """Train ten epochs at the size of digits, on one CPU thread as the runner does."""
    seed, device = seed_and_device
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    nlbench_epochs("small-cnn", *cifar_size(None, 1600, 160, 8), 64, 10, device, seed)
    torch.set_num_threads(n_threads)


KINDS = {
    "convolution": ("conv",),
    "normalisation": ("batch_norm",),
    "ReLU and pooling": ("threshold", "clamp", "relu", "pool"),
    "optimiser": ("fused_sgd", "foreach", "Optimizer"),
    "crop, mirror, to float": ("index", "gather", "pad", "div_", "sub_", "where", "randint"),
    "copies and casts": ("copy", "_to_copy"),
}


def shares_of_time(network: str, side: int, batch: int, n_steps: int) -> dict[str, float]:
    """Return the share of CPU time of each kind of operation in an epoch of `n_steps` steps."""
    train, test = cifar_size(None, batch * n_steps, batch, side)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        nlbench_epochs(network, train, test, batch, 1, "cpu")
    times: Counter[str] = Counter()
    for event in profiled.key_averages():
        kind = next(
            (k for k, words in KINDS.items() if any(word in event.key for word in words)),
            "Python, autograd, all else",
        )
        times[kind] += event.self_cpu_time_total
    return {kind: time / times.total() for kind, time in times.items()}


def matrix_peak(device: str, side: int = 2048) -> float:
    """Return the measured operations per second of bf16 matrix products: the best of ten."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in "ab")
    fastest = float("inf")
    for _ in range(10):
        synchronize(device)
        started = time.perf_counter()
        for _ in range(4):
            a @ b
        synchronize(device)
        fastest = min(fastest, time.perf_counter() - started)
    return 4 * 2 * side**3 / fastest


def synchronize(device: str) -> None:
    """Wait for the GPU, where there is one."""
    if device != "cpu":
        torch.cuda.synchronize()


def operations_per_image(network: str) -> float:
    """Return forward and backward operations per CIFAR-size image, as torch counts them."""
    model = make_network(network, 3, 10, 0)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 3, 32, 32)).sum().backward()
    return counter.get_total_flops() / 2
