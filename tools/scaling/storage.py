"""Bytes and seconds per sample: of what a run writes, of decoding, and what follows for 10^8."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nlbench.data.file_images import FileImages
from nlbench.results.samples import SelectedSamples, write_selection
from nlbench.selector import Selection


@dataclass(frozen=True)
class Evidence:
    """What a run keeps of each sample: bytes, and processor seconds to write and read back."""

    n: int
    bytes_each: float
    write_us: float
    columns: dict[str, float]


def evidence(n: int) -> Evidence:
    """Write the samples of one run as every run does; scores are random, ids are file names."""
    import pyarrow.parquet as pq

    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(1000, (n,), generator=generator)
    wrong = torch.rand(n, generator=generator) < 0.4
    samples = SelectedSamples(
        ids=[f"class_{label:03d}/image_{number:09d}.jpg" for number, label in enumerate(labels)],
        positions=torch.arange(n),
        images=torch.empty(n, 0),
        noisy_labels=torch.where(wrong, (labels + 1) % 1000, labels),
        clean_labels=labels,
        selection=Selection(keep=~wrong, score=torch.rand(n, generator=generator)),
    )
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        path = write_selection(Path(folder), samples)
        seconds = time.process_time() - started
        size, groups = path.stat().st_size, pq.ParquetFile(path).metadata
    columns: dict[str, float] = {}
    for group in range(groups.num_row_groups):
        for number in range(groups.num_columns):
            column = groups.row_group(group).column(number)
            name, held = column.path_in_schema, column.total_compressed_size / n
            columns[name] = columns.get(name, 0.0) + held
    return Evidence(n, size / n, seconds / n * 1e6, columns)


@dataclass(frozen=True)
class Decoding:
    """Of one JPEG: bytes, and milliseconds of one core to decode and scale it."""

    bytes_each: float
    ms: float


def decoding(n: int, side: int = 224) -> Decoding:
    """Decode made-up photographs of ImageNet's usual 500 x 375 pixels; seconds of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        names = tuple(f"{number}.jpg" for number in range(16))
        for number, name in enumerate(names):
            _photograph(number).save(Path(folder) / name, quality=95)
        images, order = FileImages(Path(folder), names), torch.arange(n) % len(names)
        images.load(order[:16], side)
        started = time.process_time()
        for part in order.split(32):
            images.load(part, side)
        spent = time.process_time() - started
        size = sum((Path(folder) / name).stat().st_size for name in names) / len(names)
    return Decoding(size, spent / n * 1000)


def _photograph(seed: int) -> Image.Image:
    """Return soft shapes with a little grain: about as many bytes as a photograph."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    pixels = np.asarray(soft.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.int16)
    return Image.fromarray((pixels + rng.integers(-9, 10, pixels.shape)).clip(0, 255).astype("u1"))
