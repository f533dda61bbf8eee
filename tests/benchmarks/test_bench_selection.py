"""Timings of every selector that chooses before training: 5 000 samples, 64 dims, 10 classes."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from nlbench import (
    BatchSelector,
    BoundSelector,
    OnlineSelector,
    TrainingData,
    corrupt,
    get_selector,
)
from nlbench.plugins.registry import selector_class, selector_names
from nlbench.selector import checked_answer

pytestmark = pytest.mark.bench

N, D, K, N_PROMPTS = 5_000, 64, 10, 7


@cache
def data_and_truth() -> tuple[TrainingData, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(N) % K
    centres = torch.eye(K, D)
    data = TrainingData.from_arrays(
        corrupt(truth, K, "symmetric", 0.4).labels,
        K,
        class_names=[f"class {k}" for k in range(K)],
        embeddings=centres[truth] + 0.15 * torch.randn(N, D, generator=generator),
        text_embeddings=[c + 0.1 * torch.randn(N_PROMPTS, D, generator=generator) for c in centres],
    )
    return data, truth


def static_selectors() -> list[str]:
    in_training = (OnlineSelector, BatchSelector)
    return [n for n in selector_names() if not issubclass(selector_class(n), in_training)]


@pytest.mark.parametrize("name", static_selectors())
def test_select(benchmark: Any, name: str) -> None:
    data, truth = data_and_truth()
    selector: Any = get_selector(name)
    if isinstance(selector, BoundSelector):
        answer = benchmark(selector.select_with_truth, data, truth)
    else:
        answer = benchmark(selector.select, data)
    checked_answer(answer, data)
