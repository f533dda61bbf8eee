"""What is timed is the same answer: selectors against the baselines, threads against each other."""

from __future__ import annotations

from collections.abc import Iterator

import baselines
import numpy as np
import pytest
import torch
from synthetic import synthetic

from nlbench import Selection, get_selector


def iou(one: torch.Tensor, other: torch.Tensor) -> float:
    return int((one & other).sum()) / int((one | other).sum())


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", baselines.SELECTION)
def test_selector_keeps_what_the_baseline_keeps(name: str) -> None:
    data, _ = synthetic(6_000, 4, d=64)
    keep = get_selector(name).select(data).keep  # type: ignore[union-attr, call-arg]
    expected = baselines.SELECTION[name](*baselines.on(data))
    assert 0.1 < keep.float().mean() < 0.9
    assert iou(keep, torch.from_numpy(expected)) >= 0.99


@pytest.mark.parametrize("name", [*baselines.SELECTION, "clip-zero-shot"])
@pytest.mark.usefixtures("threads")
def test_answer_has_the_same_bits_on_any_number_of_threads(name: str) -> None:
    data, _ = synthetic(12_011, 7, d=24)
    answers: list[Selection] = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        answers.append(get_selector(name).select(data))  # type: ignore[union-attr, call-arg]
        assert torch.get_num_threads() == n_threads
    for other in answers[1:]:
        assert torch.equal(other.keep, answers[0].keep)
        assert torch.equal(other.score, answers[0].score)


def test_loops_make_the_noise_they_are_named_for() -> None:
    clean = np.arange(4_000) % 10
    noisy = np.array(baselines.loop_noise(clean.tolist(), 10, 0.4))
    assert (noisy != clean).mean() == pytest.approx(0.36, abs=0.03)
    features = np.random.default_rng(0).random((4_000, 16))
    noisy = baselines.loop_instance_noise(features, clean, 10, 0.4)
    assert (noisy != clean).mean() == pytest.approx(0.4, abs=0.03)
