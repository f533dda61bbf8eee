"""Print the tables of docs/performance-embedding.md.

    python tools/performance.py embedding [--device cuda] [--images 2048] [--scale 10000 1000000]
    python tools/performance.py embedding --plot docs/images/embedding-scaling.png

Ours and the baseline run in alternation in one process; a ratio is the median of the rounds'.
The baseline is the loop of released code: a DataLoader with 4 workers, the model's own transform on
Pillow images, float32, one batch after the other.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn

from nlbench import TrainingData, corrupt, get_selector
from nlbench.data.file_images import FileImages
from nlbench.data.images import CENTRE, Fit, ImageSource, TensorImages
from nlbench.encoders.base import Encoder
from nlbench.encoders.cache import EmbeddingCache
from nlbench.encoders.extract import embedding_precision, extract
from nlbench.encoders.features import load_encoder
from nlbench.machine import PeakMemory

K, ROUNDS = 10, 3


class RandomViT(Encoder):
    """open_clip's ViT-B-32 with random weights: as fast as with learned ones."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        model = open_clip.CLIP(**open_clip.get_model_config("ViT-B-32"))
        super().__init__("ViT-B-32", model, 224, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))

    def forward_images(self, batch: Tensor) -> Tensor:
        """Run the model."""
        return self.model.encode_image(batch)  # type: ignore[operator]


class TinyProjection(Encoder):
    """512 numbers from 8 x 8 pixels: leaves the rest of the way to be measured."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 512))
        super().__init__("tiny", model, 8, (0.5,) * 3, (0.25,) * 3)

    def forward_images(self, batch: Tensor) -> Tensor:
        """Run the model."""
        return self.model(batch)


class MadeUpImages(ImageSource):
    """Tiny images that exist only while they are asked for."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def load(self, indices: Tensor, size: int | None = None, fit: Fit = CENTRE) -> Tensor:
        """Make the images at these positions."""
        generator = torch.Generator().manual_seed(int(indices[0]))
        return torch.randint(0, 256, (len(indices), 3, 8, 8), generator=generator).to(torch.uint8)


def write_photos(folder: Path, n: int) -> FileImages:
    """Write JPEGs of about 200 x 200 pixels, 18 KiB each, in K classes by their position."""
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 256, (K, 8, 8, 3))
    for i in range(n):
        base = (looks[i % K] * 0.6 + rng.integers(0, 256, (8, 8, 3)) * 0.4).astype(np.uint8)
        width, height = rng.integers(160, 261, 2).tolist()
        image = np.asarray(Image.fromarray(base).resize((width, height), Image.Resampling.BICUBIC))
        noisy = image + rng.integers(-20, 20, image.shape)
        jpeg = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        jpeg.save(folder / f"{i:05d}.jpg", quality=90)
    return FileImages(folder, tuple(f"{i:05d}.jpg" for i in range(n)))


class PillowImages(torch.utils.data.Dataset[Tensor]):
    """The data set class that released code has."""

    def __init__(self, images: ImageSource, n: int, encoder: Encoder) -> None:
        self.images, self.n = images, n
        settings = PreprocessCfg(size=encoder.input_size, mean=encoder.mean, std=encoder.std)
        self.transform = image_transform_v2(settings, is_train=False)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Tensor:
        if isinstance(self.images, FileImages):
            image = Image.open(self.images.root / self.images.names[i])
        else:
            image = Image.fromarray(self.images.images[i].permute(1, 2, 0).numpy())
        return self.transform(image)


@torch.no_grad()
def baseline(images: ImageSource, n: int, encoder: Encoder, device: torch.device) -> Tensor:
    """Embed the first n images as released code does."""
    loader = torch.utils.data.DataLoader(
        PillowImages(images, n, encoder), 256, num_workers=4, pin_memory=device.type == "cuda"
    )
    parts = [encoder.forward_images(batch.to(device)).cpu() for batch in loader]
    return nn.functional.normalize(torch.cat(parts), dim=1)


def ours(
    images: ImageSource, n: int, encoder: Encoder, device: torch.device, precision: Any = None
) -> Tensor:
    """Embed the first n images, without the cache."""
    precision = precision or embedding_precision(device, encoder)
    return torch.cat(list(extract(images, encoder, device, precision, [torch.arange(n)])))


