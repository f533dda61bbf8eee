"""VGG-19 with batch normalisation for 64 x 64 pixels, as ANIMAL-10N is trained on.

Paper: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015 (arXiv 1409.1556), configuration E, with batch normalisation after every convolution.
Both networks here end in two layers of 4096 with dropout 0.2, as ANIMAL-10N's protocol has it:

- `VGG19BN` has them on the 2 x 2 maps that 64 pixels leave, other sizes being pooled to 2 x 2.
- `ClipCleanerVGG19BN` is what CLIPCleaner (arXiv 2408.10012) released: torchvision's network, whose
  7 x 7 pooling repeats each of those 2 x 2 values, so that the first layer has 25 088 inputs.

The convolutions halve the side five times, so that both need 32 pixels or more.
"""

from __future__ import annotations

from torch import Tensor, nn

from nlbench.errors import ConfigError
from nlbench.training.initial_weights import he_normal

_WIDTHS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
_LEAST_SIDE = 32


class VGG19BN(nn.Module):
    """Sixteen 3 x 3 convolutions in five stages, and three fully connected layers."""

    name = "vgg19-bn-64"

    def __init__(self, in_channels: int, n_classes: int) -> None:
        super().__init__()
        layers = _stages(in_channels, bias=False)
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Sequential(
            *_dense(4 * 512, 4096), *_dense(4096, 4096), nn.Linear(4096, n_classes)
        )
        he_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of normalised images (B, C, H, W).

        Raises:
            ConfigError: if the images are too small for five poolings.
        """
        side = min(images.shape[-2:])
        if side < _LEAST_SIDE:
            raise ConfigError(
                f"images for network '{self.name}' must have at least {_LEAST_SIDE} pixels a side, "
                f"got {side}. Set --set protocol.image_size=64, or choose another trainer.network."
            )
        logits: Tensor = self.head(self.features(images))
        return logits


class ClipCleanerVGG19BN(VGG19BN):
    """VGG-19-BN as CLIPCleaner released it; 139.6 million weights.

    Convolutions have a bias and start as He et al.'s, the two wide layers from N(0, 0.001) with
    zero bias, the last layer from torch's default.
    """

    name = "vgg19-bn-clipcleaner"

    def __init__(self, in_channels: int, n_classes: int) -> None:
        nn.Module.__init__(self)
        layers = _stages(in_channels, bias=True)
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten())
        he_normal(self.features)
        wide = [*_dense(49 * 512, 4096), *_dense(4096, 4096)]
        for layer in wide:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.001)
                nn.init.zeros_(layer.bias)
        self.head = nn.Sequential(*wide, nn.Linear(4096, n_classes))


def _stages(in_channels: int, bias: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    fan_in = in_channels
    for width, n_convolutions in _WIDTHS:
        for _ in range(n_convolutions):
            layers += [
                nn.Conv2d(fan_in, width, 3, padding=1, bias=bias),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            fan_in = width
        layers.append(nn.MaxPool2d(2))
    return layers


def _dense(fan_in: int, width: int) -> list[nn.Module]:
    return [nn.Linear(fan_in, width), nn.ReLU(inplace=True), nn.Dropout(0.2)]
