"""AutoAugment and RandAugment: which operations each image of a batch goes through.

Papers: Cubuk et al., "AutoAugment: Learning Augmentation Strategies from Data", CVPR 2019 (arXiv
1805.09501), tables 7 and 9; Cubuk et al., "RandAugment", NeurIPS 2020 (arXiv 1909.13719).

Policies that end in "-clipcleaner" are those of CLIPCleaner's released code (arXiv 2408.10012): its
operations (`clipcleaner_operations`), one other probability in CIFAR-10's table, and a RandAugment
that goes back to UDA (Xie et al., NeurIPS 2020, arXiv 1904.12848): two of fifteen operations, each
carried out with probability 0.5 and a magnitude of 1 to 9 of 9, Invert and Cutout among them.

Every image draws its own sub-policy, as in the papers. torchvision's transforms draw one for all
images of a batch, from torch's global generator. Here all draws come from one generator at once,
and images that meet the same operation go through it together, each with its own amount: at most
30 calls a batch whatever its size. On one CPU core 128 images of 32 pixels take 5 ms, and 18 ms
through torchvision image by image; at 64 pixels 13 ms and 20 ms. Tests compare tables and
operations with torchvision's and Pillow's.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nlbench.training.clipcleaner_operations import CLIPCLEANER_OPERATIONS, CUTOUT, cut_out
from nlbench.training.image_operations import OPERATIONS, Operation, operate

Policy = Literal[
    "autoaugment-cifar10",
    "autoaugment-imagenet",
    "randaugment",
    "autoaugment-cifar10-clipcleaner",
    "autoaugment-imagenet-clipcleaner",
    "randaugment-clipcleaner",
]

NAMES = [*OPERATIONS, CUTOUT]
_IDENTITY = NAMES.index("Identity")
_N_RANDOM = 2  # RandAugment: operations per image
_RANDOM_AMOUNT = 9 / 30
_RANDOM_NAMES = [name for name in OPERATIONS if name != "Invert"]
_N_MAGNITUDES = 9
_CLIPCLEANER_CHANCE = 0.5
_CLIPCLEANER_NAMES = [name for name in NAMES if name != "Identity"]

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


CLIPCLEANER_CIFAR10 = CIFAR10.replace("Equalize 2, Equalize 6", "Equalize 2, Equalize 8")

_TABLES: dict[Policy, str] = {
    "autoaugment-cifar10": CIFAR10,
    "autoaugment-imagenet": IMAGENET,
    "autoaugment-cifar10-clipcleaner": CLIPCLEANER_CIFAR10,
    "autoaugment-imagenet-clipcleaner": IMAGENET,
}


class Draws(NamedTuple):
    """What n images go through, in two stages.

    Attributes:
        names: (2, n) positions in `NAMES`.
        amounts: (2, n) in [-1, 1], shares of the operations' ranges.
        places: (2, n, 2) in [0, 1), where Cutout cuts, down and across.
    """

    names: Tensor
    amounts: Tensor
    places: Tensor


def apply_policy(images: Tensor, policy: Policy, generator: torch.Generator) -> Tensor:
    """Return a uint8 batch, each image after the two operations it drew.

    Args:
        images: (B, C, H, W) uint8, C 1 or 3.
        policy: Which policy; ``"randaugment"`` is two operations of magnitude 9 of 30.
        generator: On the CPU, so that every device draws the same numbers.

    Returns:
        (B, C, H, W) uint8.
    """
    operations = CLIPCLEANER_OPERATIONS if policy.endswith("-clipcleaner") else OPERATIONS
    for stage in zip(*draw_operations(policy, len(images), generator), strict=True):
        images = _carried_out(images, operations, *stage)
    return images


def _carried_out(
    images: Tensor, operations: dict[str, Operation], names: Tensor, amounts: Tensor, places: Tensor
) -> Tensor:
    out = images.clone()
    for code, name in enumerate(NAMES):
        members = (names == code).nonzero().flatten()
        if name == "Identity" or not len(members):
            continue
        position = members.to(images.device, non_blocking=True)
        part, amount = images[position], amounts[members]
        if name == CUTOUT:
            part = cut_out(part, amount, places[members])
        else:
            part = operate(name, part, amount, operations)
        out.index_copy_(0, position, part)
    return out


def draw_operations(policy: Policy, n: int, generator: torch.Generator) -> Draws:
    """Return what n images go through."""
    direction = torch.randint(0, 2, (2, n), generator=generator) * 2 - 1
    nowhere = torch.zeros(2, n, 2)
    if policy == "randaugment":
        return Draws(_uniform(_RANDOM_NAMES, n, generator), _RANDOM_AMOUNT * direction, nowhere)
    if policy == "randaugment-clipcleaner":
        names = _uniform(_CLIPCLEANER_NAMES, n, generator)
        magnitude = torch.randint(1, _N_MAGNITUDES + 1, (2, n), generator=generator)
        applied = torch.rand(2, n, generator=generator) < _CLIPCLEANER_CHANCE
        places = torch.rand(2, n, 2, generator=generator)
        names = torch.where(applied, names, _IDENTITY)
        return Draws(names, magnitude / _N_MAGNITUDES * direction, places)
    codes, chances, amounts = _table(_TABLES[policy])
    row = torch.randint(0, len(codes), (n,), generator=generator)
    applied = torch.rand(2, n, generator=generator) < chances[row].T
    names = torch.where(applied, codes[row].T, _IDENTITY)
    return Draws(names, amounts[row].T * direction, nowhere)


def _uniform(names: list[str], n: int, generator: torch.Generator) -> Tensor:
    """Return (2, n) positions in `NAMES`, each of these names equally likely."""
    codes = torch.tensor([NAMES.index(name) for name in names])
    return codes[torch.randint(0, len(codes), (_N_RANDOM, n), generator=generator)]


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
    codes = torch.tensor([[NAMES.index(name) for name, _, _ in row] for row in rows])
    chances = torch.tensor([[chance for _, chance, _ in row] for row in rows])
    amounts = torch.tensor(
        [[(magnitude or 0) / _N_MAGNITUDES for _, _, magnitude in row] for row in rows]
    )
    return codes, chances, amounts
