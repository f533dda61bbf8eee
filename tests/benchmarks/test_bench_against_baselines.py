"""Ours and what a user would otherwise write, side by side: 5 000 samples, 512 dimensions.

At full size, with ratios and memory: ``python tools/performance.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import baselines
import numpy as np
import pytest
from synthetic import synthetic

from nlbench import TrainingData, corrupt, get_selector

pytestmark = pytest.mark.bench

N, K = 5_000, 10


@cache
def data() -> TrainingData:
    return synthetic(N, K)[0]


@pytest.mark.parametrize("who", ["ours", "scikit-learn"])
@pytest.mark.parametrize("name", baselines.SELECTION)
def test_selection(benchmark: Any, name: str, who: str) -> None:
    benchmark.group = name
    selector: Any = get_selector(name)
    given = baselines.on(data())
    run: Callable[[], Any] = partial(selector.select, data())
    if who == "scikit-learn":
        run = partial(baselines.SELECTION[name], *given)
    benchmark.pedantic(run, rounds=1 if who == "scikit-learn" else 3, warmup_rounds=0)


@pytest.mark.parametrize("who", ["ours", "loop"])
def test_symmetric_inclusive_noise(benchmark: Any, who: str) -> None:
    benchmark.group = "symmetric-inclusive noise"
    clean = np.arange(N) % K
    run: Callable[[], Any] = partial(corrupt, clean, K, "symmetric-inclusive", 0.4)
    if who == "loop":
        run = partial(baselines.loop_noise, clean.tolist(), K, 0.4)
    benchmark.pedantic(run, rounds=3)


@pytest.mark.parametrize("who", ["ours", "loop"])
def test_instance_noise(benchmark: Any, who: str) -> None:
    benchmark.group = "instance noise"
    clean, features = np.arange(N) % K, np.random.default_rng(0).random((N, 64))
    run: Callable[[], Any] = partial(corrupt, clean, K, "instance", 0.4, features=features)
    if who == "loop":
        run = partial(baselines.loop_instance_noise, features, clean, K, 0.4)
    benchmark.pedantic(run, rounds=3)
