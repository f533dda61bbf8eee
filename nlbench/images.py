"""Images by position, without any label: what selectors, encoders and trainers read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class ImageSource(Protocol):
    """Images by position, without any label."""

    def __len__(self) -> int:
        """Give the number of images."""

    def load(self, indices: Tensor, size: int | None = None) -> Tensor:
        """Give uint8 images (B, C, H, W), H = W = `size` where given."""


@dataclass(frozen=True, eq=False)
class TensorImages:
    """Images that fit in memory, as one uint8 tensor (N, C, H, W)."""

    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def load(self, indices: Tensor, size: int | None = None) -> Tensor:
        """Give uint8 images (B, C, H, W), resized (bicubic, antialiased) where asked."""
        batch = self.images[indices.to(self.images.device)]
        return batch if size is None else resized(batch, size)


def resized(batch: Tensor, size: int) -> Tensor:
    """Give a uint8 batch with the given side, on the batch's device."""
    from torchvision.transforms.v2 import functional

    if batch.shape[-2:] == (size, size):
        return batch
    out: Tensor = functional.resize(
        batch, [size, size], interpolation=functional.InterpolationMode.BICUBIC, antialias=True
    )
    return out
