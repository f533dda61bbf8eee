"""Small training tasks, for tests of trainers, networks and the runner."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlbench.selector import Selection
from nlbench.training.task import TrainingTask

CPU = torch.device("cpu")


def bright_and_dark(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Bright left half is class 0, bright right half is class 1."""
    labels = torch.arange(n) % 2
    images = torch.randint(0, 90, (n, 1, 8, 8), generator=seeded(seed))
    images[labels == 0, :, :, :4] += 150
    images[labels == 1, :, 2:6, 2:6] += 150
    return images.to(torch.uint8), labels


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def keep_only(n: int, kept: list[int], **parts: Any) -> Selection:
    keep = torch.zeros(n, dtype=torch.bool)
    keep[kept] = True
    return Selection(keep=keep, score=keep.double(), **parts)


def make_task(n: int = 128, **changes: Any) -> TrainingTask:
    images, labels = bright_and_dark(n, seed=1)
    test_images, test_labels = bright_and_dark(64, seed=2)
    content: dict[str, Any] = {
        "images": images,
        "noisy_labels": labels,
        "val_images": test_images[:16],
        "val_labels": test_labels[:16],
        "test_images": test_images,
        "test_labels": test_labels,
        "n_classes": 2,
        "selection": keep_only(n, list(range(n))),
        "seed": 0,
        "device": CPU,
    }
    return TrainingTask(**{**content, **changes})
