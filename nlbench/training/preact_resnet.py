"""PreAct ResNet-18 for small images.

Paper: He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016 (arXiv
1603.05027), figure 4e, with the block counts and widths of ResNet-18 (arXiv 1512.03385, table 1).
For 32 x 32 pixels the stem is a single 3 x 3 convolution of stride 1, without pooling. As in the
paper, the last unit is followed by one more normalisation and ReLU, which some released versions
leave out (1 024 of 11.17 million weights).
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from nlbench.training.initial_weights import he_normal


class PreActResNet18(nn.Module):
    """Eight pre-activation units of two convolutions, widths 64, 128, 256, 512."""

    def __init__(self, in_channels: int, n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
        units: list[nn.Module] = []
        fan_in = 64
        for width, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            units += [_Unit(fan_in, width, first_stride), _Unit(width, width, 1)]
            fan_in = width
        self.units = nn.Sequential(*units)
        self.norm = nn.BatchNorm2d(512)
        self.head = nn.Linear(512, n_classes)
        he_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of normalised images (B, C, H, W)."""
        features = F.relu(self.norm(self.units(self.stem(images))))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class _Unit(nn.Module):
    def __init__(self, fan_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(fan_in)
        self.conv1 = nn.Conv2d(fan_in, width, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        changes = stride != 1 or fan_in != width
        self.shortcut = nn.Conv2d(fan_in, width, 1, stride, bias=False) if changes else None

    def forward(self, inputs: Tensor) -> Tensor:
        active = F.relu(self.norm1(inputs))
        # A projection takes the activated input, the identity the raw one.
        passed = inputs if self.shortcut is None else self.shortcut(active)
        residual: Tensor = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return residual + passed
