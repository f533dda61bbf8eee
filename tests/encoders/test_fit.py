"""How images become squares: as the model's own preprocessing makes them, from every source."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from nlbench.data.decoding import decode
from nlbench.data.file_images import FileImages
from nlbench.data.images import Fit, MappedImages, TensorImages, resized
from nlbench.encoders.base import Encoder
from nlbench.encoders.extract import extract

CPU = torch.device("cpu")
SHAPES = [(40, 90), (90, 40), (64, 64), (31, 200), (20, 21)]
FITS = [
    Fit(mode, interpolation, fill)  # type: ignore[arg-type]
    for mode, fill in (("shortest", 0), ("squash", 0), ("longest", 0), ("longest", 128))
    for interpolation in ("bicubic", "bilinear")
]


def photo(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height * 1000 + width)
    coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def own(image: Image.Image, side: int, fit: Fit) -> torch.Tensor:
    """Return the pixels of open_clip's own transform."""
    settings = PreprocessCfg(
        size=side,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        interpolation=fit.interpolation,
        resize_mode=fit.mode,
        fill_color=fit.fill,
    )
    return image_transform_v2(settings, is_train=False)(image) * 255


def assert_close(got: torch.Tensor, expected: torch.Tensor) -> None:
    difference = (got.float() - expected).abs()
    assert difference.max() <= 2.001
    assert difference.mean() < 0.2  # rounding by 1


@pytest.mark.parametrize("fit", FITS, ids=str)
@pytest.mark.parametrize("side", [32, 72])
def test_pixels_are_those_of_the_models_own_preprocessing(
    tmp_path: Path, fit: Fit, side: int
) -> None:
    for height, width in SHAPES:
        image = photo(height, width)
        image.save(tmp_path / "a.png")
        expected = own(image, side, fit)
        (from_file,) = FileImages(tmp_path, ("a.png",)).load(torch.tensor([0]), side, fit)
        assert_close(from_file, expected)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].contiguous()
        (in_memory,) = TensorImages(pixels).load(torch.tensor([0]), side, fit)
        assert_close(in_memory, expected)
        mapped = MappedImages(pixels, torch.tensor([0]), CPU).load(torch.tensor([0]), side, fit)
        assert torch.equal(mapped[0], in_memory)


def test_the_three_ways_differ_on_a_wide_image() -> None:
    batch = torch.zeros((1, 3, 10, 30), dtype=torch.uint8)
    batch[..., :10] = 200  # the left third
    shortest = resized(batch, 10, Fit("shortest"))
    squash = resized(batch, 10, Fit("squash"))
    longest = resized(batch, 10, Fit("longest"))
    assert shortest.float().mean() < 5
    assert 60 < squash.float().mean() < 75
    assert longest[..., 0, :].max() == 0
    assert longest[..., 5, 0].min() > 150


class Mean(Encoder):
    """The mean colour of an image, and no unit norm that hides it."""

    def __init__(self, fit: Fit) -> None:
        super().__init__("mean", torch.nn.Identity(), 10, (0.0,) * 3, (1.0,) * 3, fit)

    def forward_images(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.cat([batch.mean(dim=(2, 3))[:, :1], torch.ones(len(batch), 1)], dim=1)


def parquet(tmp_path: Path, content: bytes) -> Any:
    from nlbench.data.parquet import Parquet

    for part in ("train", "test"):
        table = pa.table({"image": [{"bytes": content}] * 2, "label": [0, 1]})
        pq.write_table(table, tmp_path / f"{part}-00000-of-00001.parquet")
    return Parquet(path=str(tmp_path)).load(None).train_images


@pytest.mark.parametrize("kind", ["memory", "files", "parquet"])
def test_an_encoder_gets_its_own_fit_from_every_source(tmp_path: Path, kind: str) -> None:
    pixels = np.zeros((10, 30, 3), dtype=np.uint8)
    pixels[:, :10] = 200
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    images: Any = {
        "memory": lambda: TensorImages(torch.from_numpy(pixels).permute(2, 0, 1)[None]),
        "files": lambda: FileImages(tmp_path, ("a.png",)),
        "parquet": lambda: parquet(tmp_path, buffer.getvalue()),
    }[kind]()
    cut, squashed = (
        next(iter(extract(images, Mean(Fit(mode)), CPU, "float32", [torch.arange(1)])))[0, 0]  # type: ignore[arg-type]
        for mode in ("shortest", "squash")
    )
    assert cut < 0.02
    assert squashed > 0.2


def test_a_decoded_image_is_a_square_whatever_its_shape() -> None:
    for height, width in [(1, 500), (500, 1), (3, 4)]:
        for fit in FITS:
            buffer = io.BytesIO()
            photo(height, width).save(buffer, format="PNG")
            assert decode(buffer, 24, "a", fit).shape == (24, 24, 3)