def encoder_alone(encoder: Encoder, n: int, device: torch.device) -> Callable[[], None]:
    """Return what runs our encoder on n images that are ready on the device."""
    size, chunk = encoder.input_size, min(n, 256 if encoder.input_size > 200 else 512)
    batch = torch.randn(chunk, 3, size, size, device=device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    model = encoder.in_precision(embedding_precision(device, encoder))

    @torch.inference_mode()
    def run() -> None:
        for _ in range(n // chunk):
            out = model.forward_images(batch.to(model.dtype))
        out.cpu()

    return run


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes; its result is on the host, so the device is done."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def speed_table(photos: FileImages, n: int, device: torch.device) -> None:
    """Print images/s of ours and the baseline, and the share of time outside the encoder."""
    print(
        "| encoder | images | baseline, images/s | ours, images/s | ratio | outside the encoder |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    grid = torch.randint(0, 256, (n, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    sources = {"in memory, 32 x 32": TensorImages(grid.to(torch.uint8)), "JPEG files": photos}
    for encoder in (load_encoder("bundled-clip"), load_encoder("bundled-glyphs"), RandomViT()):
        # A ViT takes a 2-core CPU about 50 ms an image.
        count = min(n, 256) if encoder.input_size > 200 and device.type == "cpu" else n
        plain = copy.copy(encoder)
        plain.model = copy.deepcopy(encoder.model).to(device)
        alone = encoder_alone(encoder, count, device)
        for what, images in sources.items():
            ours(images, min(count, 64), encoder, device)
            baseline(images, min(count, 64), plain, device)
            rounds = [
                (
                    seconds(lambda: baseline(images, count, plain, device)),  # noqa: B023
                    seconds(lambda: ours(images, count, encoder, device)),  # noqa: B023
                    seconds(alone),
                )
                for _ in range(ROUNDS)
            ]
            slow, fast, inner = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratio = statistics.median(a / b for a, b, _ in rounds)
            outside = max(0.0, 1 - inner / fast)
            print(
                f"| {encoder.name} | {what} | {count / slow:.0f} | {count / fast:.0f} | "
                f"{ratio:.1f}x | {outside:.0%} |",
                flush=True,
            )


def agreement_table(photos: FileImages, n: int, device: torch.device) -> None:
    """Print how far our embeddings and decisions are from those of the model's own transform."""
    print("| encoder | ours | least cosine | median cosine | keep sets, IoU |")
    print("| --- | --- | ---: | ---: | ---: |")
    noisy = torch.from_numpy(corrupt(np.arange(n) % K, K, "symmetric", 0.4, seed=0).labels)

    def keep(embeddings: Tensor) -> Tensor:
        data = TrainingData.from_arrays(noisy, K, embeddings=embeddings.cpu())
        return get_selector("clip-knn").select(data).keep

    for name in ("bundled-clip", "bundled-glyphs"):
        encoder = load_encoder(name)
        encoder.model.to(device)
        reference = baseline(photos, n, encoder, device)
        for precision in ("float32", "bfloat16"):
            got = ours(photos, n, encoder, device, precision)
            cosine = (got * reference).sum(dim=1)
            a, b = keep(reference), keep(got)
            iou = float((a & b).sum() / (a | b).sum())
            print(
                f"| {name} | {precision} | {cosine.min():.6f} | {cosine.median():.6f} | {iou:.4f} |"
            )


def scale_row(name: str, n: int) -> None:
    """Print one row of the scaling table as JSON; a process of its own has its own peak."""
    encoder = TinyProjection() if name == "tiny" else load_encoder(name)
    device = torch.device("cpu")

    def compute(shards: Any) -> Any:
        return extract(MadeUpImages(n), encoder, device, "float32", shards)

    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(Path(folder))
        cache.get({"encoder": "warm-up", "data": ""}, 1024, compute)
        before = _now_mib()
        peak = PeakMemory(device)
        cold = seconds(lambda: cache.get({"encoder": name, "data": str(n)}, n, compute))
        used = peak.mib() - before
        warm = seconds(lambda: cache.get({"encoder": name, "data": str(n)}, n, compute))
        found = cache.get({"encoder": name, "data": str(n)}, n, compute)
    print(json.dumps({"cold": cold, "warm": warm, "mib": used, "size": found.nbytes / 2**20}))


def scale_table(sizes: list[int], plot: Path | None) -> None:
    """Print and draw seconds and memory of an extraction against N."""
    print("\n| encoder | N | cold, s | from cache, s | images/s | embeddings, MiB | peak | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    found: dict[str, list[dict[str, float]]] = {}
    for name in ("tiny", "bundled-clip"):
        for n in sizes:
            command = [sys.executable, sys.argv[0], "embedding", "--scale-row", name, str(n)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            row = json.loads(answer)
            found.setdefault(name, []).append(row)
            print(
                f"| {name} | {n} | {row['cold']:.1f} | {row['warm']:.2f} | {n / row['cold']:.0f} | "
                f"{row['size']:.0f} | {row['mib']:.0f} | {row['mib'] / row['size']:.2f} |",
                flush=True,
            )
    if plot:
        _draw(plot, sizes, found)


def _draw(path: Path, sizes: list[int], found: dict[str, list[dict[str, float]]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, rows in found.items():
        (line,) = left.loglog(sizes, [row["cold"] for row in rows], "o-", label=name)
        color = line.get_color()
        left.loglog(
            sizes, [row["warm"] for row in rows], "s--", color=color, label=f"{name}, from cache"
        )
        right.loglog(sizes, [row["mib"] for row in rows], "o-", color=color, label=name)
        right.loglog(
            sizes, [row["size"] for row in rows], ":", color=color, label=f"{name}, its embeddings"
        )
    for axes, what in ((left, "seconds"), (right, "peak MiB")):
        axes.set(xlabel="images", ylabel=what)
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def _now_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main(arguments: list[str]) -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser("performance.py embedding", description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--scale", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--plot", type=Path, help="picture of seconds and memory against N")
    parser.add_argument("--scale-row", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.scale_row:
        scale_row(given.scale_row[0], int(given.scale_row[1]))
        return
    warnings.filterwarnings("ignore", message="This DataLoader will create 4 worker")
    device = torch.device(given.device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    print(
        f"{where or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{ROUNDS} alternating rounds of {given.images} images\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        photos = write_photos(Path(folder), given.images)
        speed_table(photos, given.images, device)
        print()
        agreement_table(photos, given.images, device)
    scale_table(given.scale, given.plot)
