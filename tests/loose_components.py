"""A small file of every kind of component, as `--plugin` takes it."""

from __future__ import annotations

from pathlib import Path

SELECTOR = '''"""Keeps what a seeded draw keeps; for tests."""
from dataclasses import dataclass
import nlbench as nb


@dataclass(frozen=True)
class Mine(nb.Selector):
    share: float = 0.5
    k: int = 5

    def select(self, data):
        score = data.uniform("mine")
        return nb.Selection(keep=score >= 1 - self.share, score=score)
'''
TRAINER = '''"""Label smoothing that only this file knows; for tests."""
from dataclasses import dataclass
from nlbench.training.label_smoothing import LabelSmoothing as _Base


@dataclass(frozen=True)
class Mine(_Base):
    pass
'''
NOISE = '''"""Swaps the first two classes; for tests."""
import numpy as np


def swap_two(clean, n_classes, rate: float, rng):
    """Each label of class 0 or 1 is the other one with this rate."""
    labels = clean.copy()
    hit = (rng.random(len(clean)) < rate) & (clean < 2)
    labels[hit] = 1 - clean[hit]
    matrix = np.eye(n_classes)
    matrix[:2, :2] = [[1 - rate, rate], [rate, 1 - rate]]
    return labels, matrix


def _helper(clean, n_classes, rate, rng):
    return clean, np.eye(n_classes)
'''
DATASET = '''"""Stripes, upright or not; for tests."""
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from nlbench import Dataset, ImageData, TensorImages


@dataclass(frozen=True)
class Stripes(Dataset):
    recipe: ClassVar[str] = "standard/digits"
    n: int = 120

    def load(self, data_dir):
        rng = np.random.default_rng(0)
        labels = np.resize([0, 1], self.n)
        images = rng.integers(0, 60, (self.n, 1, 8, 8)).astype(np.uint8)
        images[labels == 0, :, ::2] += 150
        images[labels == 1, :, :, ::2] += 150
        half = self.n * 2 // 3
        return ImageData(
            name="stripes", class_names=("lying", "upright"),
            train_images=TensorImages(torch.from_numpy(images[:half])), train_labels=labels[:half],
            train_ids=tuple(f"train/{i}" for i in range(half)),
            test_images=TensorImages(torch.from_numpy(images[half:])), test_labels=labels[half:],
            fingerprint=f"stripes-{self.n}", split="the last third",
        )
'''
ENCODER = '''"""The bundled glyph backbone under another name; for tests."""
from nlbench import Encoder
from nlbench.encoders.bundled_models import bundled_glyphs


def mine(argument: str = "") -> Encoder:
    encoder = bundled_glyphs()
    encoder.name = "my-encoder"
    return encoder
'''
FILES = {
    "selectors": ("my_selector.py", SELECTOR),
    "trainers": ("my_trainer.py", TRAINER),
    "noises": ("my_noise.py", NOISE),
    "datasets": ("my_stripes.py", DATASET),
    "encoders": ("my_encoder.py", ENCODER),
}


def write_all(folder: Path) -> dict[str, Path]:
    """Write a file of each kind; return the files by kind."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for kind, (name, text) in FILES.items():
        paths[kind] = folder / name
        paths[kind].write_text(text)
    return paths
