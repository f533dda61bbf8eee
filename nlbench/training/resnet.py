"""ResNet-34 for small images.

Paper: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv
1512.03385), table 1. For 32 x 32 pixels the 7 x 7 stem with max pooling gives way to one 3 x 3
convolution of stride 1, as in the CIFAR-N benchmarks. Shortcuts that change shape are
projections (the paper's option B).
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from nlbench.training.initial_weights import he_normal


class ResNet34(nn.Module):
    """3, 4, 6 and 3 blocks of two convolutions, widths 64, 128, 256, 512."""

    def __init__(self, in_channels: int, n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(64)
        blocks: list[nn.Module] = []
        fan_in = 64
        for width, n_blocks, first_stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            blocks += [_Block(fan_in, width, first_stride)]
            blocks += [_Block(width, width, 1) for _ in range(n_blocks - 1)]
            fan_in = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(512, n_classes)
        he_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of normalised images (B, C, H, W)."""
        features = self.blocks(F.relu(self.norm(self.stem(images))))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, fan_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or fan_in != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(fan_in, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(self.conv1(inputs)))
        return F.relu(self.norm2(self.conv2(hidden)) + self.shortcut(inputs))
