"""The features of a network are what goes into its classifier, whatever kind of layer that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from training_tasks import seeded

from nlbench.errors import PluginError
from nlbench.training import evaluate
from nlbench.training.crops import CentreCropped
from nlbench.training.networks import Renormalised
from nlbench.training.observed import features


@pytest.fixture(autouse=True)
def _same_weights() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def pictures(n: int, side: int, channels: int = 1) -> Tensor:
    drawn = torch.randint(0, 256, (n, channels, side, side), generator=seeded(0))
    return drawn.to(torch.uint8)


def test_features_of_a_distilled_transformer_go_into_its_first_head() -> None:
    """The head of its distillation token comes last, and reads another vector."""
    network: Any = timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=16, patch_size=8, embed_dim=12, depth=1,
        num_heads=2, num_classes=2, in_chans=1,
    )  # fmt: skip
    images = pictures(6, 16)
    found = features(network, images, autocast=False)
    with torch.no_grad():
        tokens = network.forward_features(evaluate.as_input(images))
    assert found.allclose(tokens[:, 0], atol=1e-5)
    assert not found.allclose(tokens[:, 1], atol=1e-2)


def test_a_layer_behind_a_whole_network_is_the_classifier() -> None:
    network = nn.Sequential(timm.create_model("resnet10t", num_classes=7, in_chans=1))
    network.append(nn.Linear(7, 2))
    images = pictures(4, 32)
    found = features(network, images, autocast=False)
    assert network[1](found).allclose(evaluate.predict(network, images, False), atol=1e-5)


@pytest.mark.parametrize("wrap", ["plain", "centre", "renormalised", "both"])
def test_features_of_a_network_that_ends_in_a_convolution(wrap: str) -> None:
    inner: Any = timm.create_model(
        "resnetv2_50", layers=(1, 1, 1, 1), channels=(8, 8, 8, 12), stem_chs=8, num_classes=2,
        in_chans=1,
    )  # fmt: skip
    assert isinstance(inner.get_classifier(), nn.Conv2d)
    network: nn.Module = inner
    if wrap in ("renormalised", "both"):
        network = Renormalised(network, [0.4], [0.2])
    if wrap in ("centre", "both"):
        network = CentreCropped(network, 32)
    images = pictures(5, side=40 if isinstance(network, CentreCropped) else 32)
    found = features(network, images, autocast=False)
    assert found.shape == (5, inner.num_features)
    logits = inner.get_classifier()(found[:, :, None, None]).flatten(1)
    assert logits.allclose(evaluate.predict(network, images, False), atol=1e-5)


def test_features_of_a_head_with_a_normalisation_are_those_of_its_linear_layer() -> None:
    network: Any = timm.create_model("levit_128s", num_classes=2)
    images = pictures(2, 224, channels=3)
    found = features(network, images, autocast=False)
    with torch.no_grad():
        into_heads = network.forward_features(evaluate.as_input(images)).mean(dim=1)
        expected = network.get_classifier()[0].bn(into_heads)
    assert found.allclose(expected, atol=1e-5)


def test_a_layer_behind_a_network_without_classifier_is_the_classifier() -> None:
    inner: Any = timm.create_model("resnet10t", num_classes=0, in_chans=1)
    assert isinstance(inner.get_classifier(), nn.Identity)
    network = nn.Sequential(inner, nn.Linear(inner.num_features, 2))
    images = pictures(4, 32)
    found = features(network, images, autocast=False)
    assert network[1](found).allclose(evaluate.predict(network, images, False), atol=1e-5)


def test_a_linear_layer_of_every_place_gives_no_features() -> None:
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=12, depth=1, num_heads=2,
        num_classes=0, in_chans=1,
    )  # fmt: skip
    with pytest.raises(PluginError, match=r"VisionTransformer has an input of shape \(4, 5, 48\)"):
        features(vit, pictures(4, 16), autocast=False)


def test_a_linear_layer_that_is_not_used_gives_no_features() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten())
    network.spare = nn.Linear(2, 2)
    network.forward = lambda x: network[1](network[0](x))  # type: ignore[method-assign]
    with pytest.raises(PluginError, match="has a layer that its forward does not use"):
        features(network, pictures(4, 8), autocast=False)
