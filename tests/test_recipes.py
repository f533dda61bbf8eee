"""Every shipped recipe names components that exist and settings that they take."""

from __future__ import annotations

from typing import Any

import pytest

from nlbench.config import ProtocolConfig, make_component
from nlbench.noise import noise_options, noise_takes_rate
from nlbench.recipe_files import load_recipe, recipe_names
from nlbench.registry import find, make_selector

# Batch, beta, theta_r, theta_r2, network, pixels: the rows of the paper's table.
PUBLISHED = {
    "cifar10-symmetric": (128, 1, 0.8, 0.8, "preact-resnet18", 32),
    "cifar100-symmetric": (128, 1, 0.8, 0.8, "preact-resnet18", 32),
    "cifar10-instance": (128, 1, 1, 1, "preact-resnet18", 32),
    "animal10n": (128, 0.5, 0.7, 0.95, "vgg19-bn-64", 64),
    "red-mini-imagenet-0.2": (64, 4, 0.8, 0.95, "preact-resnet18", 32),
    "red-mini-imagenet-0.4": (64, 4, 0.8, 0.95, "preact-resnet18", 32),
    "red-mini-imagenet-0.6": (64, 4, 0.8, 0.95, "preact-resnet18", 32),
    "red-mini-imagenet-0.8": (64, 4, 0.8, 0.95, "preact-resnet18", 32),
    "mini-webvision": (64, 0.5, 0.7, 1, "timm:inception_resnet_v2", 320),
    # Beta and thresholds of this row are not published.
    "clothing1m": (64, 0.5, 0.7, 1, "timm-pretrained:resnet50.tv_in1k", 256),
}
SCHEDULES = {"mini-webvision": (150, [80, 120])}
# Augmentation, side of the network's input, whether crops are resized.
VIEWS = {
    "mini-webvision": ("autoaugment-imagenet", 299, True),
    "clothing1m": ("autoaugment-imagenet", 224, False),
}


def named(section: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return section["name"], {k: v for k, v in section.items() if k != "name"}


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_can_be_resolved(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe["summary"]
    assert recipe["source"]
    make_component("datasets", recipe["dataset"], recipe["data"])
    make_component("trainers", *named(recipe["trainer"]))
    selector, params = named(recipe["selector"])
    make_selector(find("selectors", selector).load(), params)
    protocol = ProtocolConfig(**recipe["protocol"])
    assert find("encoders", protocol.image_text_encoder.partition(":")[0])
    draw = find("noises", recipe["noise"]["kind"]).load()
    assert set(recipe["noise"]) <= {"kind", "rate", *noise_options(draw)}
    assert (recipe["noise"].get("rate") is not None) == noise_takes_rate(draw)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_rows_hold_the_papers_values(name: str) -> None:
    recipe = load_recipe(f"clipcleaner/{name}")
    trainer = recipe["trainer"]
    keys = ("batch_size", "beta", "theta_r", "theta_r2", "network")
    found = (*(trainer[key] for key in keys), recipe["protocol"]["image_size"])
    assert found == PUBLISHED[name]
    schedule = (trainer["epochs"], trainer["milestones"])
    assert schedule == SCHEDULES.get(name, (300, [200, 250]))
    assert recipe["selector"]["name"] == "clipcleaner"
    assert recipe["selector"]["theta_cons"] == (1 if name == "mini-webvision" else 0.8)
    assert recipe["protocol"]["val_fraction"] == 0


@pytest.mark.parametrize("name", VIEWS)
def test_large_images_are_cropped_as_in_the_papers_table(name: str) -> None:
    recipe = load_recipe(f"clipcleaner/{name}")
    trainer = make_component("trainers", *named(recipe["trainer"]))
    trainer.check(recipe["protocol"]["image_size"])
    assert (trainer.augmentation, trainer.input_size, trainer.resized_crop) == VIEWS[name]


def test_every_recipe_of_the_paper_is_held() -> None:
    shipped = {n.removeprefix("clipcleaner/") for n in recipe_names() if n.startswith("clipc")}
    assert shipped == set(PUBLISHED)
