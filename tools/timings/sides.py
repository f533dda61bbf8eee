"""Section `sides` of performance.py: images a second and accuracy by an encoder's input side."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nlbench.config.recipe_files import load_recipe
from nlbench.data.cifar import Cifar10
from nlbench.data.images import TensorImages
from nlbench.encoders.efficientnet_lite0 import EfficientNetLite0
from nlbench.encoders.extract import extract
from nlbench.noise.kinds import symmetric
from nlbench.plugins.registry import make_component
from nlbench.selector import Selection
from nlbench.training.task import TrainingTask
from timings.timing import machine

N_TRAIN, N_TEST, NOISE_RATE, SEEDS = 2000, 1000, 0.4, range(3)
CPU = torch.device("cpu")


def run(arguments: argparse.Namespace) -> None:
    """Embed CIFAR-10 at each side and train linear heads: clean, noisy, and on the clean ones."""
    torch.set_num_threads(1)
    print(machine("cpu"))
    data = Cifar10(n_train=N_TRAIN).load(Path(arguments.data_dir))
    rows = np.sort(np.random.default_rng(0).choice(len(data.test_labels), N_TEST, replace=False))
    pixels = torch.cat([data.train_images.images, data.test_images.images[torch.from_numpy(rows)]])
    labels, test_labels = data.train_labels, torch.from_numpy(data.test_labels[rows])
    print("\n| side | images/s | clean | 40 % noise | its clean ones |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for side in arguments.sides:
        encoder, started = EfficientNetLite0(str(side)), time.perf_counter()
        whole = [torch.arange(len(pixels))]
        parts = extract(TensorImages(pixels), encoder, CPU, "float32", whole)
        embeddings = torch.cat(list(parts))[:, :, None, None]
        speed = len(pixels) / (time.perf_counter() - started)
        cells = zip(*(_heads(embeddings, labels, test_labels, seed) for seed in SEEDS), strict=True)
        shown = " | ".join(f"{100 * statistics.mean(cell):.1f}" for cell in cells)
        print(f"| {side} | {speed:.0f} | {shown} |", flush=True)


def _heads(
    embeddings: Tensor, labels: np.ndarray, test_labels: Tensor, seed: int
) -> tuple[float, float, float]:
    """Return accuracy after training on clean labels, on noisy ones, on the right ones of these."""
    clean = torch.from_numpy(labels)
    noisy = torch.from_numpy(symmetric(labels, 10, NOISE_RATE, np.random.default_rng(seed))[0])
    everyone = torch.ones(N_TRAIN, dtype=torch.bool)
    trained = [(clean, everyone), (noisy, everyone), (noisy, noisy == clean)]
    accuracies = [_accuracy(embeddings, y, keep, test_labels, seed) for y, keep in trained]
    return accuracies[0], accuracies[1], accuracies[2]


def _accuracy(
    embeddings: Tensor, labels: Tensor, keep: Tensor, test_labels: Tensor, seed: int
) -> float:
    settings = dict(load_recipe("features/cifar10")["trainer"])
    settings.pop("name")
    train, test = embeddings[:N_TRAIN], embeddings[N_TRAIN:]
    task = TrainingTask(
        images=train, noisy_labels=labels, val_images=train[:0], val_labels=labels[:0],
        test_images=test, test_labels=test_labels, n_classes=10,
        selection=Selection(keep=keep, score=keep.float()), seed=seed, device=CPU,
    )  # fmt: skip
    outcome = make_component("trainers", "cross-entropy", settings).train(task)
    return float(outcome.curves["test_accuracy"][-1] or 0.0)
