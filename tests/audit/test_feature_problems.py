"""Outliers, classes that are one, and turned pictures, planted and found; the rest left alone."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from audit_samples import samples_of
from torch import Tensor, nn
from torch.nn.functional import normalize

from nlbench.audit.pictures import feature_problems, rotation_problems
from nlbench.data.images import TensorImages
from nlbench.encoders.base import Encoder
from nlbench.encoders.cache import EmbeddingCache
from nlbench.scoring.probabilities import probe_probabilities, stratified_folds


def clusters(n: int, spread: float = 0.5, d: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return (3 n, d) unit-norm points around three centres, and their labels."""
    rng = torch.Generator().manual_seed(seed)
    centres = normalize(torch.randn(3, d, generator=rng), dim=1)
    labels = torch.arange(3).repeat_interleave(n)
    noise = torch.randn(3 * n, d, generator=rng) * spread / d**0.5
    return normalize(centres[labels] + noise, dim=1), labels


def cross_fitted(x: Tensor, labels: Tensor, k: int) -> Tensor:
    order = torch.rand(len(x), generator=torch.Generator().manual_seed(0))
    return probe_probabilities(x, labels, k, folds=stratified_folds(labels, order))


def test_pictures_of_another_kind_are_outliers_and_the_rest_are_not() -> None:
    x, labels = clusters(400)
    rng = torch.Generator().manual_seed(9)
    strange = torch.arange(0, 1200, 60)
    x[strange] = normalize(torch.randn(20, 32, generator=rng), dim=1)
    one_kind = torch.arange(30, 1200, 120)  # ten of one foreign kind, each in another class
    x[one_kind] = normalize(
        torch.randn(1, 32, generator=rng) + torch.randn(10, 32, generator=rng) * 0.05, dim=1
    )
    rows = np.arange(1200)[::-1].copy()
    samples = samples_of(None, labels.flip(0).tolist())
    problems = feature_problems(samples, x, None, rows)
    found = {1199 - p.rows[0] for p in problems if p.kind == "outlier"}
    planted = {*strange.tolist(), *one_kind.tolist()}
    assert len(found & planted) >= 29
    assert len(found - planted) <= 3
    assert "median" in problems[0].detail


def test_a_small_class_of_its_own_is_no_outlier() -> None:
    x, labels = clusters(400)
    x, labels = torch.cat([x[:800], x[800:830]]), torch.cat([labels[:800], labels[800:830]])
    problems = feature_problems(samples_of(None, labels.tolist()), x, None)
    assert not {p.rows[0] for p in problems} & set(range(800, 830))


def test_equal_or_few_points_have_no_outliers() -> None:
    x = torch.ones(200, 4) / 2
    assert feature_problems(samples_of(None, [0] * 200), x, None) == []
    assert feature_problems(samples_of(None, [0] * 3), x[:3], None) == []


def test_a_class_under_two_labels_is_one_class() -> None:
    x, labels = clusters(400)
    halves = labels.clone()
    halves[torch.rand(1200, generator=torch.Generator().manual_seed(1)).lt(0.5) & (labels == 1)] = 3
    samples = samples_of(None, halves.tolist(), n_classes=4)
    (problem,) = feature_problems(samples, None, cross_fitted(x, halves, 4))
    assert (problem.kind, problem.labels) == ("same-class", (1, 3))
    assert {int(halves[row]) for row in problem.rows} == {1, 3}


@pytest.mark.parametrize("n", [400, 8])
def test_similar_small_or_noisy_classes_are_not_one(n: int) -> None:
    x, labels = clusters(n, spread=1.0)
    flip = torch.rand(3 * n, generator=torch.Generator().manual_seed(2)) < 0.3
    noisy = torch.where(flip, (labels + 1) % 3, labels)
    samples = samples_of(None, noisy.tolist())
    assert feature_problems(samples, None, cross_fitted(x, noisy, 3)) == []


def test_features_that_tell_nothing_make_no_classes_one() -> None:
    labels = torch.arange(3).repeat(300)
    samples = samples_of(None, labels.tolist())
    assert feature_problems(samples, None, torch.full((900, 3), 1 / 3)) == []


class Brightness(Encoder):
    """Features: how light each sixteenth of the picture is."""

    def __init__(self) -> None:
        super().__init__("brightness", nn.Linear(1, 1), 16, (0.5,) * 3, (0.5,) * 3)

    def forward_images(self, batch: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(batch.mean(dim=1, keepdim=True), 4).flatten(1) + 0.01


def landscapes(n: int, seed: int = 0) -> Tensor:
    """Return pictures (n, 3, 16, 16) that are light above and dark below."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(220, 40, 16)[None, None, :, None]
    pixels = slope + rng.normal(0, 25, (n, 3, 16, 16))
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddingCache:
    monkeypatch.setattr("nlbench.encoders.features.encoder_version", lambda name: "1")
    monkeypatch.setattr("nlbench.encoders.features.plugin_name", lambda *names: "test")
    return EmbeddingCache(tmp_path)


def test_turned_pictures_are_found_with_how_they_lie(cache: EmbeddingCache) -> None:
    pixels = landscapes(300)
    for row, turn in ((5, 1), (80, 2), (200, 3)):
        pixels[row] = pixels[row].rot90(turn, (1, 2))
    samples = samples_of(TensorImages(pixels), [0] * 300)
    problems = rotation_problems(samples, Brightness(), torch.device("cpu"), cache)
    assert {p.rows[0]: p.detail.partition(",")[0] for p in problems} == {
        5: "a quarter turn anticlockwise",
        80: "upside down",
        200: "a quarter turn clockwise",
    }


def test_pictures_without_an_up_are_not_judged(
    cache: EmbeddingCache, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = torch.from_numpy(
        np.random.default_rng(0).integers(0, 255, (200, 3, 16, 16), dtype=np.uint8)
    )
    samples = samples_of(TensorImages(pixels), [0] * 200)
    with caplog.at_level(logging.WARNING, "nlbench"):
        assert rotation_problems(samples, Brightness(), torch.device("cpu"), cache) == []
    assert "not judged" in caplog.text
