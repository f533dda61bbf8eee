"""Networks by name: those of the published protocols, everything else from timm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from nlbench.encoders.frozen_names import frozen_encoder, frozen_hidden
from nlbench.encoders.hub import offline_where_unreachable
from nlbench.errors import ConfigError, DataError, did_you_mean
from nlbench.seeds import derive_seed
from nlbench.training.frozen_head import FrozenHead
from nlbench.training.preact_resnet import DivideMixPreActResNet18, PreActResNet18
from nlbench.training.resnet import ResNet34
from nlbench.training.vgg import VGG19BN, ClipCleanerVGG19BN


class SmallCNN(nn.Module):
    """Three 3x3 convolutions, batch norm, global average pooling; about 25 000 weights.

    Large enough to memorise wrong labels of a few thousand small images, small enough for
    minutes on a CPU.
    """

    def __init__(self, in_channels: int, n_classes: int, width: int = 16) -> None:
        super().__init__()
        widths = (in_channels, width, 2 * width, 4 * width)
        blocks: list[nn.Module] = []
        for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
            blocks += [
                nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(fan_out),
                nn.ReLU(inplace=True),
            ]
            if i < len(widths) - 2:
                blocks.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of normalised images (B, C, H, W)."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


class Renormalised(nn.Module):
    """A network that was trained on pixels of another mean and deviation than (x - 0.5) / 0.5."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        shape = (1, -1, 1, 1)
        deviation = torch.tensor(std).view(shape)
        self.register_buffer("scale", 0.5 / deviation)
        self.register_buffer("shift", (0.5 - torch.tensor(mean).view(shape)) / deviation)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of images (B, C, H, W) in [-1, 1]; one channel is the mean."""
        scale, shift = self.scale, self.shift
        if images.shape[1] != scale.shape[1]:
            scale, shift = scale.mean(dim=1, keepdim=True), shift.mean(dim=1, keepdim=True)
        logits: Tensor = self.network(images * scale + shift)
        return logits


_OWN: dict[str, Callable[[int, int], nn.Module]] = {
    "small-cnn": SmallCNN,
    "preact-resnet18": PreActResNet18,
    "preact-resnet18-dividemix": DivideMixPreActResNet18,
    "resnet34-cifar": ResNet34,
    "vgg19-bn-64": VGG19BN,
    "vgg19-bn-clipcleaner": ClipCleanerVGG19BN,
}


def make_network(name: str, in_channels: int, n_classes: int, seed: int) -> nn.Module:
    """Return a freshly initialised network; the weights depend on (seed, name) only.

    Args:
        name: ``"small-cnn"``, ``"preact-resnet18"``, ``"preact-resnet18-dividemix"``,
            ``"resnet34-cifar"``, ``"vgg19-bn-64"``, ``"vgg19-bn-clipcleaner"``, ``"timm:MODEL"``
            (from scratch), ``"timm-pretrained:MODEL"`` (timm's weights, a new classifier) or
            ``"frozen:ENCODER"`` (the head alone, see `FrozenHead`; ``"frozen-512:ENCODER"`` with
            512 hidden units), whose images are embeddings.
            Names that end in a paper's name are networks as its authors released them. All take
            pixels in [-1, 1]; pretrained ones turn them into what they were trained on, by the
            mean and deviation of their own configuration.
        in_channels: 1 or 3; the embeddings' dimensions for a frozen encoder.
        n_classes: K.
        seed: The run's seed.

    Raises:
        ConfigError: if there is no such network.
        DataError: if pretrained weights cannot be loaded.
    """
    source, _, model = name.partition(":")
    # torch initialises from its global generator; the fork keeps this from touching anyone else.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed("weights", name, seed))
        if name in _OWN:
            return _OWN[name](in_channels, n_classes)
        if frozen_encoder(name):
            return FrozenHead(in_channels, n_classes, frozen_hidden(name))
        if source == "timm":
            return _timm_network(model, in_channels, n_classes)
        if source == "timm-pretrained":
            return _pretrained_network(model, in_channels, n_classes)
    raise ConfigError(
        f"unknown network {name!r}. {did_you_mean(name, _OWN)} "
        "Others come from timm, as 'timm:MODEL' or 'timm-pretrained:MODEL', or are a head on an "
        "encoder, as 'frozen:ENCODER'."
    )


def _timm_network(model: str, in_channels: int, n_classes: int) -> nn.Module:
    import timm

    _check_timm_name(model)
    network: nn.Module = timm.create_model(
        model, pretrained=False, num_classes=n_classes, in_chans=in_channels
    )
    return network


def _pretrained_network(model: str, in_channels: int, n_classes: int) -> nn.Module:
    import timm

    _check_timm_name(model.partition(".")[0])
    try:
        with offline_where_unreachable(model):
            network: Any = timm.create_model(
                model, pretrained=True, num_classes=n_classes, in_chans=in_channels
            )
    except Exception as error:  # hub clients raise many types when weights are out of reach
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        raise DataError(
            f"weights of network 'timm-pretrained:{model}' could not be loaded: "
            f"{type(error).__name__}: {reason}\n"
            "They are downloaded on first use: run once on a machine with internet, or train from "
            f"scratch with --set trainer.network=timm:{model.partition('.')[0]}."
        ) from error
    seen = network.pretrained_cfg
    return Renormalised(network, seen["mean"], seen["std"])


def _check_timm_name(model: str) -> None:
    import timm

    models = timm.list_models()
    if model not in models:
        hint = did_you_mean(model, models)
        raise ConfigError(f"timm has no model {model!r}. {hint[:200]}")
