"""AutoAugment and RandAugment: torchvision's tables and operations, our draws."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from nlbench.training.augment import Augmentation, augment, augmented_input
from nlbench.training.clipcleaner_operations import CLIPCLEANER_OPERATIONS, CUTOUT, cut_out
from nlbench.training.evaluate import as_input
from nlbench.training.image_operations import OPERATIONS, operate
from nlbench.training.policies import (
    CIFAR10,
    CLIPCLEANER_CIFAR10,
    IMAGENET,
    NAMES,
    Policy,
    apply_policy,
    draw_operations,
    parse_policy,
)

POLICIES = get_args(Policy)
OURS = list(OPERATIONS)
GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 16, channels: int = 3, side: int = 32) -> Tensor:
    """Smooth pictures of different brightness: random dots hide a wrong direction."""
    coarse = torch.rand(n, channels, 6, 6, generator=seeded(n)) * 255
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return smooth.round().to(torch.uint8)


@pytest.mark.parametrize(
    ("table", "policy"),
    [(CIFAR10, v2.AutoAugmentPolicy.CIFAR10), (IMAGENET, v2.AutoAugmentPolicy.IMAGENET)],
)
def test_the_tables_are_torchvisions(table: str, policy: Any) -> None:
    expected = v2.AutoAugment(policy)._policies
    assert [tuple(row) for row in parse_policy(table)] == expected


def by_torchvision(name: str, image: Tensor, amount: float) -> Tensor:
    """One image through torchvision's functional, written out per operation."""
    height, width = image.shape[-2:]
    shear = math.degrees(math.atan(0.3 * amount))
    result: Tensor = {
        "Identity": lambda: image,
        "ShearX": lambda: functional.affine(image, 0.0, [0, 0], 1.0, [shear, 0.0], center=[0, 0]),
        "ShearY": lambda: functional.affine(image, 0.0, [0, 0], 1.0, [0.0, shear], center=[0, 0]),
        "TranslateX": lambda: functional.affine(
            image, 0.0, [int(150 / 331 * width * amount), 0], 1.0, [0.0, 0.0]
        ),
        "TranslateY": lambda: functional.affine(
            image, 0.0, [0, int(150 / 331 * height * amount)], 1.0, [0.0, 0.0]
        ),
        "Rotate": lambda: functional.rotate(image, 30.0 * amount),
        "Brightness": lambda: functional.adjust_brightness(image, 1 + 0.9 * amount),
        "Color": lambda: functional.adjust_saturation(image, 1 + 0.9 * amount),
        "Contrast": lambda: functional.adjust_contrast(image, 1 + 0.9 * amount),
        "Sharpness": lambda: functional.adjust_sharpness(image, 1 + 0.9 * amount),
        "Posterize": lambda: functional.posterize(image, 8 - round(4 * abs(amount))),
        "Solarize": lambda: functional.solarize(image, 255.0 * (1 - abs(amount))),
        "AutoContrast": lambda: functional.autocontrast(image),
        "Equalize": lambda: functional.equalize(image),
        "Invert": lambda: functional.invert(image),
    }[name]()
    return result


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [name for name in OURS if name not in GEOMETRIC])
def test_colour_operations_are_torchvisions_image_by_image(name: str, channels: int) -> None:
    images = pictures(channels=channels)
    amounts = torch.linspace(-1, 1, len(images))
    result = operate(name, images, amounts)
    expected = torch.stack(
        [by_torchvision(name, i, float(a)) for i, a in zip(images, amounts, strict=True)]
    )
    assert result.dtype == torch.uint8
    # One level of 255: torchvision cuts the fraction off where we round.
    assert int((result.int() - expected.int()).abs().max()) <= 1


@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometric_operations_are_torchvisions_up_to_direction(name: str) -> None:
    images = pictures(n=9)
    amounts = torch.linspace(-1, 1, 9)

    def distance(direction: int) -> float:
        pairs = zip(images, amounts, strict=True)
        expected = torch.stack([by_torchvision(name, i, direction * float(a)) for i, a in pairs])
        return float((operate(name, images, amounts).float() - expected.float()).abs().mean())

    # Directions are drawn alike. A pixel between two may be fetched from either.
    near, far = sorted((distance(1), distance(-1)))
    assert near < 3 < 10 < far


@pytest.mark.parametrize(("name", "entries"), [("ShearX", (0, 1)), ("ShearY", (1, 0))])
def test_shear_is_that_of_the_authors_code(name: str, entries: tuple[int, int]) -> None:
    image = pictures(n=1)
    matrix = np.eye(2, 3)
    matrix[entries] = 0.3 * 0.7
    pil = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    expected = np.asarray(
        pil.transform(pil.size, Image.Transform.AFFINE, matrix.flatten().tolist())
    )
    result = operate(name, image, torch.tensor([0.7]))[0].permute(1, 2, 0).numpy()
    assert (result == expected).mean() > 0.999


def test_a_translation_fetches_pixels_and_leaves_black() -> None:
    image = torch.arange(1, 17, dtype=torch.uint8).reshape(1, 1, 4, 4)
    moved = operate("TranslateX", image, torch.tensor([1.0]))
    assert moved[0, 0, 0].tolist() == [2, 3, 4, 0]
    moved = operate("TranslateY", image, torch.tensor([-1.0]))
    assert moved[0, 0, :, 0].tolist() == [0, 1, 5, 9]


