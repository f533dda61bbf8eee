"""Images by position, without any label: what selectors, encoders and trainers read from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from nlbench.data.content_keys import Keys, pixel_keys

Mode = Literal["shortest", "squash", "longest"]
Filter = Literal["bicubic", "bilinear"]


@dataclass(frozen=True)
class Fit:
    """How an image of any shape becomes a square.

    Attributes:
        mode: ``"shortest"`` scales the shorter side and cuts out the centre, ``"squash"`` stretches
            both sides, ``"longest"`` scales the longer side and fills up around the image.
        interpolation: Both filters are antialiased where they make an image smaller.
        fill: Grey value around the image, in [0, 255]; of ``"longest"`` alone.
    """

    mode: Mode = "shortest"
    interpolation: Filter = "bicubic"
    fill: int = 0

    def scaled(self, height: int, width: int, side: int) -> tuple[int, int]:
        """Return height and width after scaling, before anything is cut off or filled up."""
        if self.mode == "squash":
            return side, side
        if self.mode == "longest":
            longer = max(height, width)
            return max(1, round(side * height / longer)), max(1, round(side * width / longer))
        # The longer side rounds down: as torchvision's transforms do.
        shorter = min(height, width)
        return side * height // shorter, side * width // shorter

    def squared(self, batch: Tensor, side: int) -> Tensor:
        """Return a scaled batch (B, C, H, W) with its centre cut out, or filled up, to a square."""
        height, width = batch.shape[-2:]
        if height < side or width < side:
            # Odd rows go below and to the right, as in open_clip's own padding.
            left, top = max(0, side - width) // 2, max(0, side - height) // 2
            right, bottom = max(0, side - width - left), max(0, side - height - top)
            batch = pad(batch, [left, right, top, bottom], value=self.fill)
        # The corner rounds to the nearest: as torchvision's transforms do.
        top, left = (round((length - side) / 2) for length in batch.shape[-2:])
        return batch[..., top : top + side, left : left + side]


CENTRE = Fit()


class ImageSource(Protocol):
    """Images by position, without any label."""

    def __len__(self) -> int:
        """Return the number of images."""

    def load(self, indices: Tensor, size: int | None = None, fit: Fit = CENTRE) -> Tensor:
        """Return uint8 images (B, C, H, W), H = W = `size` where given, fitted as `fit` says."""


@dataclass(frozen=True, eq=False)
class TensorImages:
    """Images that fit in memory, as one uint8 tensor (N, C, H, W)."""

    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def load(self, indices: Tensor, size: int | None = None, fit: Fit = CENTRE) -> Tensor:
        """Return uint8 images (B, C, H, W), resized where `size` is given."""
        batch = self.images[indices.to(self.images.device)]
        return batch if size is None else resized(batch, size, fit)

    def content_keys(self) -> Keys:
        """Return what tells the same images, (N,); see `content_keys`."""
        return pixel_keys(self.images)


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Images in a file that are read where they are indexed, for more of them than memory.

    Stands in for a tensor (N, C, H, W) where images are taken by positions or batch by batch.

    Attributes:
        pixels: (M, C, H, W) uint8, mapped from the file.
        rows: (N,) int64, which of them, on the CPU.
        device: Where what is read goes.
    """

    pixels: Tensor
    rows: Tensor
    device: torch.device

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""
        return torch.Size((len(self), *self.pixels.shape[1:]))

    def __getitem__(self, positions: Tensor) -> Tensor:
        """Return the images at these positions, (B, C, H, W) uint8 on the device."""
        batch = self.pixels[self.rows[positions.cpu()]]
        if self.device.type == "cuda":
            batch = batch.pin_memory()
        return batch.to(self.device, non_blocking=True)

    def split(self, n: int) -> Iterator[Tensor]:
        """Return all images in order, n at a time."""
        for positions in torch.arange(len(self)).split(n):
            yield self[positions]

    def load(self, indices: Tensor, size: int | None = None, fit: Fit = CENTRE) -> Tensor:
        """Return uint8 images (B, C, H, W), resized where `size` is given."""
        batch = self[indices]
        return batch if size is None else resized(batch, size, fit)


@dataclass(frozen=True, eq=False)
class FittedImages:
    """Images that become squares in one way, whatever fit they are asked for in."""

    images: ImageSource
    fit: Fit

    def __len__(self) -> int:
        return len(self.images)

    def load(self, indices: Tensor, size: int | None = None, fit: Fit = CENTRE) -> Tensor:
        """Return uint8 images (B, C, H, W), H = W = `size` where given, in the own fit."""
        return self.images.load(indices, size, fit=self.fit)


StoredImages = Tensor | MappedImages
"""All images of a part, in memory or in a file."""


def part_of(images: StoredImages, rows: Tensor) -> StoredImages:
    """Return the images at these positions (on the CPU) without reading those in a file."""
    if isinstance(images, MappedImages):
        return MappedImages(images.pixels, images.rows[rows], images.device)
    return images[rows]


def as_source(images: StoredImages) -> ImageSource:
    """Return stored images as what is read by position and resized where asked."""
    return images if isinstance(images, MappedImages) else TensorImages(images)


@dataclass(frozen=True, eq=False)
class ImageRows:
    """Images as rows of numbers in [0, 1], read when asked for: an image's noise depends on it.

    Images in memory have their own size; those in files are read at `SIDE`, whatever the protocol
    trains on, so that the noise belongs to the data set alone.
    """

    SIDE: ClassVar[int] = 32

    images: ImageSource

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return (B, C * H * W) float64."""
        size = None if isinstance(self.images, TensorImages) else self.SIDE
        batch = self.images.load(torch.as_tensor(positions), size).flatten(1).cpu()
        rows: npt.NDArray[np.float64] = batch.double().div_(255).numpy()
        return rows


def resized(batch: Tensor, size: int, fit: Fit = CENTRE) -> Tensor:
    """Return a uint8 batch (B, C, H, W) as squares of this side, on the batch's device."""
    if batch.shape[-2:] == (size, size):
        return batch
    from torchvision.transforms.v2 import functional  # seconds of imports

    filters = functional.InterpolationMode(fit.interpolation)
    scaled = list(fit.scaled(batch.shape[-2], batch.shape[-1], size))
    out: Tensor = functional.resize(batch, scaled, interpolation=filters, antialias=True)
    return fit.squared(out, size)
