"""Turn font files into a bank of stroke-distance fields, the only image source of both models.

A glyph is kept as two maps that say how far each pixel is from the stroke: once from the outline
(the designer's contrast) and once from the one-pixel skeleton (a pen of constant width). Cutting
a map at a height `h` draws the glyph with a stroke half-width of `h` pixels, so the augmentation
chooses the pen without rendering again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

CANVAS = 48  # side of a stored map in pixels
EXTENT = 36  # longest side of the glyph in it
PACKAGE_LIST = Path(__file__).with_name("font_packages.txt")
# Symbol fonts, shadow and outline fonts, and a two-script face that repeats another.
SKIPPED_FILES = ("LastResort", "STIXSiz", "STIXNonUni", "cmex", "cmsy", "StandardSymbols", "D0500")
SKIPPED_FAMILIES = ("Karla Tamil",)  # repeats the Latin of Karla


@dataclass(frozen=True)
class Font:
    """One font file with what sampling needs to know about it."""

    path: Path
    family: str
    style: str  # "hand" or "print"
    characters: frozenset[str]


@dataclass
class GlyphBank:
    """Stroke-distance maps of many glyphs.

    Attributes:
        maps: (G, 2, CANVAS, CANVAS) float16, distance in pixels; [:, 0] outline, [:, 1] skeleton.
        characters: G characters.
        weights: (G,) sampling weight; every family of a style weighs the same.
    """

    maps: torch.Tensor
    characters: list[str]
    weights: torch.Tensor


def find_fonts(extra: Path | None) -> list[Font]:
    """Gives matplotlib's own text fonts and those under `extra/<debian package>/`."""
    shipped = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [_read_font(path, "print") for path in sorted(shipped.glob("*.ttf"))]
    if extra is not None:
        fonts += _package_fonts(extra)
    return _one_file_per_face([font for font in fonts if font is not None])


def split_families(fonts: Sequence[Font]) -> tuple[list[Font], list[Font]]:
    """Splits into training and held-out fonts: every sixth family of each style is held out."""
    held_out: set[str] = set()
    for style in ("hand", "print"):
        families = sorted({font.family for font in fonts if font.style == style})
        held_out.update(families[2::6])
    train = [font for font in fonts if font.family not in held_out]
    return train, [font for font in fonts if font.family in held_out]


def fonts_digest(fonts: Sequence[Font]) -> str:
    """Gives one SHA-256 over the bytes of all font files, to compare two machines."""
    digests = sorted(hashlib.sha256(font.path.read_bytes()).hexdigest() for font in fonts)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def render_bank(fonts: Sequence[Font], characters: str, hand_weight: float = 3.0) -> GlyphBank:
    """Renders every character that a font has; a hand-like family weighs `hand_weight` times."""
    faces = Counter(font.family for font in fonts)
    masks, kept, weights = [], [], []
    for font in fonts:
        face = ImageFont.truetype(str(font.path), 4 * CANVAS)
        weight = (hand_weight if font.style == "hand" else 1.0) / faces[font.family]
        for character in characters:
            mask = _draw(face, character) if character in font.characters else None
            if mask is not None and not (character == "0" and _has_filled_centre(mask)):
                masks.append(mask)
                kept.append(character)
                weights.append(weight)
    maps = _stroke_distances(np.stack(masks))
    return GlyphBank(maps, kept, torch.tensor(weights))


def _package_fonts(folder: Path) -> list[Font | None]:
    fonts: list[Font | None] = []
    for package, style in _packages():
        files = sorted(p for p in (folder / package).rglob("*.[ot]tf") if p.is_file())
        if not files:
            raise FileNotFoundError(
                f"no font of {package} under {folder}; run tools/bundled_models/fetch_fonts.sh"
            )
        fonts += [_read_font(path, style) for path in files]
    return fonts


def _packages() -> list[tuple[str, str]]:
    lines = PACKAGE_LIST.read_text(encoding="utf-8").splitlines()
    pairs = [line.split() for line in lines if line and not line.startswith("#")]
    return [(package, style) for package, style in pairs]


