"""A data set and an encoder that note what is embedded, for tests of `nlbench embed`."""

from __future__ import annotations

from pathlib import Path

N_TRAIN, N_TEST = 2560, 256
N = N_TRAIN + N_TEST
BATCH = 512
"""Images of a batch at this size: two make a shard."""

# Where there is a file "bad", the image of that number in the training set cannot be decoded.
DATASET = '''"""Random dots; for tests."""
import pathlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from nlbench import DataError, Dataset, ImageData, TensorImages
from nlbench.data.content_keys import pixel_keys
from nlbench.data.images import CENTRE

BAD = pathlib.Path({folder!r}) / "bad"


class Dots(TensorImages):
    def load(self, indices, size=None, fit=CENTRE):
        if BAD.exists() and len(self) == {n_train} and int(BAD.read_text()) in indices.tolist():
            raise DataError(f"image 'train/{{BAD.read_text()}}.png' cannot be decoded.")
        return super().load(indices, size, fit)

    def content_keys(self):
        return pixel_keys(self.images)


@dataclass(frozen=True)
class DotData(Dataset):
    recipe: ClassVar[str] = "standard/digits"
    copies: int = 0

    def load(self, data_dir):
        rng = np.random.default_rng(0)
        train = rng.integers(0, 256, ({n_train}, 1, 8, 8)).astype(np.uint8)
        test = rng.integers(0, 256, ({n_test}, 1, 8, 8)).astype(np.uint8)
        if self.copies:
            train[-self.copies :] = train[: self.copies]
            test[: self.copies] = train[: self.copies]
        return ImageData(
            name="dots", class_names=("a", "b"),
            train_images=Dots(torch.from_numpy(train)), train_labels=np.resize([0, 1], len(train)),
            train_ids=tuple(f"train/{{i}}" for i in range(len(train))),
            test_images=Dots(torch.from_numpy(test)), test_labels=np.resize([0, 1], len(test)),
            fingerprint=f"dots-{{self.copies}}", split="as drawn",
        )
'''
ENCODER = '''"""The bundled glyph backbone; notes what it embeds; for tests."""
import os
import pathlib
import signal
import time
from nlbench import Encoder
from nlbench.encoders.bundled_models import bundled_glyphs

FOLDER = pathlib.Path({folder!r})


def tracked(argument: str = "") -> Encoder:
    encoder = bundled_glyphs()
    encoder.name, plain = "tracked", encoder.forward_images

    def noted(batch):
        node = os.environ.get("TEST_NODE_OF_NLBENCH", "here")
        with (FOLDER / "embedded").open("a") as file:
            file.write(f"{{os.getpid()}} {{node}} {{len(batch)}}\\n")
        n = len((FOLDER / "embedded").read_text().splitlines())
        {then}
        return plain(batch)

    encoder.forward_images = noted
    return encoder
'''


class EmbeddingPlugins:
    """Writes the two plugins into a folder, and reads what the encoder noted."""

    def __init__(self, folder: Path, then: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.notes = folder, folder / "embedded"
        self.data, self.encoder = folder / "dots.py", folder / "tracked.py"
        names = {"folder": str(folder), "n_train": N_TRAIN, "n_test": N_TEST}
        self.data.write_text(DATASET.format(**names))
        self.encoder.write_text(ENCODER.format(folder=str(folder), then=then or "pass"))

    @property
    def words(self) -> list[str]:
        """The command, which makes a part of each shard."""
        plugins = ["--plugin", str(self.data), "--plugin", str(self.encoder)]
        return [
            "embed", "--dataset", "dots", "--encoder", "tracked", "--part-size", "1", *plugins,
        ]  # fmt: skip

    def batches(self) -> list[tuple[int, str, int]]:
        """Return process, node and size of every batch that was begun."""
        if not self.notes.exists():
            return []
        lines = (line.split() for line in self.notes.read_text().splitlines())
        return [(int(pid), node, int(n)) for pid, node, n in lines]

    def n_embedded(self) -> int:
        return sum(n for _, _, n in self.batches())
