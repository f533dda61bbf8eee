"""Pictures that are odd by themselves: of one colour, tiny, strips, nearly black or white."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nlbench.audit.findings import PictureProblem
from nlbench.audit.pictures.sight import Sights

BLANK = 12
"""Levels of 255 that the middle 98 % of the pixels span in every colour; JPEG noise spans 10."""
TINY = 4
"""Times smaller than the median side (root of the area): one pixel for sixteen of the others."""
LONG = 3.0
"""Longer over shorter side; cameras give up to 2.4 (cinema), CleanVision's limit is 1 / 0.35."""
LONGER_THAN_USUAL = 2.0
"""Times the median ratio, so that a data set of strips is not odd as a whole."""
DARK = 50
"""99 % of the pixels are darker, of 255. CleanVision's 82 calls night photographs dark."""
LIGHT = 230
"""99 % of the pixels are lighter, of 255: white paper with faint marks, beyond JPEG noise."""


def odd_problems(seen: Sights) -> list[PictureProblem]:
    """Return the pictures that are odd by themselves; each once among blank, dark and light."""
    blank = seen["is_seen"] & (seen["spread"] <= BLANK)
    rest = seen["is_seen"] & ~blank
    dark = rest & (seen["light_end"] < DARK)
    light = rest & (seen["dark_end"] > LIGHT)
    return [
        *(_one("blank", i, f"spans {seen['spread'][i]} of 255 levels") for i in _rows(blank)),
        *_odd_sizes(seen),
        *(_one("dark", i, f"99 % darker than {seen['light_end'][i]} of 255") for i in _rows(dark)),
        *(_one("light", i, f"99 % lighter than {seen['dark_end'][i]} of 255")
          for i in _rows(light)),
    ]  # fmt: skip


def _odd_sizes(seen: Sights) -> list[PictureProblem]:
    rows = np.flatnonzero(seen["is_seen"] & (seen["width"] > 0))
    if not len(rows):
        return []
    sides = np.stack([seen["width"][rows], seen["height"][rows]]).astype(np.float64)
    side, ratio = np.sqrt(sides.prod(axis=0)), sides.max(axis=0) / sides.min(axis=0)
    usual, usual_ratio = np.median(side), float(np.median(ratio))
    middle = rows[np.argsort(side, kind="stable")[len(side) // 2]]
    median = f"{seen['width'][middle]} x {seen['height'][middle]}"
    tiny = side * TINY <= usual
    odd = (ratio >= LONG) & (ratio >= LONGER_THAN_USUAL * usual_ratio)
    sizes = [f"{w} x {h} pixels" for w, h in sides.T.astype(int).tolist()]
    return [
        *(_one("tiny", rows[i], f"{sizes[i]}, median {median}") for i in _rows(tiny)),
        *(_one("odd-shape", rows[i], f"{sizes[i]}, ratio {ratio[i]:.1f}, median {usual_ratio:.1f}")
          for i in _rows(odd)),
    ]  # fmt: skip


def _rows(mask: npt.NDArray[np.bool_]) -> list[int]:
    return [int(row) for row in np.flatnonzero(mask)]


def _one(kind: str, row: int, detail: str) -> PictureProblem:
    return PictureProblem(kind, (int(row),), detail)
