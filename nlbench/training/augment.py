"""Augmentation of whole batches on the device; every draw takes a generator."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from nlbench.training.crops import random_crop, random_resized_crop
from nlbench.training.evaluate import as_input
from nlbench.training.policies import Policy, apply_policy

Geometric = Literal["none", "shift", "crop-flip"]
Augmentation = Literal[Geometric, Policy]

_PAD_SHARE = 8  # a crop moves by up to 1/8 of the side: 4 pixels at 32, 8 at 64, 1 at 8


def augmented_input(
    images: Tensor,
    kind: Augmentation,
    generator: torch.Generator,
    side: int | None = None,
    resized: bool = False,
) -> Tensor:
    """Return what a network trains on, from the pixels of a batch.

    Args:
        images: (B, C, H, W) uint8.
        kind: As in `augment`, or a policy of `policies` after crop and flip. Borders that a crop
            opens are black.
        generator: On the CPU.
        side: What the network sees of larger images: a part of this side at random, instead of a
            zero-padded shift. ``"none"`` leaves the images as they are.
        resized: Whether that part is a random box scaled to the side (`random_resized_crop`).

    Returns:
        (B, C, H, W) float, mean about 0; H = W = `side` where it is not None.
    """
    geometric, policy = _parts(kind)
    if geometric != "none" and (side is not None or resized):
        side = images.shape[-1] if side is None else side
        mirror = geometric == "crop-flip"
        if resized:
            images = random_resized_crop(images, side, generator)
            images = _mirrored(images, generator) if mirror else images
        else:
            images = random_crop(images, side, generator, mirror)
    else:
        images = augment(images, geometric, generator)
    if policy is not None:
        images = apply_policy(images, policy, generator)
    return as_input(images)


def _parts(kind: Augmentation) -> tuple[Geometric, Policy | None]:
    """Return the crop, and the policy that follows it."""
    if kind == "none" or kind == "shift" or kind == "crop-flip":
        return kind, None
    return "crop-flip", kind


def augment(batch: Tensor, kind: Geometric, generator: torch.Generator) -> Tensor:
    """Return a shifted and mirrored copy of a batch, black where a shift leaves the image.

    Args:
        batch: (B, C, H, H) uint8.
        kind: ``"shift"``: zero-pad and crop at random; ``"crop-flip"``: the same and mirror half
            of the images; ``"none"``.
        generator: On the CPU, so that every device draws the same numbers.

    Returns:
        (B, C, H, W).
    """
    if kind == "none":
        return batch
    width = batch.shape[-1]
    pad = max(1, width // _PAD_SHARE)
    padded = functional.pad(batch, (pad, pad, pad, pad))
    return random_crop(padded, width, generator, mirror=kind == "crop-flip")


def _mirrored(batch: Tensor, generator: torch.Generator) -> Tensor:
    uniform = torch.rand(len(batch), generator=generator).to(batch.device, non_blocking=True)
    return torch.where(uniform[:, None, None, None] < 0.5, batch.flip(3), batch)
