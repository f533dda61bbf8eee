"""Findings about made pictures, and the page of them, for the tests of `nlbench clean`'s page."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlbench.audit.findings import (
    ClassFinding,
    Findings,
    PairFinding,
    PictureProblem,
    Share,
    Suspect,
)
from nlbench.audit.page import write_page
from nlbench.audit.samples import Samples
from nlbench.data.images import TensorImages

CLASSES = ("cat", "dog", "horse", "ship")
SELECTORS = ("confident-learning", "knn")


def samples_of(n: int = 40, names: Sequence[str] = (), **changes: Any) -> Samples:
    """Return n pictures of random pixels, labelled in turn; the last class is the part test."""
    pixels = torch.randint(0, 256, (n, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    made = Samples(
        name="made",
        names=[*names, *(f"train/{i:04d}.png" for i in range(len(names), n))],
        labels=np.arange(n, dtype=np.int64) % len(CLASSES),
        class_names=CLASSES,
        parts=["test" if i % 4 == 3 else "train" for i in range(n)],
        images=TensorImages(pixels.to(torch.uint8)),
        fingerprint="f" * 64,
    )
    return replace(made, **changes)


def suspect(samples: Samples, row: int, step: int = 1) -> Suspect:
    """Return a suspect whose suggestion is the `step`-th class after its own."""
    n, k, given = len(samples), samples.n_classes, int(samples.labels[row])
    return Suspect(
        row=row,
        given=given,
        suggested=(given + step) % k,
        score=row / n - 1,
        dropped_by=SELECTORS[: 1 + row % 2],
        reasons=(f"reason {row}", "neighbours"),
        like_given=((row + k) % n,),
        like_suggested=((row + step) % n,),
    )


PROBLEMS = (
    PictureProblem("copies", (1, 3), "same bytes"),
    PictureProblem("dark", (5,), "brightness 2.0"),
    PictureProblem("dark", (6,), "brightness 3.0"),
)


def findings_of(samples: Samples, n_suspects: int = 12, **changes: Any) -> Findings:
    """Return findings with suspects 0, 1, 2 ..., of which every third is two classes off."""
    suspects = tuple(suspect(samples, row, 1 + (row % 3 == 0)) for row in range(n_suspects))
    pairs: dict[tuple[int, int], int] = {}
    for one in suspects:
        pairs[one.given, one.suggested] = pairs.get((one.given, one.suggested), 0) + 1
    made = Findings(
        wrong=Share(0.09, 0.086, 0.094),
        classes=tuple(
            ClassFinding(
                k, len(samples) // samples.n_classes, 3, Share(0.1 * k, 0.05 * k, 0.12 * k)
            )
            for k in range(samples.n_classes)
        ),
        pairs=tuple(PairFinding(*pair, n) for pair, n in pairs.items()),
        suspects=suspects,
        not_judged=(),
        problems=PROBLEMS,
        selectors=SELECTORS,
        agreement=0.9,
        encoder="efficientnet-lite0",
    )
    return replace(made, **changes)


def page_of(folder: Path, samples: Samples, findings: Findings, **options: Any) -> Path:
    return write_page(folder / "index.html", samples, findings, **options)


def data_in(page: Path) -> dict[str, Any]:
    """Return what the page's script reads, as a browser would find it."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def pictures_in(page: Path) -> list[str]:
    """Return the pictures in base64, in the order of their places."""
    pieces = re.findall(r'id="pictures-\d+">(.*?)</script>', page.read_text())
    return [picture for piece in pieces for picture in json.loads(piece)]