def _read_font(path: Path, style: str) -> Font | None:
    if path.name.startswith(SKIPPED_FILES):
        return None
    table = TTFont(path, lazy=True)
    family = table["name"].getBestFamilyName() or path.stem
    if family.startswith(SKIPPED_FAMILIES):
        return None
    characters = frozenset(chr(code) for code in (table.getBestCmap() or {}))
    return Font(path, family, style, characters)


def _one_file_per_face(fonts: Sequence[Font]) -> list[Font]:
    return list({font.path.stem: font for font in fonts}.values())


def _draw(face: ImageFont.FreeTypeFont, character: str) -> npt.NDArray[np.bool_] | None:
    """Draws a character, cropped to its ink, scaled to EXTENT and centred; None if blank."""
    left, top, right, bottom = (round(edge) for edge in face.getbbox(character))
    page = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(page).text((-left, -top), character, fill=255, font=face)
    box = page.getbbox()
    if box is None:
        return None
    ink = page.crop(box)
    scale = EXTENT / max(ink.size)
    size = [max(2, round(side * scale)) for side in ink.size]
    canvas = Image.new("L", (CANVAS, CANVAS))
    corner = ((CANVAS - size[0]) // 2, (CANVAS - size[1]) // 2)
    canvas.paste(ink.resize((size[0], size[1]), Image.Resampling.BOX), corner)
    mask: npt.NDArray[np.bool_] = np.asarray(canvas) > 127
    return mask if mask.sum() > 20 else None


def _has_filled_centre(mask: npt.NDArray[np.bool_]) -> bool:
    """Tells a slashed or dotted zero from an open one."""
    middle = slice(CANVAS // 2 - 3, CANVAS // 2 + 3)
    return bool(mask[middle, middle].any())


def _stroke_distances(masks: npt.NDArray[np.bool_]) -> torch.Tensor:
    """Gives the outline and the skeleton distance of (G, H, W) masks as (G, 2, H, W)."""
    skeletons = np.concatenate([thin(masks[i : i + 512]) for i in range(0, len(masks), 512)])
    maps = np.empty((len(masks), 2, *masks.shape[1:]), dtype=np.float16)
    for index, (mask, skeleton) in enumerate(zip(masks, skeletons, strict=True)):
        inside = ndimage.distance_transform_edt(mask)
        outside = ndimage.distance_transform_edt(~mask)
        half_width = float(np.median(inside[skeleton])) if skeleton.any() else 1.0
        maps[index, 0] = outside - inside + half_width
        maps[index, 1] = ndimage.distance_transform_edt(~skeleton)
    return torch.from_numpy(maps)


def thin(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Thins (G, H, W) shapes to one-pixel skeletons, all at once.

    Source: Zhang and Suen, "A fast parallel algorithm for thinning digital patterns", 1984.
    """
    shape = masks.copy()
    changed = True
    while changed:
        changed = False
        for step in (0, 1):
            removable = shape & _removable(shape, step)
            shape &= ~removable
            changed |= bool(removable.any())
    return shape


def _removable(shape: npt.NDArray[np.bool_], step: int) -> npt.NDArray[np.bool_]:
    padded = np.pad(shape, ((0, 0), (1, 1), (1, 1)))
    height, width = shape.shape[1:]
    offsets = [(0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0)]  # north, clockwise
    ring = [padded[:, y : y + height, x : x + width] for y, x in offsets]
    n_neighbours = sum(pixel.astype(np.int8) for pixel in ring)
    n_starts = sum((~a & b).astype(np.int8) for a, b in zip(ring, ring[1:] + ring[:1], strict=True))
    north, east, south, west = ring[0], ring[2], ring[4], ring[6]
    if step == 0:
        edge = ~(north & east & south) & ~(east & south & west)
    else:
        edge = ~(north & east & west) & ~(north & south & west)
    inner = (n_neighbours >= 2) & (n_neighbours <= 6)
    result: npt.NDArray[np.bool_] = inner & (n_starts == 1) & edge
    return result
