"""CLIPCleaner's augmentation beside Pillow, and its distributions beside their definitions.

The textbook policies and operations fail each of these distributions.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from nlbench.training.clipcleaner_operations import CLIPCLEANER_OPERATIONS, CUTOUT, cut_out
from nlbench.training.image_operations import operate
from nlbench.training.policies import (
    CIFAR10,
    NAMES,
    Policy,
    apply_policy,
    draw_operations,
    parse_policy,
)

SIDE = 32
GREY = (128, 128, 128)
GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
ODDS: Policy = "randaugment-clipcleaner"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int) -> Tensor:
    """Smooth pictures without grey, black or white, so that every operation changes them."""
    coarse = torch.rand(n, 3, 6, 6, generator=seeded(n)) * 90 + 140
    smooth = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    return smooth.round().to(torch.uint8)


def carried_out(name: str, images: Tensor, amount: float) -> Tensor:
    return operate(name, images, torch.full((len(images),), amount), CLIPCLEANER_OPERATIONS)


def by_pillow(name: str, image: Tensor, amount: float) -> Tensor:
    """Return one image after an operation, written out with Pillow from its definition."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    shear, shift = 0.3 * amount, 150 / 331 * SIDE * amount
    maps = {
        "ShearX": (1, shear, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, shear, 1, 0),
        "TranslateX": (1, 0, shift, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, shift),
    }
    if name == "Rotate":
        picture = picture.rotate(30 * abs(amount), fillcolor=GREY)
    elif name == "Solarize":
        picture = ImageOps.solarize(picture, 256 * (1 - abs(amount)))
    else:
        smooth = Image.Resampling.BICUBIC if "Shear" in name else Image.Resampling.NEAREST
        picture = picture.transform(
            picture.size, Image.Transform.AFFINE, maps[name], smooth, fillcolor=GREY
        )
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@pytest.mark.parametrize("tenths", [-9, -5, -1, 3, 7, 10])
@pytest.mark.parametrize("name", [*GEOMETRIC, "Solarize"])
def test_operations_are_pillows(name: str, tenths: int) -> None:
    images = pictures(8)
    result = carried_out(name, images, tenths / 10)
    expected = torch.stack([by_pillow(name, image, tenths / 10) for image in images])
    # A point on the line between two pixels may go to either.
    assert ((result.int() - expected.int()).abs() <= 1).double().mean() > 0.998


def bright_dot() -> Tensor:
    image = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    image[:, :, 14:18, 26:30] = 255
    return image


@pytest.mark.parametrize("amount", [-1.0, 1.0])
def test_rotations_turn_counter_clockwise_whatever_was_drawn(amount: float) -> None:
    rows, columns = (carried_out("Rotate", bright_dot(), amount)[0, 0] > 200).nonzero().T
    # 30 degrees: from 12 pixels to the right of the centre to 6 above it.
    assert float(rows.double().mean()) == pytest.approx(15.5 - 6, abs=0.6)
    assert float(columns.double().mean()) == pytest.approx(15.5 + 12 * math.cos(math.pi / 6), abs=1)


def share_of(colour: tuple[int, ...], images: Tensor) -> float:
    value = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
    return float((images == value).all(dim=1).double().mean())


def new_area(name: str, amount: float) -> float:
    """Return the share of a square that comes from outside of it."""
    if name == "Rotate":
        angle = math.radians(30 * amount)
        return 1 - 2 / (1 + math.cos(angle) + math.sin(angle))
    # A shear moves a row by its height, half the side on average.
    return (0.3 / 2 if "Shear" in name else 150 / 331) * amount


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("amount", [2 / 9, 1.0])
def test_what_an_image_loses_comes_back_grey(name: str, amount: float) -> None:
    assert share_of(GREY, carried_out(name, pictures(1), amount)) == pytest.approx(
        new_area(name, amount), abs=0.025
    )


