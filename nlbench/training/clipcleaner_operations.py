"""The image operations of AutoAugment and RandAugment as CLIPCleaner's released code has them.

CLIPCleaner (arXiv 2408.10012) augments with a widespread PyTorch version of AutoAugment. Against
the operations of `image_operations` (facts read off the code, numbers compared with Pillow):

- what an image loses at one border is grey (128) at the other, not black;
- rotations turn counter-clockwise only; all other directions are drawn;
- shearing interpolates by Pillow's cubic convolution; rotations and shifts fetch the nearest pixel;
- shifts are not cut to whole pixels, and the threshold of Solarize starts at 256, not at 255;
- RandAugment has Cutout beside the others: a square of one colour.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from nlbench.training.image_operations import (
    MOST_SHEAR,
    MOST_SHIFT,
    OPERATIONS,
    Operation,
    matrices,
    rotations,
    warp,
)

CUTOUT = "Cutout"

_FILL = 128
_MOST_CUT = 20  # pixels a side
_CUT_COLOUR = (125, 122, 113)
_CUBIC = -1.0  # the kernel's slope at 1; Keys, IEEE TASSP 1981, equation 15, has -0.5


def _shear_x(images: Tensor, amounts: Tensor) -> Tensor:
    """Move each row sideways by a share of its height, interpolating along it."""
    device, (height, width) = images.device, images.shape[2:]
    slope = (MOST_SHEAR * amounts).to(device, non_blocking=True)[:, None, None]
    centres = torch.arange(width, device=device) + 0.5
    source = centres + slope * (torch.arange(height, device=device) + 0.5)[:, None]
    inside = ((source >= 0) & (source < width))[:, None]
    first = (source - 0.5).floor()
    beyond = (source - 0.5 - first)[:, None]
    # Two pixels more on each side, all like the border's.
    rows = pad(images.float(), (2, 2, 0, 0), mode="replicate")
    value = torch.zeros((), device=device)
    for tap in (-1, 0, 1, 2):
        column = (first + tap).clamp(-2, width + 1).long() + 2
        pixels = rows.gather(3, column[:, None].expand(images.shape))
        value = value + pixels * _cubic((beyond - tap).abs())
    # Pillow cuts the fraction off.
    sheared = value.clamp(0, 255).to(torch.uint8)
    return torch.where(inside, sheared, _FILL)


def _cubic(distance: Tensor) -> Tensor:
    """Return the weight of a pixel at this distance in [0, 2], by cubic convolution."""
    a, d = _CUBIC, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return torch.where(d <= 1, near, far)


def _shear_y(images: Tensor, amounts: Tensor) -> Tensor:
    return _shear_x(images.transpose(2, 3), amounts).transpose(2, 3)


def _translate_x(images: Tensor, amounts: Tensor) -> Tensor:
    pixels = MOST_SHIFT * images.shape[3] * amounts
    return warp(images, matrices(len(amounts), {(0, 2): pixels}), _FILL)


def _translate_y(images: Tensor, amounts: Tensor) -> Tensor:
    pixels = MOST_SHIFT * images.shape[2] * amounts
    return warp(images, matrices(len(amounts), {(1, 2): pixels}), _FILL)


def _rotate(images: Tensor, amounts: Tensor) -> Tensor:
    return warp(images, rotations(images, amounts.abs()), _FILL)


def _solarize(images: Tensor, amounts: Tensor) -> Tensor:
    least = (256 * (1 - amounts.abs())).to(images.device, non_blocking=True)
    return torch.where(images >= least[:, None, None, None], 255 - images, images)


def cut_out(images: Tensor, amounts: Tensor, places: Tensor) -> Tensor:
    """Return a batch with a square of every image in one colour.

    Args:
        images: (B, C, H, W) uint8.
        amounts: (B,) in [-1, 1] on the CPU: the square's side as a share of 20 pixels.
        places: (B, 2) in [0, 1): its centre, down and across; outside the image it is cut off.

    Returns:
        (B, C, H, W) uint8.
    """
    device, (height, width) = images.device, images.shape[2:]
    half = ((_MOST_CUT * amounts.abs()).round() / 2).floor().to(device)[:, None]
    centre = (places * torch.tensor([height, width])).floor().to(device)

    def within(axis: int, length: int) -> Tensor:
        offset = torch.arange(length, device=device) - centre[:, axis : axis + 1]
        return (offset >= -half) & (offset < half)

    square = within(0, height)[:, None, :, None] & within(1, width)[:, None, None, :]
    colour = torch.tensor(_CUT_COLOUR, device=device)
    if images.shape[1] == 1:
        colour = colour.sum(dim=0, keepdim=True) // len(_CUT_COLOUR)
    return torch.where(square, colour[:, None, None].to(torch.uint8), images)


CLIPCLEANER_OPERATIONS: dict[str, Operation] = OPERATIONS | {
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": _rotate,
    "Solarize": _solarize,
}
