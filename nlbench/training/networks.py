"""Networks by name: a small one for small images, everything else from timm."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from nlbench.errors import ConfigError, did_you_mean
from nlbench.seeds import derive_seed


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
        """Give logits (B, K) of normalised images (B, C, H, W)."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


def make_network(name: str, in_channels: int, n_classes: int, seed: int) -> nn.Module:
    """Give a freshly initialised network; the weights depend on (seed, name) only.

    Args:
        name: ``"small-cnn"`` or ``"timm:MODEL"`` (trained from scratch).
        in_channels: 1 or 3.
        n_classes: K.
        seed: The run's seed.

    Raises:
        ConfigError: if there is no such network.
    """
    # torch initialises from its global generator; the fork keeps this from touching anyone else.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed("weights", name, seed))
        if name == "small-cnn":
            return SmallCNN(in_channels, n_classes)
        if name.startswith("timm:"):
            return _timm_network(name.removeprefix("timm:"), in_channels, n_classes)
    raise ConfigError(
        f"unknown network {name!r}. {did_you_mean(name, ['small-cnn', 'timm:MODEL'])}"
    )


def _timm_network(model: str, in_channels: int, n_classes: int) -> nn.Module:
    import timm

    known = timm.list_models()
    if model not in known:
        hint = did_you_mean(model, known)
        raise ConfigError(f"timm has no model {model!r}. {hint[:200]}")
    network: nn.Module = timm.create_model(
        model, pretrained=False, num_classes=n_classes, in_chans=in_channels
    )
    return network
