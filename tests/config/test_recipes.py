"""Every shipped recipe names components that exist and settings that they take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nlbench.cli.recipe_text import recipe_text
from nlbench.config.recipe_files import SECTIONS, load_recipe, recipe_layers, recipe_names
from nlbench.config.resolve import resolve
from nlbench.config.run_config import ProtocolConfig
from nlbench.errors import ConfigError
from nlbench.noise.corrupt import noise_options, noise_takes_rate
from nlbench.plugins.registry import find, make_component, make_selector

# Batch, beta, theta_r, theta_r2, network, pixels: the rows of the paper's table.
PUBLISHED = {
    "cifar10-symmetric": (128, 1, 0.8, 0.8, "preact-resnet18-dividemix", 32),
    "cifar100-symmetric": (128, 1, 0.8, 0.8, "preact-resnet18-dividemix", 32),
    "cifar10-instance": (128, 1, 1, 1, "preact-resnet18-dividemix", 32),
    "animal10n": (128, 0.5, 0.7, 0.95, "vgg19-bn-clipcleaner", 64),
    "red-mini-imagenet-0.2": (64, 4, 0.8, 0.95, "preact-resnet18-dividemix", 32),
    "red-mini-imagenet-0.4": (64, 4, 0.8, 0.95, "preact-resnet18-dividemix", 32),
    "red-mini-imagenet-0.6": (64, 4, 0.8, 0.95, "preact-resnet18-dividemix", 32),
    "red-mini-imagenet-0.8": (64, 4, 0.8, 0.95, "preact-resnet18-dividemix", 32),
    "mini-webvision": (64, 0.5, 0.7, 1, "timm:inception_resnet_v2", 320),
    # Beta and thresholds of this row are not published.
    "clothing1m": (64, 0.5, 0.7, 1, "timm-pretrained:resnet50.tv_in1k", 256),
}
SCHEDULES = {"mini-webvision": (150, [80, 120])}
# Augmentation, side of the network's input, whether crops are resized.
VIEWS = {
    "mini-webvision": ("autoaugment-imagenet-clipcleaner", 299, True),
    "clothing1m": ("autoaugment-imagenet-clipcleaner", 224, False),
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
    values = (*(trainer[key] for key in keys), recipe["protocol"]["image_size"])
    assert values == PUBLISHED[name]
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


def test_every_recipe_of_the_paper_is_in_the_table() -> None:
    shipped = {n.removeprefix("clipcleaner/") for n in recipe_names() if n.startswith("clipc")}
    assert shipped == set(PUBLISHED)


def test_a_shown_recipe_has_every_setting_with_its_source() -> None:
    text = recipe_text("clipcleaner/clothing1m")
    lines = {tuple(line.split("  # ")) for line in text.splitlines() if line.startswith("  ")}
    shown = {(value.strip(), source) for value, source in lines}
    own, standard = "clipcleaner/clothing1m", "standard/clothing1m"
    assert {
        ("theta_cons: 0.8", f"{own}: argparse default"),
        ("probe_c: 1.0", "default"),
        ("theta_r2: 1.0", f"{own}: ours: that of mini-WebVision; the argparse default is 0.8"),
        ("val_fraction: 0.0", f"{own}: code: trains on all samples"),
        ("image_encoder: timm:resnet50.a1_in1k", standard),
        ("resized_crop: false", "default"),
        ("kind: none", standard),
        (
            "n_train: 64000",
            f"{own}: published; code: 1000 images per sample of a batch, class-balanced",
        ),
    } <= shown
    assert text.startswith("# Values: Feng, Tzimiropoulos, Patras, ACM MM 2024")
    assert f"\n# {standard}: values from ours\n# {own}: values from arXiv 2408.10012\n" in text


@pytest.mark.parametrize("name", recipe_names())
def test_a_shown_recipe_is_a_recipe_that_says_the_same(name: str, tmp_path: Path) -> None:
    text = recipe_text(name)
    (tmp_path / "shown.yaml").write_text(text)
    again = yaml.safe_load(recipe_text(str(tmp_path / "shown.yaml")))
    assert again == yaml.safe_load(text)
    assert set(again["trainer"]) > {"epochs", "input_size"}


def test_a_shown_recipe_runs_as_the_recipe_does(tmp_path: Path) -> None:
    shown = tmp_path / "shown.yaml"
    shown.write_text(recipe_text("quick/digits"))
    assert resolve(recipe=str(shown)).fingerprint == resolve(recipe="quick/digits").fingerprint


def test_a_recipe_of_ones_own_is_shown_on_top_of_the_data_sets(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "# mine\ntrainer: {lr: 0.5, epochs: 2}  # tried by hand, # 3\n"
        "noise: {kind: pair, rate: 0.1}\n"
    )
    text = recipe_text(str(own))
    assert text.startswith("# mine\n")
    assert re.search(rf"lr: 0.5 +# {own}: tried by hand, # 3\n", text)
    assert re.search(r"batch_size: 64 +# standard/digits\n", text)
    assert re.search(rf"rate: 0.1 +# {own}$", text)
    own.write_text("trainer: {name: mixup}\n")
    # Another trainer drops the settings of the first one.
    assert re.search(r"lr: 0.05 +# default\n", recipe_text(str(own)))
    own.write_text("trainer: {learning_rate: 1}\n")
    with pytest.raises(ConfigError, match="has no setting 'learning_rate'"):
        recipe_text(str(own))


MARKS = ("published", "argparse default", "code", "ours", "template")


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_value_of_the_papers_recipes_states_its_source(name: str) -> None:
    layer = recipe_layers(f"clipcleaner/{name}")[-1]
    assert layer.content["source"] == "arXiv 2408.10012"
    assert "arXiv 2408.10012" in layer.head[0]
    head = " ".join(line.removeprefix("# ") for line in layer.head)
    assert "All prompt descriptions are ours." in head
    for section in SECTIONS:
        for key in layer.content.get(section, {}):
            if key != "name":
                assert layer.comments[section, key].startswith(MARKS), (section, key)


def test_clothing1m_tells_published_values_from_defaults_and_ours() -> None:
    """The authors' README has no command for it, so that few values are published."""
    layer = recipe_layers("clipcleaner/clothing1m")[-1]
    marks = {
        (section, key): next(mark for mark in MARKS if comment.startswith(mark))
        for (section, key), comment in layer.comments.items()
    }
    trainer = {key: mark for (section, key), mark in marks.items() if section == "trainer"}
    assert trainer == {
        "epochs": "argparse default",
        "milestones": "argparse default",
        "lr": "argparse default",
        "momentum": "argparse default",
        "weight_decay": "argparse default",
        "batch_size": "published",
        "beta": "ours",
        "theta_r": "ours",
        "theta_r2": "ours",
        "network": "code",
        "augmentation": "code",
        "input_size": "code",
    }
    assert marks["data", "n_train"] == "published"
    assert marks["selector", "theta_cons"] == "argparse default"


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_recipes_augment_as_the_released_code(name: str) -> None:
    kinds = {"animal10n": "randaugment", "mini-webvision": "autoaugment-imagenet",
             "clothing1m": "autoaugment-imagenet"}  # fmt: skip
    expected = kinds.get(name, "autoaugment-cifar10") + "-clipcleaner"
    assert load_recipe(f"clipcleaner/{name}")["trainer"]["augmentation"] == expected


