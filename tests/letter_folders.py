"""Folders of drawn letters, a directory per class, some of them in a wrong one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LETTERS = ("A", "O", "T")


def letter(text: str, seed: int, side: int = 32) -> Image.Image:
    """Return a letter at its own place and size, in black on white."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), "white")
    size = int(rng.integers(side * 5 // 8, side * 7 // 8))
    place = (int(rng.integers(side // 4)), int(rng.integers(side // 8)))
    ImageDraw.Draw(image).text(place, text, fill="black", font=ImageFont.load_default(size))
    return image


def letter_folder(root: Path, per_class: int = 20, wrong: int = 2) -> set[str]:
    """Write a folder of letters; return the names of those in a wrong class folder."""
    moved = set()
    for k, text in enumerate(LETTERS):
        for i in range(per_class):
            home = LETTERS[(k + 1) % len(LETTERS)] if i < wrong else text
            name = f"{home}/{text}{i:03d}.png"
            (root / home).mkdir(parents=True, exist_ok=True)
            letter(text, seed=1000 * k + i).save(root / name)
            if home != text:
                moved.add(name)
    return moved
