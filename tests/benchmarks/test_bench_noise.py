"""Timings of every kind of noise, at the size of CIFAR-10 and of Clothing1M."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nlbench import corrupt
from nlbench.noise.corrupt import noise_takes_rate
from nlbench.plugins.registry import components

pytestmark = pytest.mark.bench

K = 10
RATE = 0.4


def options(kind: str, clean: np.ndarray) -> dict[str, Any]:
    return {
        "asymmetric": {"class_map": "cifar10"},
        "matrix": {"matrix": (1 - RATE) * np.eye(K) + RATE / K},
        "labels": {"labels": (clean + 1) % K},
        "instance": {"features": np.broadcast_to(np.linspace(0, 1, 64), (len(clean), 64))},
    }.get(kind, {})


@pytest.mark.parametrize("n", [50_000, 1_000_000])
@pytest.mark.parametrize("kind", sorted({*components("noises")} - {"human"}))
def test_corrupt(benchmark: Any, kind: str, n: int) -> None:
    clean = np.random.default_rng(0).integers(0, K, size=n)
    rate = RATE if noise_takes_rate(components("noises")[kind].load()) else None
    noisy = benchmark(corrupt, clean, K, kind, rate, seed=0, **options(kind, clean))
    assert len(noisy.labels) == n