def test_red_mini_imagenet_is_stretched_in_the_papers_recipes_only() -> None:
    for rate in ("0.2", "0.4", "0.6", "0.8"):
        assert load_recipe(f"clipcleaner/red-mini-imagenet-{rate}")["data"] == {
            "noise_rate": rate, "resize": "stretch"
        }  # fmt: skip
    assert load_recipe("standard/red-mini-imagenet")["data"] == {}


def test_instance_noise_of_the_paper_comes_from_chen_et_als_files() -> None:
    layer = recipe_layers("clipcleaner/cifar10-instance")[-1]
    assert layer.content["noise"] == {"kind": "labels", "labels": "dependent0.4.csv"}
    head = " ".join(line.removeprefix("# ") for line in layer.head)
    assert "data/CIFAR10/label_noisy/dependent0.1.csv" in head
    assert "github.com/chenpf1025/IDN" in head


def test_a_recipe_is_read_as_it_stands_now_and_belongs_to_the_reader(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("dataset: digits\nnoise: {kind: labels, labels: [1, 2]}\n")
    load_recipe(str(file))["noise"]["labels"].append(3)
    assert load_recipe(str(file))["noise"]["labels"] == [1, 2]
    file.write_text("dataset: digits\nnoise: {kind: labels, labels: [4]}\n")
    assert load_recipe(str(file))["noise"]["labels"] == [4]


FEATURES = {
    "cifar10n-worse": ("cifar10n", "human", "worse"),
    "cifar10n-aggre": ("cifar10n", "human", "aggre"),
    "cifar10n-random1": ("cifar10n", "human", "random1"),
    "cifar10-symmetric-0.2": ("cifar10", "symmetric", 0.2),
    "cifar10-symmetric-0.5": ("cifar10", "symmetric", 0.5),
    "cifar10-symmetric-0.8": ("cifar10", "symmetric", 0.8),
    "cifar10-asymmetric-0.2": ("cifar10", "asymmetric", 0.2),
    "cifar10-asymmetric-0.4": ("cifar10", "asymmetric", 0.4),
    "cifar10-pair-0.45": ("cifar10", "pair", 0.45),
    "cifar10-instance-0.4": ("cifar10", "instance", 0.4),
}


@pytest.mark.parametrize("name", FEATURES)
def test_a_recipe_on_frozen_features_has_the_noise_of_its_name(name: str) -> None:
    recipe = load_recipe(f"features/{name}")
    noise = recipe["noise"]
    found = (recipe["dataset"], noise["kind"], noise.get("rate", noise.get("label_set")))
    assert found == FEATURES[name]


def test_recipes_on_frozen_features_share_one_protocol() -> None:
    shipped = [name for name in recipe_names() if name.startswith("features/")]
    bases = {"features/cifar10", "features/cifar100n"}
    assert set(shipped) == {*bases, *(f"features/{name}" for name in FEATURES)}
    first, *others = (load_recipe(name) for name in shipped)
    for other in others:
        assert other["trainer"] == first["trainer"]
        # Prompts name the classes, which are others in CIFAR-100.
        assert {**other["protocol"], "prompts": ""} == {**first["protocol"], "prompts": ""}
    # Selectors that use the role `image` look at what the head learns from: one embedding pays both
    assert first["trainer"]["network"] == f"frozen:{first['protocol']['image_encoder']}"
    make_component("trainers", *named(first["trainer"])).check(32)
