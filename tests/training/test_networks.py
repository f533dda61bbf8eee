"""The networks of the published protocols: sizes, shapes, and where their weights come from."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from nlbench.errors import ConfigError, DataError
from nlbench.training.networks import make_network
from nlbench.training.preact_resnet import DivideMixPreActResNet18, PreActResNet18
from nlbench.training.resnet import ResNet34

LARGE = ("preact-resnet18", "preact-resnet18-dividemix", "resnet34-cifar", "vgg19-bn-64")


def n_weights(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def conv(fan_in: int, fan_out: int, side: int = 3) -> int:
    return fan_in * fan_out * side * side


def of_preact_resnet18(k: int) -> int:
    """Count by hand: a batch norm has two numbers per channel of its input."""
    total, fan_in = conv(3, 64), 64
    for width, changes in ((64, False), (128, True), (256, True), (512, True)):
        total += 2 * fan_in + conv(fan_in, width) + 2 * width + conv(width, width)
        total += conv(fan_in, width, 1) if changes else 0
        total += 2 * (2 * width + conv(width, width))
        fan_in = width
    return total + 2 * 512 + (512 + 1) * k


def of_resnet34(k: int) -> int:
    total, fan_in = conv(3, 64) + 2 * 64, 64
    for width, n_blocks, changes in ((64, 3, 0), (128, 4, 1), (256, 6, 1), (512, 3, 1)):
        total += conv(fan_in, width) + (2 * n_blocks - 1) * conv(width, width)
        total += 2 * n_blocks * 2 * width + changes * (conv(fan_in, width, 1) + 2 * width)
        fan_in = width
    return total + (512 + 1) * k


def of_vgg19(k: int) -> int:
    widths = [3] + [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8
    total = sum(conv(a, b) + 2 * b for a, b in pairwise(widths))
    return total + (2048 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * k


@pytest.mark.parametrize(
    ("name", "counted", "published"),
    [
        ("preact-resnet18", of_preact_resnet18, 11_172_170),
        ("resnet34-cifar", of_resnet34, 21_282_122),
        ("vgg19-bn-64", of_vgg19, 45_244_874),
    ],
)
def test_the_number_of_weights(name: str, counted: Any, published: int) -> None:
    assert n_weights(make_network(name, 3, 10, seed=0)) == counted(10) == published
    assert n_weights(make_network(name, 3, 100, seed=0)) == counted(100)


@pytest.mark.parametrize("name", LARGE)
def test_weights_depend_on_seed_and_name_only(name: str) -> None:
    def weights(seed: int) -> Tensor:
        return torch.cat([w.flatten() for w in make_network(name, 3, 10, seed).parameters()])

    before = torch.get_rng_state()
    first = weights(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(weights(3), first)
    assert not torch.equal(weights(4), first)


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize(("channels", "side"), [(3, 64), (1, 32)])
def test_logits_are_finite_and_one_per_class(name: str, channels: int, side: int) -> None:
    network = make_network(name, channels, 7, seed=0)
    images = torch.randn(4, channels, side, side, generator=torch.Generator().manual_seed(0))
    logits = network(images)
    assert logits.shape == (4, 7)
    assert bool(torch.isfinite(logits).all())
    logits.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize("network", [PreActResNet18, DivideMixPreActResNet18, ResNet34])
def test_the_stem_keeps_32_pixels_and_the_last_stage_has_4(network: Any) -> None:
    made = network(3, 10)
    sides = []
    for part in (made.stem, *(made.blocks if network is ResNet34 else made.units)):
        part.register_forward_hook(lambda _, __, output: sides.append(output.shape[-1]))
    made(torch.zeros(1, 3, 32, 32))
    assert (sides[0], sides[-1]) == (32, 4)
    assert sides == sorted(sides, reverse=True)


def test_the_vgg_head_drops_a_fifth_in_training_only() -> None:
    network = make_network("vgg19-bn-64", 3, 10, seed=0)
    dropped = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    assert dropped == [0.2, 0.2]
    network.eval()
    images = torch.zeros(1, 3, 64, 64)
    assert torch.equal(network(images), network(images))


def test_images_too_small_for_vgg_are_told_what_to_set() -> None:
    network = make_network("vgg19-bn-64", 1, 10, seed=0)
    with pytest.raises(ConfigError, match=r"at least 32 pixels a side, got 8.*image_size=64"):
        network(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("name", ["inception_resnet_v2", "resnet50"])
def test_networks_of_the_tables_exist_in_timm(name: str) -> None:
    assert name in timm.list_models()


def test_pretrained_weights_out_of_reach_are_never_random_ones() -> None:
    with pytest.raises(DataError, match=r"timm-pretrained:resnet18.*could not be loaded") as caught:
        make_network("timm-pretrained:resnet18", 3, 10, seed=0)
    assert "trainer.network=timm:resnet18" in str(caught.value)


def test_pretrained_weights_come_with_a_new_head_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []
    create = timm.create_model

    def pretended(name: str, pretrained: bool, **options: Any) -> nn.Module:
        asked.append((name, pretrained))
        network: nn.Module = create(name.partition(".")[0], pretrained=False, **options)
        return network

    monkeypatch.setattr(timm, "create_model", pretended)
    first, again = (make_network("timm-pretrained:test_resnet.r160_in1k", 1, 5, 0) for _ in "ab")
    assert asked == [("test_resnet.r160_in1k", True)] * 2
    assert first(torch.zeros(2, 1, 32, 32)).shape == (2, 5)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("preact-resnet-18", "Did you mean 'preact-resnet18'"),
        ("timm-pretrained:resnet5O", "no model 'resnet5O'. Did you mean 'resnet50'"),
        ("wide", "'vgg19-bn-64'.*'timm-pretrained:MODEL'"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_network(name, 3, 10, seed=0)
