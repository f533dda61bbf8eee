"""The image operations of AutoAugment and RandAugment, on batches with an amount per image.

Definitions: Cubuk et al., "AutoAugment", CVPR 2019 (arXiv 1805.09501), table 6, with the ranges
of torchvision's `transforms.v2`. Pixels are uint8; what an image loses at one border is black at
the other. Nearest-pixel sampling, as in the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Operation = Callable[[Tensor, Tensor], Tensor]

MOST_SHEAR = 0.3
MOST_SHIFT = 150 / 331  # of the side; the paper's 150 pixels are of 331
_MOST_DEGREES = 30.0
_MOST_CHANGE = 0.9
_MOST_BITS_LOST = 4


def _shear_x(images: Tensor, amounts: Tensor) -> Tensor:
    return warp(images, matrices(len(amounts), {(0, 1): MOST_SHEAR * amounts}))


def _shear_y(images: Tensor, amounts: Tensor) -> Tensor:
    return warp(images, matrices(len(amounts), {(1, 0): MOST_SHEAR * amounts}))


def _translate_x(images: Tensor, amounts: Tensor) -> Tensor:
    pixels = (MOST_SHIFT * images.shape[3] * amounts).trunc()
    return warp(images, matrices(len(amounts), {(0, 2): pixels}))


def _translate_y(images: Tensor, amounts: Tensor) -> Tensor:
    pixels = (MOST_SHIFT * images.shape[2] * amounts).trunc()
    return warp(images, matrices(len(amounts), {(1, 2): pixels}))


def _rotate(images: Tensor, amounts: Tensor) -> Tensor:
    return warp(images, rotations(images, amounts))


def rotations(images: Tensor, amounts: Tensor) -> Tensor:
    """Return (B, 2, 3) maps from output to input pixels, about the images' centre.

    Positive amounts turn the picture counter-clockwise.
    """
    angle = amounts * math.radians(_MOST_DEGREES)
    cos, sin = angle.cos(), angle.sin()
    x, y = images.shape[3] / 2, images.shape[2] / 2
    entries = {
        (0, 0): cos,
        (0, 1): -sin,
        (0, 2): x - cos * x + sin * y,
        (1, 0): sin,
        (1, 1): cos,
        (1, 2): y - sin * x - cos * y,
    }
    return matrices(len(amounts), entries)


def matrices(n: int, entries: dict[tuple[int, int], Tensor]) -> Tensor:
    """Return (n, 2, 3) maps from output to input pixels, the identity but for the entries."""
    maps = torch.eye(2, 3).repeat(n, 1, 1)
    for (row, column), values in entries.items():
        maps[:, row, column] = values
    return maps


def warp(images: Tensor, maps: Tensor, fill: int = 0) -> Tensor:
    """Fetch every pixel's centre from where its image's map says, one grey from outside."""
    n, channels, height, width = images.shape
    matrix = maps.to(images.device, non_blocking=True)[..., None]
    pixel = torch.arange(height * width, device=images.device)
    across, down = pixel % width + 0.5, pixel // width + 0.5
    source = (matrix[:, :, 0] * across + matrix[:, :, 1] * down + matrix[:, :, 2]).floor().long()
    column, row = source[:, 0], source[:, 1]
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    position = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    fetched = images.flatten(2).gather(2, position[:, None].expand(n, channels, -1))
    return torch.where(inside[:, None], fetched, fill).reshape(images.shape)


def _blend(images: Tensor, plain: Tensor, amounts: Tensor) -> Tensor:
    """Move every image towards its plain version (negative amounts) or away from it."""
    factor = (1 + _MOST_CHANGE * amounts).to(images.device, non_blocking=True)[:, None, None, None]
    mixed = plain + factor * (images.float() - plain)
    return mixed.round().clamp(0, 255).to(torch.uint8)


def _brightness(images: Tensor, amounts: Tensor) -> Tensor:
    return _blend(images, torch.zeros_like(images), amounts)


def _color(images: Tensor, amounts: Tensor) -> Tensor:
    from torchvision.transforms.v2 import functional

    return _blend(images, functional.adjust_saturation(images, 0.0), amounts)


def _contrast(images: Tensor, amounts: Tensor) -> Tensor:
    from torchvision.transforms.v2 import functional

    grey = images if images.shape[1] == 1 else functional.rgb_to_grayscale(images)
    return _blend(images, grey.float().mean(dim=(1, 2, 3), keepdim=True), amounts)


def _sharpness(images: Tensor, amounts: Tensor) -> Tensor:
    # The mean over 3 x 3 pixels with the centre five times; borders stay.
    pixels = images.float()
    smooth = pixels.clone()
    rows = pixels[..., :-2, :] + pixels[..., 1:-1, :] + pixels[..., 2:, :]
    block = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth[..., 1:-1, 1:-1] = (block + 4 * pixels[..., 1:-1, 1:-1]) / 13
    return _blend(images, smooth.round(), amounts)


def _posterize(images: Tensor, amounts: Tensor) -> Tensor:
    lost = (_MOST_BITS_LOST * amounts.abs()).round()
    mask = (256 - 2**lost).to(torch.uint8).to(images.device, non_blocking=True)
    return images & mask[:, None, None, None]


def _solarize(images: Tensor, amounts: Tensor) -> Tensor:
    least = (255 * (1 - amounts.abs())).ceil().to(torch.uint8)
    threshold = least.to(images.device, non_blocking=True)
    return torch.where(images >= threshold[:, None, None, None], 255 - images, images)


def _auto_contrast(images: Tensor, amounts: Tensor) -> Tensor:
    from torchvision.transforms.v2 import functional

    stretched: Tensor = functional.autocontrast(images)
    return stretched


def _equalize(images: Tensor, amounts: Tensor) -> Tensor:
    from torchvision.transforms.v2 import functional

    flat: Tensor = functional.equalize(images)
    return flat


def _invert(images: Tensor, amounts: Tensor) -> Tensor:
    return 255 - images


def _identity(images: Tensor, amounts: Tensor) -> Tensor:
    return images


OPERATIONS: dict[str, Operation] = {
    "Identity": _identity,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": _rotate,
    "Brightness": _brightness,
    "Color": _color,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _invert,
}


def operate(
    name: str, images: Tensor, amounts: Tensor, operations: dict[str, Operation] = OPERATIONS
) -> Tensor:
    """Return a uint8 batch after one operation.

    Args:
        name: A key of `operations`.
        images: (B, C, H, W) uint8, C 1 or 3, on any device.
        amounts: (B,) in [-1, 1] on the CPU, as a share of the operation's range; its sign counts
            where the operation has a direction.
        operations: By name.

    Returns:
        (B, C, H, W) uint8.
    """
    return operations[name](images, amounts)
