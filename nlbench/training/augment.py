"""Augmentation of whole batches on the device; every draw takes a generator."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from nlbench.training.loop import as_input
from nlbench.training.policies import Policy, apply_policy

Geometric = Literal["none", "shift", "crop-flip"]
Augmentation = Literal[Geometric, Policy]

_PAD_SHARE = 8  # a crop moves by up to 1/8 of the side: 4 pixels at 32, 8 at 64, 1 at 8


def augmented_input(images: Tensor, kind: Augmentation, generator: torch.Generator) -> Tensor:
    """Give what a network trains on, from the pixels of a batch.

    Args:
        images: (B, C, H, W) uint8.
        kind: As in `augment`, or a policy: ``"autoaugment-cifar10"``, ``"autoaugment-imagenet"``,
            ``"randaugment"``, each after crop and flip. New borders are black in a policy, where
            pixels are still uint8, and grey otherwise. Crops keep the size: the random-resized
            crop of ImageNet protocols is not there.
        generator: On the CPU.

    Returns:
        (B, C, H, W) float, mean about 0.
    """
    if kind == "none" or kind == "shift" or kind == "crop-flip":
        return augment(as_input(images), kind, generator)
    return as_input(apply_policy(augment(images, "crop-flip", generator), kind, generator))


def augment(batch: Tensor, kind: Geometric, generator: torch.Generator) -> Tensor:
    """Give a shifted and mirrored copy of a batch, zero where a shift leaves the image.

    Args:
        batch: (B, C, H, W).
        kind: ``"shift"``: zero-pad and crop at random; ``"crop-flip"``: the same and mirror half
            of the images; ``"none"``.
        generator: On the CPU, so that every device draws the same numbers.

    Returns:
        (B, C, H, W).
    """
    if kind == "none":
        return batch
    n, channels, height, width = batch.shape
    pad = max(1, width // _PAD_SHARE)
    corner = torch.randint(0, 2 * pad + 1, (2, n), generator=generator)
    top, left = corner.to(batch.device, non_blocking=True)
    rows = top[:, None] + torch.arange(height, device=batch.device)
    columns = left[:, None] + torch.arange(width, device=batch.device)
    if kind == "crop-flip":
        drawn = torch.rand(n, generator=generator).to(batch.device, non_blocking=True)
        columns = torch.where(drawn[:, None] < 0.5, columns.flip(1), columns)
    # Crop and mirror in one gather, which is three times as fast as one after the other.
    position = rows[:, :, None] * (width + 2 * pad) + columns[:, None, :]
    padded = functional.pad(batch, (pad, pad, pad, pad)).flatten(2)
    return padded.gather(2, position.reshape(n, 1, -1).expand(n, channels, -1)).view(batch.shape)
