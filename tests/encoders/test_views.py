"""Embeddings of augmented views: a sample's views are its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nlbench import TrainingData
from nlbench.data.images import CENTRE, Fit, TensorImages
from nlbench.encoders import views as views_module
from nlbench.encoders.cache import EmbeddingCache
from nlbench.encoders.features import FeatureBank, load_encoder
from nlbench.encoders.views import moved
from nlbench.errors import ConfigError

N = 30


def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (N, 1, 16, 16), generator=generator, dtype=torch.uint8)


def data_of(tmp_path: Path, rows: Tensor, seed: int = 0, images: Any = None) -> TrainingData:
    bank = FeatureBank(
        images=TensorImages(pixels()) if images is None else images,
        data_key="k",
        data_name="thirty",
        rows=rows,
        class_names=("one", "two"),
        roles={"image-text": "bundled-clip", "image": "bundled-glyphs"},
        prompts="default",
        device=torch.device("cpu"),
        cache=EmbeddingCache(tmp_path / "cache"),
    )
    kept.append(bank)
    arrays = TrainingData.from_arrays([0] * len(rows), 2, sample_ids=1000 + 7 * rows, seed=seed)
    return replace(arrays, _features=bank.sealed())


kept: list[FeatureBank] = []


def slow_moved(image: Tensor, down: int, across: int, mirrored: bool) -> Tensor:
    """Shift one image pixel by pixel; what comes from outside is black."""
    channels, side, _ = image.shape
    out = torch.zeros_like(image)
    for c in range(channels):
        for i in range(side):
            for j in range(side):
                row, column = i + down, (side - 1 - j if mirrored else j) + across
                if 0 <= row < side and 0 <= column < side:
                    out[c, i, j] = image[c, row, column]
    return out


@pytest.mark.parametrize("kind", ["shift", "crop-flip"])
def test_a_view_is_a_shift_of_up_to_an_eighth_and_a_mirror(kind: Any) -> None:
    images = torch.randint(1, 256, (12, 2, 16, 16), dtype=torch.uint8)
    draws = torch.rand(12, 3, generator=torch.Generator().manual_seed(1))
    draws[0], draws[1] = torch.zeros(3), torch.full((3,), 1 - 1e-7)
    got = moved(images, kind, draws)
    offsets = set()
    for image, drawn, view in zip(images, draws, got, strict=True):
        down, across = (int(x * 5) - 2 for x in drawn[:2].tolist())
        offsets.add(down)
        mirrored = kind == "crop-flip" and float(drawn[2]) < 0.5
        assert torch.equal(view, slow_moved(image, down, across, mirrored))
    assert offsets == {-2, -1, 0, 1, 2}


def test_views_are_embeddings_of_moved_images(tmp_path: Path) -> None:
    data = data_of(tmp_path, torch.arange(N))
    got = data.view_embeddings("image", views=2)
    encoder = load_encoder("bundled-glyphs")
    drawn = torch.stack([data.uniform(f"view 1 {part}") for part in range(3)], dim=1)
    inputs = views_module.resized(pixels(), encoder.input_size)
    expected = encoder.encode_images(moved(inputs, "crop-flip", drawn), torch.device("cpu"))
    torch.testing.assert_close(got[1], expected, atol=1e-5, rtol=0)
    assert got.shape == (2, N, expected.shape[1])
    torch.testing.assert_close(torch.linalg.vector_norm(got, dim=2), torch.ones(2, N))


def test_views_differ_from_each_other_and_from_the_image(tmp_path: Path) -> None:
    data = data_of(tmp_path, torch.arange(N))
    first, second = data.view_embeddings("image", views=2)
    for other in (second, data.embeddings("image")):
        differs = (first - other).abs().amax(dim=1) > 1e-4
        assert differs.float().mean() > 0.8


def test_views_follow_their_samples(tmp_path: Path) -> None:
    """Another order, and others gone: each sample keeps its views."""
    order = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    whole = data_of(tmp_path, torch.arange(N)).view_embeddings("image", views=3)
    for rows in (order, order[:11]):
        part = data_of(tmp_path, rows).view_embeddings("image", views=3)
        torch.testing.assert_close(part, whole[:, rows], atol=1e-5, rtol=0)


def test_views_depend_on_the_seed_alone(tmp_path: Path) -> None:
    rows = torch.arange(N)
    once, again, other = (
        data_of(tmp_path, rows, seed).view_embeddings("image-text") for seed in (4, 4, 5)
    )
    assert torch.equal(once, again)
    assert (once - other).abs().max() > 1e-2


def test_more_views_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    data = data_of(tmp_path, torch.arange(N))
    few, more = (data.view_embeddings("image", views=views) for views in (1, 3))
    assert torch.equal(more[:1], few)


def test_shift_mirrors_nothing(tmp_path: Path) -> None:
    data = data_of(tmp_path, torch.arange(N))
    shifted, mirrored = (
        data.view_embeddings("image", views=1, kind=kind)[0]
        for kind in ("shift", "crop-flip")  # type: ignore[arg-type]
    )
    differs = (shifted - mirrored).abs().amax(dim=1) > 1e-4
    flipped = data.uniform("view 0 2") < 0.5
    assert torch.equal(differs, flipped)


class CountedImages:
    """Images that tell how many of them were asked for at once, and how often."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __len__(self) -> int:
        return N

    def load(self, indices: Tensor, size: int | None = None, fit: Fit = CENTRE) -> Tensor:
        self.batches.append(len(indices))
        return TensorImages(pixels()).load(indices, size, fit)


def test_images_are_read_once_and_batch_by_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_module, "encoding_batch_size", lambda side, device: 8)
    images = CountedImages()
    got = data_of(tmp_path, torch.arange(N), images=images).view_embeddings("image", views=3)
    assert images.batches == [8, 8, 8, 6]
    whole = data_of(tmp_path, torch.arange(N)).view_embeddings("image", views=3)
    torch.testing.assert_close(got, whole, atol=1e-5, rtol=0)


def test_time_counts_as_embedding(tmp_path: Path) -> None:
    data = data_of(tmp_path, torch.arange(N))
    before = kept[-1].seconds
    data.view_embeddings("image", views=1)
    assert kept[-1].seconds > before


@pytest.mark.parametrize("settings", [{"views": 0}, {"kind": "none"}])
def test_other_values_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`views` must be at least 1 and `kind` one of shift"):
        data_of(tmp_path, torch.arange(N)).view_embeddings(**settings)


def test_plain_arrays_refuse() -> None:
    data = TrainingData.from_arrays([0, 1], 2, embeddings=torch.eye(2))
    with pytest.raises(ConfigError, match="without their model, so views of images cannot"):
        data.view_embeddings()
