"""Timings of embedding with the bundled CLIP: ours, and the loop of released code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nlbench.data.images import ImageSource, TensorImages
from nlbench.encoders.features import load_encoder

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from timings import embedding as performance

pytestmark = [
    pytest.mark.bench,
    pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker"),
]

N = 512
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["memory", "jpeg"])
def images(request: Any, tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    if request.param == "jpeg":
        return performance.write_photos(tmp_path_factory.mktemp("photos"), N)
    pixels = torch.randint(0, 256, (N, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    return TensorImages(pixels.to(torch.uint8))


@pytest.mark.parametrize("way", ["ours", "baseline"])
def test_embed(benchmark: Any, images: ImageSource, way: str) -> None:
    work = getattr(performance, way)
    got = benchmark.pedantic(work, (images, N, load_encoder("bundled-clip"), CPU), rounds=3)
    assert got.shape == (N, 64)
