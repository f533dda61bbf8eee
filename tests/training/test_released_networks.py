"""Networks as their authors released them: what tells them from the textbook versions."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import vgg19_bn

from nlbench.errors import ConfigError
from nlbench.training.networks import make_network

RESNET, VGG = "preact-resnet18-dividemix", "vgg19-bn-clipcleaner"


def n_weights(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


@pytest.fixture(scope="module")
def vgg() -> nn.Module:
    """Half a gigabyte of weights, made once."""
    return make_network(VGG, 3, 10, seed=0).eval()


def inputs_and_output(network: nn.Module, part: str, images: Tensor) -> tuple[Tensor, Tensor]:
    seen: list[tuple[Tensor, Tensor]] = []
    module = network.get_submodule(part)
    handle = module.register_forward_hook(
        lambda _, inputs, output: seen.append((inputs[0].clone(), output.clone()))
    )
    with torch.no_grad():
        network(images)
    handle.remove()
    return seen[0]


def test_dividemixs_resnet_has_its_number_of_weights() -> None:
    assert n_weights(make_network(RESNET, 3, 10, seed=0)) == 11_171_274
    # 90 classes more, each with 512 weights and a bias.
    assert n_weights(make_network(RESNET, 3, 100, seed=0)) == 11_171_274 + 90 * 513


def test_dividemixs_resnet_activates_after_the_stem_and_not_after_the_last_unit() -> None:
    network = make_network(RESNET, 3, 10, seed=0).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first, _ = inputs_and_output(network, "units.0", images)
    assert float(first.min()) == 0
    _, stem = inputs_and_output(network, "stem", images)
    torch.testing.assert_close(first, network.get_submodule("norm")(stem).relu().detach())
    _, last = inputs_and_output(network, "units.7", images)
    pooled, _ = inputs_and_output(network, "head", images)
    assert float(last.min()) < 0
    torch.testing.assert_close(pooled, last.mean(dim=(2, 3)))
    norms = [m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == [64] + [64] * 4 + [64] + [128] * 3 + [128] + [256] * 3 + [256] + [512] * 3


@pytest.mark.parametrize("unit", range(8))
def test_every_shortcut_of_dividemixs_resnet_takes_the_activated_input(unit: int) -> None:
    network = make_network(RESNET, 3, 10, seed=0).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    inputs, output = inputs_and_output(network, f"units.{unit}", images)
    _, residual = inputs_and_output(network, f"units.{unit}.conv2", images)
    active = network.get_submodule(f"units.{unit}.norm1")(inputs).relu().detach()
    changes = unit in (2, 4, 6)
    passed = network.get_submodule(f"units.{unit}.shortcut")(active).detach() if changes else active
    torch.testing.assert_close(output - residual, passed, atol=1e-5, rtol=1e-4)


def test_dividemixs_resnet_starts_from_torchs_default_weights() -> None:
    """torch draws from U(-1 / sqrt(fan in), 1 / sqrt(fan in)), for a convolution and a layer."""
    network = make_network(RESNET, 3, 10, seed=0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            weight = module.weight.detach()
            # Where there are 10 000 weights or more the largest come close to the bound.
            assert 0.95 * bound < float(weight.abs().max()) < 1.001 * bound
            assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.04)
            if module.bias is not None:
                assert float(module.bias.detach().abs().max()) > 0


def test_clipcleaners_vgg_is_torchvisions_with_its_own_head(vgg: nn.Module) -> None:
    with torch.device("meta"):
        reference = vgg19_bn(weights=None)
    ours = {k: tuple(w.shape) for k, w in vgg.state_dict().items() if k.startswith("features")}
    theirs = {
        k: tuple(w.shape) for k, w in reference.state_dict().items() if k.startswith("features")
    }
    assert ours == theirs
    layers = [m for m in vgg.get_submodule("head") if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [
        (25_088, 4096), (4096, 4096), (4096, 10)
    ]  # fmt: skip
    assert [m.p for m in vgg.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.2]
    assert n_weights(vgg) == 139_622_218


def test_clipcleaners_vgg_repeats_the_2_x_2_maps_of_64_pixels(vgg: nn.Module) -> None:
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = vgg.get_submodule("features")(images).reshape(512, 7, 7)
    # Row 3 and column 3 lie on the edge and get the mean of both halves.
    assert torch.equal(features[:, :3, :3], features[:, :1, :1].expand(-1, 3, 3))
    torch.testing.assert_close(features[:, 3, 0], (features[:, 0, 0] + features[:, 6, 0]) / 2)


def test_clipcleaners_vgg_starts_wide_layers_small_and_the_last_by_torchs_default(
    vgg: nn.Module,
) -> None:
    first, second, last = (m for m in vgg.get_submodule("head") if isinstance(m, nn.Linear))
    for layer in (first, second):
        part = layer.weight.detach()[:256]
        assert float(part.std()) == pytest.approx(0.001, rel=0.01)
        assert float(part.abs().max()) > 0.004  # normal, not uniform
        assert float(layer.bias.detach().abs().max()) == 0
    bound = 1 / math.sqrt(4096)
    assert float(last.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert float(last.weight.detach().abs().max()) < 1.001 * bound
    assert float(last.bias.detach().abs().max()) > 0


def test_clipcleaners_vgg_starts_convolutions_as_he_et_al(vgg: nn.Module) -> None:
    convolutions = [m for m in vgg.modules() if isinstance(m, nn.Conv2d)]
    widths = [3] + [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8
    assert [(m.in_channels, m.out_channels) for m in convolutions] == list(pairwise(widths))
    for module in convolutions:
        expected = math.sqrt(2 / (9 * module.out_channels))
        assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.05)
        assert module.bias is not None
        assert float(module.bias.detach().abs().max()) == 0


def test_clipcleaners_vgg_has_one_logit_per_class_and_refuses_small_images(vgg: nn.Module) -> None:
    with torch.no_grad():
        logits = vgg(torch.zeros(2, 3, 64, 64))
    assert logits.shape == (2, 10)
    assert bool(torch.isfinite(logits).all())
    with pytest.raises(ConfigError, match=r"'vgg19-bn-clipcleaner' must have at least 32 pixels"):
        vgg(torch.zeros(1, 3, 16, 16))
