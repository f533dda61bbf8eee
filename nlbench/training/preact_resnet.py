"""PreAct ResNet-18 for small images, as published and as released with DivideMix.

Paper: He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016 (arXiv
1603.05027), figure 4e, with the block counts and widths of ResNet-18 (arXiv 1512.03385, table 1).
For 32 x 32 pixels the stem is a single 3 x 3 convolution of stride 1, without pooling. As in the
paper, the last unit is followed by one more normalisation and ReLU.

The network that DivideMix (Li, Socher, Hoi, ICLR 2020, arXiv 2002.07394) released, and that
CLIPCleaner and others train, differs in four ways: normalisation and ReLU follow the stem and not
the last unit (11 171 274 instead of 11 172 170 weights for 10 classes), every shortcut takes the
activated input, the identity included, and the initial weights are torch's defaults.
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
        self.units = _units(_Unit)
        self.norm = nn.BatchNorm2d(512)
        self.head = nn.Linear(512, n_classes)
        he_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of normalised images (B, C, H, W)."""
        features = F.relu(self.norm(self.units(self.stem(images))))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class DivideMixPreActResNet18(nn.Module):
    """The PreAct ResNet-18 of DivideMix's code: no activation after the last unit."""

    def __init__(self, in_channels: int, n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(64)
        self.units = _units(_ActivatedShortcutUnit)
        self.head = nn.Linear(512, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of normalised images (B, C, H, W)."""
        features = self.units(F.relu(self.norm(self.stem(images))))
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
        residual: Tensor = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return residual + self.passed(inputs, active)

    def passed(self, inputs: Tensor, active: Tensor) -> Tensor:
        """Return what goes past the convolutions: a projection of the activated input, or x."""
        return inputs if self.shortcut is None else self.shortcut(active)


class _ActivatedShortcutUnit(_Unit):
    def passed(self, inputs: Tensor, active: Tensor) -> Tensor:
        """Return the activated input, projected where the shape changes."""
        return active if self.shortcut is None else self.shortcut(active)


def _units(kind: type[_Unit]) -> nn.Sequential:
    units: list[nn.Module] = []
    fan_in = 64
    for width, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        units += [kind(fan_in, width, first_stride), kind(width, width, 1)]
        fan_in = width
    return nn.Sequential(*units)
