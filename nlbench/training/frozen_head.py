"""The trained part of a network whose encoder is frozen: a linear or two-layer head."""

from __future__ import annotations

import math

from torch import Tensor, nn


class FrozenHead(nn.Module):
    """Logits of embeddings, which take the place of images; nothing below them is trained.

    Unit-norm embeddings are scaled to the norm sqrt(D) / 4: a learning rate then suits any D, and
    0.05, the usual one, reaches the plateau before wrong labels are memorised (docs/features.md).

    Args:
        n_dimensions: D.
        n_classes: K.
        hidden: Units of a ReLU layer in between; 0 for a linear head.
    """

    def __init__(self, n_dimensions: int, n_classes: int, hidden: int = 0) -> None:
        super().__init__()
        self.scale = math.sqrt(n_dimensions) / 4
        layers: list[nn.Module] = []
        if hidden:
            layers = [nn.Linear(n_dimensions, hidden), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden or n_dimensions, n_classes))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return logits (B, K) of unit-norm embeddings (B, D, 1, 1)."""
        logits: Tensor = self.layers(embeddings.flatten(1) * self.scale)
        return logits
