"""Crops for networks that see less than the stored image: against torchvision, image by image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as reference

from nlbench.config.resolve import resolve
from nlbench.errors import ConfigError
from nlbench.plugins.registry import make_component
from nlbench.selector import Selection
from nlbench.training.augment import augmented_input
from nlbench.training.crops import (
    CentreCropped,
    draw_boxes,
    random_crop,
    random_resized_crop,
    resized_boxes,
)
from nlbench.training.evaluate import as_input
from nlbench.training.networks import Renormalised
from nlbench.training.task import TrainingTask


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, side: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, 3, side, side), generator=seeded(seed), dtype=torch.uint8)


def where_it_lies(part: Tensor, image: Tensor) -> list[tuple[int, int]]:
    side, room = part.shape[-1], image.shape[-1] - part.shape[-1] + 1
    return [
        (top, left)
        for top in range(room)
        for left in range(room)
        if torch.equal(image[:, top : top + side, left : left + side], part)
    ]


def test_a_random_crop_is_a_part_of_its_own_image_and_reaches_every_place() -> None:
    image = pictures(1, 7)[0]
    parts = random_crop(image.expand(300, -1, -1, -1), 5, seeded())
    places = [where_it_lies(part, image) for part in parts]
    assert all(len(each) == 1 for each in places)
    assert {each[0] for each in places} == {(i, j) for i in range(3) for j in range(3)}


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 30))
@settings(max_examples=60, deadline=None)
def test_boxes_are_resized_as_torchvision_does(seed: int, side: int, height: int) -> None:
    images, boxes = pictures(6, height, seed), draw_boxes(6, height, seeded(seed))
    parts = resized_boxes(images, boxes, side)
    for image, box, ours in zip(images, boxes.tolist(), parts, strict=True):
        theirs = reference.resized_crop(
            image.float(), *box, [side, side], InterpolationMode.BILINEAR, antialias=False
        )
        # Both round a value that differs in the last bits.
        assert (ours.float() - theirs).abs().max() <= 0.51


def test_boxes_are_drawn_as_torchvision_draws_them() -> None:
    n, height = 4000, 64
    ours = draw_boxes(n, height, seeded()).float()
    torch.manual_seed(0)
    transform = RandomResizedCrop(10, antialias=True)
    image = torch.zeros(3, height, height)
    drawn = [transform.make_params([image]) for _ in range(n)]
    theirs = torch.tensor([[d[k] for k in ("top", "left", "height", "width")] for d in drawn])
    assert bool(((ours[:, :2] + ours[:, 2:]) <= height).all())
    assert ours[:, :2].min() >= 0
    torch.testing.assert_close(ours.mean(0), theirs.float().mean(0), atol=0.8, rtol=0)
    torch.testing.assert_close(ours.std(0), theirs.float().std(0), atol=0.6, rtol=0)
    ratio = ours[:, 3] / ours[:, 2]
    assert 0.7 < float(ratio.min()) < 0.8
    assert 1.25 < float(ratio.max()) < 1.43


def test_where_no_box_fits_the_image_is_whole() -> None:
    assert draw_boxes(50, 1, seeded()).tolist() == [[0, 0, 1, 1]] * 50


@pytest.mark.parametrize("resized", [False, True])
@pytest.mark.parametrize("kind", ["shift", "crop-flip", "autoaugment-imagenet", "randaugment"])
def test_training_sees_the_input_size_and_draws_from_its_generator(
    kind: Any, resized: bool
) -> None:
    images = pictures(12, 20)
    first, again, other = (
        augmented_input(images, kind, seeded(seed), 16, resized) for seed in (1, 1, 2)
    )
    assert first.shape == (12, 3, 16, 16)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert -1 <= float(first.min()) < float(first.max()) <= 1


def test_crop_flip_mirrors_half_of_the_parts() -> None:
    image = pictures(1, 9)
    views = augmented_input(image.expand(400, -1, -1, -1), "crop-flip", seeded(), 8)
    plain, mirrored = (as_input(i)[0] for i in (image, image.flip(3)))
    straight = sum(bool(where_it_lies(view, plain)) for view in views)
    turned = sum(bool(where_it_lies(view, mirrored)) for view in views)
    assert straight + turned == 400
    assert 160 < straight < 240


def test_a_resized_crop_keeps_the_size_where_none_is_given() -> None:
    images = pictures(5, 12)
    assert augmented_input(images, "crop-flip", seeded(), None, True).shape == images.shape
    assert not torch.equal(random_resized_crop(images, 12, seeded()), images)


@pytest.mark.parametrize(("stored", "side"), [(256, 224), (320, 299), (8, 8), (9, 4)])
def test_evaluation_sees_the_centre(stored: int, side: int) -> None:
    images = torch.rand(2, 3, stored, stored, generator=seeded())
    seen = CentreCropped(nn.Identity(), side)(images)
    theirs = reference.center_crop(images, [side, side])
    if (stored - side) % 2 == 0:
        assert torch.equal(seen, theirs)
    assert seen.shape == theirs.shape
    assert torch.equal(CentreCropped(nn.Identity(), side)(seen), seen)


def test_pretrained_networks_see_their_own_mean_and_deviation() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = pictures(4, 6)
    expected = reference.normalize(images.float() / 255, list(mean), list(std))
    seen = Renormalised(nn.Identity(), mean, std)(as_input(images))
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)
    grey = Renormalised(nn.Identity(), mean, std)(as_input(images[:, :1]))
    assert grey.shape == (4, 1, 6, 6)


def edge_task(side: int = 8) -> TrainingTask:
    """Classes differ in a spot of 4 x 4 pixels in the centre; the border says nothing."""
    labels = torch.arange(64) % 2
    images = pictures(64, side)
    images[:, :, 2:6, 2:6] = (labels * 255).to(torch.uint8)[:, None, None, None]
    everything = torch.ones(64, dtype=torch.bool)
    return TrainingTask(
        images=images,
        noisy_labels=labels,
        val_images=images[:8],
        val_labels=labels[:8],
        test_images=images.clone(),
        test_labels=labels,
        n_classes=2,
        selection=Selection(everything, everything.float()),
        seed=0,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("resized", [False, True])
def test_a_training_on_crops_learns_and_only_sees_the_centre_in_evaluation(resized: bool) -> None:
    trainer = make_component(
        "trainers",
        "cross-entropy",
        {"epochs": 8, "batch_size": 16, "input_size": 6, "resized_crop": resized}
        | {"augmentation": "crop-flip"},
    )
    task = edge_task()
    outcome = trainer.train(task)
    assert (outcome.test_predictions == task.test_labels).double().mean() > 0.95
    task.test_images[:, :, 0], task.test_images[:, :, :, -1] = 0, 255
    assert torch.equal(trainer.train(task).test_predictions, outcome.test_predictions)


def test_crops_that_cannot_be_made_are_refused_before_a_run() -> None:
    with pytest.raises(ConfigError, match=r"input_size' must be at most .* = 8, got 9. Set --set"):
        resolve(settings={"trainer.input_size": 9})
    with pytest.raises(ConfigError, match=r"resized_crop' needs .* got 'shift'"):
        resolve(settings={"trainer.resized_crop": True})
    config = resolve(settings={"input_size": 6, "resized_crop": True, "augmentation": "crop-flip"})
    assert config.trainer.params["input_size"] == 6