@pytest.mark.parametrize(
    "policy",
    [
        "autoaugment-cifar10-clipcleaner",
        "autoaugment-imagenet-clipcleaner",
        "randaugment-clipcleaner",
    ],
)
def test_new_pixels_of_a_whole_policy_are_grey(policy: Any) -> None:
    """Images that meet one geometric operation and nothing else show its area in grey."""
    n = 6000
    images = pictures(1).expand(n, -1, -1, -1)
    result = apply_policy(images, policy, seeded(3))
    names, amounts, _ = draw_operations(policy, n, seeded(3))
    alone = (names == NAMES.index("Identity")).sum(dim=0) == 1
    expected = torch.zeros(n)
    for stage in range(2):
        for i in (alone & (names[stage] != NAMES.index("Identity"))).nonzero().flatten().tolist():
            name = NAMES[int(names[stage, i])]
            if name in GEOMETRIC:
                expected[i] = new_area(name, abs(float(amounts[stage, i])))
    grey = share_of(GREY, result[alone])
    assert grey == pytest.approx(float(expected[alone].mean()), abs=0.003)
    assert grey > 0.01
    assert share_of((0, 0, 0), result[alone]) == 0


def test_uda_leaves_a_quarter_of_the_images_alone() -> None:
    """1/2 for either operation, Posterize by no bit, and Invert twice."""
    images = pictures(1).expand(8000, -1, -1, -1)
    unchanged = (apply_policy(images, ODDS, seeded()) == images).flatten(1).all(dim=1)
    no_effect = 0.5 + 0.5 / (15 * 9)
    expected = no_effect**2 + 0.25 / 15**2
    assert float(unchanged.double().mean()) == pytest.approx(expected, abs=0.015)


def test_uda_draws_fifteen_operations_and_nine_magnitudes_alike() -> None:
    names, amounts, places = draw_operations(ODDS, 30_000, seeded())
    counts = Counter(NAMES[code] for code in names.flatten().tolist())
    assert counts.pop("Identity") / 60_000 == pytest.approx(0.5, abs=0.01)
    assert set(counts) == set(NAMES) - {"Identity"}
    assert {"Invert", CUTOUT} < set(counts)
    for count in counts.values():
        assert count / 60_000 == pytest.approx(0.5 / 15, abs=0.003)
    magnitudes = torch.bincount((amounts.abs() * 9).round().long().flatten(), minlength=10) / 60_000
    expected = torch.tensor([0.0] + [1 / 9] * 9)
    torch.testing.assert_close(magnitudes, expected, atol=0.006, rtol=0)
    assert float((amounts > 0).double().mean()) == pytest.approx(0.5, abs=0.01)
    assert bool(((places >= 0) & (places < 1)).all())


def test_cutout_covers_a_square_of_up_to_twenty_pixels_around_its_place() -> None:
    images = pictures(9)
    amounts = torch.arange(1, 10) / 9
    after = cut_out(images, amounts, torch.full((9, 2), 0.5))
    # Sides of 20 m / 9 pixels, rounded, then to the even number below.
    assert [round(share_of((125, 122, 113), image[None]) * SIDE**2) for image in after] == [
        side**2 for side in (2, 4, 6, 8, 10, 12, 16, 18, 20)
    ]
    corner = cut_out(images[:1], torch.ones(1), torch.tensor([[0.0, 0.999]]))
    cut = (corner[0, 0] == 125).nonzero()
    assert (cut[:, 0].max(), cut[:, 1].min()) == (9, 21)
    grey = cut_out(images[:1, :1], torch.ones(1), torch.tensor([[0.5, 0.5]]))
    assert int((grey == 120).sum()) == 400


def test_clipcleaners_cifar10_table_equalises_more_often() -> None:
    """One probability of its sub-policies is 0.8 where the paper has 0.6."""
    names = draw_operations("autoaugment-cifar10-clipcleaner", 60_000, seeded()).names
    textbook = draw_operations("autoaugment-cifar10", 60_000, seeded()).names
    code = NAMES.index("Equalize")
    more = (names == code).double().mean() - (textbook == code).double().mean()
    # The same draws, so that nothing but the table differs: 0.2 of 1 in 25 rows, in one of two.
    assert float(more) == pytest.approx(0.2 / 25 / 2, abs=0.0005)
    assert len(parse_policy(CIFAR10)) == 25
