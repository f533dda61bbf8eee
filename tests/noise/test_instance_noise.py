"""Image-dependent noise: the paper's definition, sample by sample, and what it costs."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, truncnorm

import nlbench
from nlbench.data.images import ImageRows, TensorImages
from nlbench.errors import ConfigError
from nlbench.noise.corrupt import corrupt
from nlbench.seeds import derive_seed

K = 6


def sample(n: int, d: int = 9, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.integers(0, K, size=n), scale * rng.random((n, d))


def slow_reference(
    clean: np.ndarray, rate: float, seed: int, features: np.ndarray
) -> tuple[list[int], list[list[float]]]:
    """One sample after the other, in plain Python, as the paper's algorithm 2 reads."""
    rng = np.random.default_rng(derive_seed("noise", "instance", f"{rate}", seed))
    class_seeds = rng.integers(0, 2**63, size=K)
    for_rates, for_labels = rng.random(len(clean)), rng.random(len(clean))
    shape = (features.shape[1], K)
    w = [np.random.default_rng(s).standard_normal(shape).tolist() for s in class_seeds]
    labels, chances = [], []
    for i, y in enumerate(clean.tolist()):
        q = truncnorm.ppf(for_rates[i], -rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
        scores = [
            sum(x * row[k] for x, row in zip(features[i], w[y], strict=True)) for k in range(K)
        ]
        scores[y] = -math.inf
        total = sum(math.exp(s) for s in scores)
        p = [q * math.exp(s) / total for s in scores]
        p[y] += 1 - q
        at, label = p[0], 0
        while for_labels[i] >= at and label < K - 1:
            label += 1
            at += p[label]
        labels.append(label)
        chances.append(p)
    return labels, chances


@pytest.mark.parametrize(("rate", "seed"), [(0.1, 0), (0.4, 1), (0.95, 2)])
def test_labels_and_matrix_are_those_of_the_slow_reference(rate: float, seed: int) -> None:
    clean, features = sample(300)
    noisy = corrupt(clean, K, "instance", rate, seed, features=features)
    labels, chances = slow_reference(clean, rate, seed, features)
    assert noisy.labels.tolist() == labels
    for k in range(K):
        expected = np.array([p for p, y in zip(chances, clean, strict=True) if y == k]).mean(0)
        np.testing.assert_allclose(noisy.transition_matrix[k], expected, atol=1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.4, 0.5, 0.9])
def test_realized_rate_is_the_mean_of_the_normal_cut_to_zero_one(rate: float) -> None:
    clean, features = sample(40_000)
    noisy = corrupt(clean, K, "instance", rate, seed=3, features=features)
    low, high = -rate / 0.1, (1 - rate) / 0.1
    mean = rate + 0.1 * (norm.pdf(low) - norm.pdf(high)) / (norm.cdf(high) - norm.cdf(low))
    # SD below 0.0025.
    assert noisy.realized_rate == pytest.approx(mean, abs=0.0125)
    assert noisy.nominal_rate == rate


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, K - 1), min_size=1, max_size=60),
    st.integers(0, 99).map(lambda percent: percent / 100),
    st.integers(0, 2**31),
)
def test_rows_sum_to_one_and_labels_are_classes(clean: list[int], rate: float, seed: int) -> None:
    features = np.random.default_rng(0).random((len(clean), 5)) * 1000
    noisy = corrupt(clean, K, "instance", rate, seed, features=features)
    np.testing.assert_allclose(noisy.transition_matrix.sum(axis=1), 1, atol=1e-12)
    assert (noisy.transition_matrix >= 0).all()
    assert noisy.labels.min() >= 0
    assert noisy.labels.max() < K


def test_the_image_decides_what_it_is_mistaken_for() -> None:
    """With features of great length the softmax has one winner, the same for equal images."""
    clean = np.zeros(2000, dtype=int)
    kinds = np.arange(2000) % 4
    features = 1000 * np.random.default_rng(5).random((4, 30))[kinds]
    noisy = corrupt(clean, K, "instance", 0.4, features=features)
    for kind in range(4):
        wrong = set(noisy.labels[kinds == kind].tolist()) - {0}
        assert len(wrong) == 1
    assert len(set(noisy.labels.tolist())) > 2


def test_labels_of_one_class_do_not_depend_on_the_others() -> None:
    clean, features = sample(500)
    other = np.where(clean == 2, 3, clean)
    first, second = (
        corrupt(c, K, "instance", 0.4, features=features).labels for c in (clean, other)
    )
    same = clean == other
    assert first[same].tolist() == second[same].tolist()


@dataclass
class Lazy:
    """Rows that are made when asked for."""

    n: int
    d: int
    asked: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        self.asked.append(len(positions))
        return np.outer(positions % 7 / 7, np.linspace(0, 1, self.d))


def test_a_large_source_is_read_in_blocks() -> None:
    clean = np.arange(60_000) % K
    source = Lazy(60_000, 512)
    tracemalloc.start()
    corrupt(clean, K, "instance", 0.4, features=source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(source.asked) == 60_000
    assert max(source.asked) <= 2048
    assert peak < 60e6  # all rows at once would be 246 MB


def test_images_are_rows_in_zero_one() -> None:
    pixels = torch.arange(4 * 3 * 2 * 2, dtype=torch.uint8).reshape(4, 3, 2, 2)
    rows = ImageRows(TensorImages(pixels))
    assert len(rows) == 4
    np.testing.assert_array_equal(
        rows[np.array([3, 0])], pixels[[3, 0]].flatten(1).double().numpy() / 255
    )


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (None, "needs `features`, one row for each of the 2 samples, got none"),
        (np.ones((3, 4)), "got 3"),
        (np.full((2, 4), np.nan), "must be finite"),
    ],
)
def test_features_are_checked(features: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        corrupt([0, 1], 2, "instance", 0.4, features=features)


def test_features_are_no_setting() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'noise\.features'"):
        nlbench.run(noise="instance:0.4", settings={"noise.features": 1}, track=False)


def test_the_runner_gives_the_images_whatever_the_selector(tmp_path: Path) -> None:
    records = [
        nlbench.run(s, noise="instance:0.4", recipe="quick/digits", epochs=1, track=False)
        for s in ("none", "random")
    ]
    assert records[0].noise.sha256 == records[1].noise.sha256
    assert records[0].noise.realized_rate == pytest.approx(0.4, abs=0.07)
    assert records[0].noise.nominal_rate == 0.4
