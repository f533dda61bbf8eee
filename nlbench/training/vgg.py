"""VGG-19 with batch normalisation for 64 x 64 pixels, as ANIMAL-10N is trained on.

Paper: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015 (arXiv 1409.1556), configuration E, with batch normalisation after every convolution.
The head is that of the ANIMAL-10N protocol: 4096 - 4096 - K with dropout 0.2 on the 2 x 2 maps
that 64 pixels leave. Other sizes are pooled to 2 x 2; the convolutions halve the side five times.
"""

from __future__ import annotations

from torch import Tensor, nn

from nlbench.errors import ConfigError
from nlbench.training.initial_weights import he_normal

_WIDTHS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
_LEAST_SIDE = 32


class VGG19BN(nn.Module):
    """Sixteen 3 x 3 convolutions in five stages, and three fully connected layers."""

    def __init__(self, in_channels: int, n_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        fan_in = in_channels
        for width, n_convolutions in _WIDTHS:
            for _ in range(n_convolutions):
                layers += [
                    nn.Conv2d(fan_in, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                fan_in = width
            layers.append(nn.MaxPool2d(2))
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
                f"network 'vgg19-bn-64' must be given images of at least {_LEAST_SIDE} pixels, "
                f"got {side}. Give --set protocol.image_size=64, or another trainer.network."
            )
        logits: Tensor = self.head(self.features(images))
        return logits


def _dense(fan_in: int, width: int) -> list[nn.Module]:
    return [nn.Linear(fan_in, width), nn.ReLU(inplace=True), nn.Dropout(0.2)]
