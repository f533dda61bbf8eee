"""Draw whole batches of glyphs the way a scanned, size-normalised character looks.

Steps: choose outline or pen, bend the glyph (slant, rotation, stretch, smooth elastic field), cut
the map at a random stroke width, fit the ink into a square box, count ink in blocks (8x8 to 32x32
cells), quantise the count and enlarge to 32x32. These follow the published preparation of small
digit and character scans (box-normalised bitmaps, counted in blocks); no scan is looked at.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from render_glyphs import CANVAS

IMAGE_SIDE = 32
LEVELS = 16  # ink levels per cell


def draw_batch(maps: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draws one augmented image per glyph.

    Args:
        maps: (B, 2, CANVAS, CANVAS) stroke distances of a glyph bank.
        generator: Source of all randomness.

    Returns:
        (B, IMAGE_SIDE, IMAGE_SIDE) float32 in [0, 1], bright ink on black.
    """
    chosen = (torch.rand(len(maps), generator=generator) < 0.6).long()
    field = maps[torch.arange(len(maps)), chosen].float()[:, None]
    half_width = _uniform(len(maps), 1.2, 4.2, generator)[:, None, None, None]
    bent = F.grid_sample(
        field, _bend_grid(len(maps), generator), padding_mode="border", align_corners=False
    )
    boxes = _ink_boxes(bent[:, 0] < half_width[:, 0])
    fitted = F.grid_sample(
        bent, _box_grid(boxes, generator), padding_mode="border", align_corners=False
    )
    ink = torch.sigmoid((half_width - fitted) * 2.0)
    return enlarge(_count_ink(ink, generator))


def enlarge(images: torch.Tensor) -> torch.Tensor:
    """Enlarges (B, 1, h, w) images in [0, 1] to (B, 32, 32) like nlbench does on the device."""
    size = (IMAGE_SIDE, IMAGE_SIDE)
    large = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
    return large.clamp(0, 1)[:, 0]


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _bend_grid(n: int, generator: torch.Generator) -> torch.Tensor:
    """Gives (n, CANVAS, CANVAS, 2) sampling positions: affine plus a smooth random field."""
    angle = _uniform(n, -0.25, 0.25, generator)
    slant = _uniform(n, -0.45, 0.45, generator)
    stretch = torch.exp(_uniform(n, -0.25, 0.25, generator))
    zoom = 1.45  # leaves room for what slant and rotation push outwards
    rows = torch.stack(
        [
            stretch * angle.cos() + slant * angle.sin(),
            slant * angle.cos() - stretch * angle.sin(),
            torch.zeros(n),
            angle.sin(),
            angle.cos(),
            torch.zeros(n),
        ],
        dim=1,
    )
    grid = F.affine_grid(zoom * rows.view(n, 2, 3), [n, 1, CANVAS, CANVAS], align_corners=False)
    return grid + _elastic_field(n, 4, 0.13, generator) + _elastic_field(n, 7, 0.05, generator)


def _elastic_field(
    n: int, knots: int, amplitude: float, generator: torch.Generator
) -> torch.Tensor:
    strength = amplitude * torch.rand(n, 1, 1, 1, generator=generator)
    coarse = strength * torch.randn(n, 2, knots, knots, generator=generator)
    field = F.interpolate(coarse, (CANVAS, CANVAS), mode="bicubic", align_corners=True)
    return field.permute(0, 2, 3, 1)


def _ink_boxes(ink: torch.Tensor) -> torch.Tensor:
    """Gives (B, 4) ink boxes (left, top, right, bottom) in pixels; the canvas if there is none."""
    rows, columns = ink.any(dim=2).float(), ink.any(dim=1).float()
    left, top = columns.argmax(1), rows.argmax(1)
    right = CANVAS - columns.flip(1).argmax(1)
    bottom = CANVAS - rows.flip(1).argmax(1)
    return torch.stack([left, top, right, bottom], dim=1).float()


def _box_grid(boxes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gives sampling positions that fit each box into the image: full height, centred."""
    n = len(boxes)
    left, top, right, bottom = boxes.unbind(1)
    side = torch.maximum(bottom - top, (right - left) * _uniform(n, 0.85, 1.15, generator))
    side = side * _uniform(n, 0.98, 1.12, generator)
    squeeze = _uniform(n, 0.8, 1.3, generator)  # width relative to height
    squeeze = torch.maximum(squeeze, (right - left) / side)
    centre_x = (left + right) / 2 + _uniform(n, -0.06, 0.06, generator) * side
    centre_y = (top + bottom) / 2 + _uniform(n, -0.03, 0.03, generator) * side
    rows = torch.zeros(n, 2, 3)
    rows[:, 0, 0], rows[:, 0, 2] = side * squeeze / CANVAS, 2 * centre_x / CANVAS - 1
    rows[:, 1, 1], rows[:, 1, 2] = side / CANVAS, 2 * centre_y / CANVAS - 1
    return F.affine_grid(rows, [n, 1, IMAGE_SIDE, IMAGE_SIDE], align_corners=False)


def _count_ink(ink: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Counts ink in 8x8 cells (mostly) or finer ones, adds slight noise and quantises."""
    draw = torch.rand(1, generator=generator).item()
    cells = 8 if draw < 0.75 else (16 if draw < 0.9 else 32)
    counts = F.adaptive_avg_pool2d(ink, cells)
    noise = 0.04 * torch.randn(counts.shape, generator=generator) * (counts > 0.02)
    counts = (counts + noise).clamp(0, 1)
    return (counts * LEVELS).round() / LEVELS


def cosine(step: int, n_steps: int) -> float:
    """Gives the learning-rate factor: linear warm-up over 5 %, then half a cosine to zero."""
    warm = max(1, n_steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, n_steps - warm)))