@pytest.mark.parametrize("name", [*GEOMETRIC, "Brightness", "Color", "Contrast", "Sharpness"])
def test_no_amount_is_no_change(name: str) -> None:
    images = pictures(n=4)
    assert torch.equal(operate(name, images, torch.zeros(4)), images)


@pytest.mark.parametrize("name", OURS)
def test_operations_leave_their_input_alone(name: str) -> None:
    images = pictures(n=4)
    before = images.clone()
    operate(name, images, torch.full((4,), 0.5))
    assert torch.equal(images, before)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 8)])
def test_a_policy_is_repeatable_and_leaves_the_global_generator_alone(
    policy: Any, channels: int, side: int
) -> None:
    images = pictures(64, channels, side)
    before = torch.get_rng_state()
    one, again, other = (apply_policy(images, policy, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert (one.shape, one.dtype) == (images.shape, torch.uint8)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_image_goes_through_what_it_drew(policy: Any) -> None:
    images = pictures(n=48)
    result = apply_policy(images, policy, seeded(5))
    operations = CLIPCLEANER_OPERATIONS if policy.endswith("-clipcleaner") else OPERATIONS
    names, amounts, places = draw_operations(policy, 48, seeded(5))
    for i in range(48):
        image = images[i : i + 1]
        for stage in range(2):
            name, amount = NAMES[int(names[stage, i])], amounts[stage, i : i + 1]
            if name == CUTOUT:
                image = cut_out(image, amount, places[stage, i : i + 1])
            else:
                image = operate(name, image, amount, operations)
        assert torch.equal(result[i], image[0])


def drawn(policy: Any, n: int = 40_000) -> Counter[tuple[str, str]]:
    names = draw_operations(policy, n, seeded()).names
    return Counter((NAMES[a], NAMES[b]) for a, b in names.T.tolist())


@pytest.mark.parametrize(
    ("policy", "table"),
    [
        ("autoaugment-cifar10", CIFAR10),
        ("autoaugment-imagenet", IMAGENET),
        ("autoaugment-cifar10-clipcleaner", CLIPCLEANER_CIFAR10),
        ("autoaugment-imagenet-clipcleaner", IMAGENET),
    ],
)
def test_sub_policies_are_drawn_with_their_probabilities(policy: str, table: str) -> None:
    expected: Counter[tuple[str, str]] = Counter()
    rows = parse_policy(table)
    for (first, p, _), (second, q, _) in rows:
        for a, chance_a in ((first, p), ("Identity", 1 - p)):
            for b, chance_b in ((second, q), ("Identity", 1 - q)):
                expected[a, b] += chance_a * chance_b / len(rows)  # type: ignore[assignment]
    counts = drawn(policy)
    assert set(counts) <= {pair for pair, chance in expected.items() if chance > 0}
    for pair, chance in expected.items():
        assert counts[pair] / 40_000 == pytest.approx(chance, abs=0.012)


def test_randaugment_draws_all_operations_but_invert_alike() -> None:
    names, amounts, _ = draw_operations("randaugment", 14_000, seeded())
    counts = torch.bincount(names.flatten(), minlength=len(NAMES)) / 28_000
    assert float(counts[14:].sum()) == 0
    torch.testing.assert_close(counts[:14], torch.full((14,), 1 / 14), atol=0.006, rtol=0)
    assert sorted(set(amounts.flatten().tolist())) == pytest.approx([-0.3, 0.3])
    assert set(v2.RandAugment._AUGMENTATION_SPACE) == set(OURS) - {"Invert"}


def test_directions_are_drawn_alike() -> None:
    amounts = draw_operations("autoaugment-cifar10", 10_000, seeded()).amounts
    moved = amounts[amounts != 0]
    assert 0.48 < float((moved > 0).double().mean()) < 0.52


@pytest.mark.parametrize("kind", get_args(Augmentation))
def test_a_networks_input_is_the_augmented_batch(kind: Any) -> None:
    images = pictures(n=20)
    result = augmented_input(images, kind, seeded(2))
    assert (result.shape, result.dtype) == (images.shape, torch.float32)
    assert float(result.min()) >= -1
    assert float(result.max()) <= 1
    if kind in POLICIES:
        generator = seeded(2)
        cropped = augment(images, "crop-flip", generator)
        expected = as_input(apply_policy(cropped, kind, generator))
    else:
        expected = as_input(augment(images, kind, seeded(2)))
    assert torch.equal(result, expected)


@pytest.mark.parametrize(("side", "pad"), [(32, 4), (64, 8)])
def test_crops_move_by_an_eighth_of_the_side(side: int, pad: int) -> None:
    point = torch.zeros(4000, 1, side, side, dtype=torch.uint8)
    point[:, :, side // 2, side // 2] = 255
    moved = augment(point, "shift", seeded()).nonzero()[:, 2:] - side // 2
    assert (int(moved.min()), int(moved.max())) == (-pad, pad)


@pytest.mark.gpu
@pytest.mark.parametrize("policy", POLICIES)
def test_policies_give_the_same_pixels_on_a_gpu(policy: Any) -> None:
    images = pictures(n=128)
    on_gpu = apply_policy(images.cuda(), policy, seeded()).cpu()
    same = (on_gpu == apply_policy(images, policy, seeded())).double().mean()
    assert float(same) > 0.999
