"""Initial weights of the networks written here."""

from __future__ import annotations

from torch import nn


def he_normal(network: nn.Module) -> None:
    """Initialise in place from torch's generator.

    Convolutions as He et al. (ICCV 2015, arXiv 1502.01852, equation 14: fan out), fully connected
    layers from N(0, 0.01) with zero bias (VGG, arXiv 1409.1556, section 3.1).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
