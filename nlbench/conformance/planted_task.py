"""A training task small enough for a check: bright and dark squares, some labels wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nlbench.seeds import derive_seed
from nlbench.selector import Selection
from nlbench.training.task import TrainingTask

N_CLASSES = 3
N_TRAIN, N_TEST, N_VAL = 96, 60, 24
NOISE_RATE = 0.2
# Settings of the check, for trainers that have them; everything else is the trainer's default.
SETTINGS: dict[str, Any] = {
    "epochs": 6, "batch_size": 16, "lr": 0.05, "network": "small-cnn", "augmentation": "none",
}  # fmt: skip


def planted_task(**changes: Any) -> TrainingTask:
    """Return a task on which a small network learns in a few epochs.

    Args:
        changes: Fields of the task to replace.
    """
    images, labels = planted_images(N_TRAIN, "train")
    val_images, val_labels = planted_images(N_VAL, "val")
    test_images, test_labels = planted_images(N_TEST, "test")
    keep = torch.ones(N_TRAIN, dtype=torch.bool)
    task = TrainingTask(
        images=images,
        noisy_labels=corrupted(labels),
        val_images=val_images,
        val_labels=val_labels,
        test_images=test_images,
        test_labels=test_labels,
        n_classes=N_CLASSES,
        selection=Selection(keep=keep, score=keep.float()),
        seed=0,
        device=torch.device("cpu"),
    )
    return replace(task, **changes)


def planted_images(n: int, part: str) -> tuple[Tensor, Tensor]:
    """Return (n, 1, 8, 8) uint8 images and their labels: which third of the rows is bright."""
    draws = torch.Generator().manual_seed(derive_seed("planted task", part, 0))
    labels = torch.arange(n) % N_CLASSES
    images = torch.randint(0, 90, (n, 1, 8, 8), generator=draws)
    for k in range(N_CLASSES):
        rows = slice(3 * k, 3 * k + 2)
        images[labels == k, :, rows] += 150
    return images.to(torch.uint8), labels


def corrupted(labels: Tensor) -> Tensor:
    """Return labels, every fifth of which names the next class."""
    noisy = labels.clone()
    noisy[:: round(1 / NOISE_RATE)] += 1
    return noisy % N_CLASSES
