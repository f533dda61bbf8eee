"""UNICON's uniform selection against the divergence written out and a loop over classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from nlbench import Dynamics, Selection, TrainingData, get_selector

N, K = 80, 4


def data_of(seed: int = 0) -> TrainingData:
    draws = np.random.default_rng(seed)
    labels = draws.choice(K, size=N, p=[0.4, 0.3, 0.25, 0.05])
    return TrainingData.from_arrays(labels, K, seed=seed)


def dynamics(data: TrainingData, seed: int, epoch: int = 20, sharp: float = 2.0) -> Dynamics:
    def one(offset: int) -> Dynamics:
        draws = np.random.default_rng(seed + offset).standard_normal((N, K))
        logits = torch.from_numpy(sharp * draws).float()
        losses = torch.nn.functional.cross_entropy(logits, data.noisy_labels, reduction="none")
        return Dynamics(epoch, 60, losses, logits, losses[None])

    return replace(one(0), peers=(one(1000),))


def slow_divergences(data: TrainingData, seen: Dynamics) -> list[float]:
    p = (seen.logits.double().softmax(1) + seen.peers[0].logits.double().softmax(1)) / 2
    one_hot = np.eye(K)[data.noisy_labels.numpy()]
    return [jensenshannon(a, b, base=2) ** 2 for a, b in zip(p.numpy(), one_hot, strict=True)]


def slow_keep(data: TrainingData, d: list[float], d_u: float, tau: float) -> list[bool]:
    cut = sum(d) / N
    if cut > d_u:
        cut -= (cut - min(d)) / tau
    per_class = int(sum(one < cut for one in d) / N * N / K)
    labels = data.noisy_labels.tolist()
    kept: set[int] = set()
    for label in range(K):
        members = [i for i in range(N) if labels[i] == label]
        kept |= set(sorted(members, key=lambda i: d[i])[:per_class])
    return [i in kept for i in range(N)]


def answer_to(data: TrainingData, seen: Dynamics, **settings: Any) -> Selection:
    selector: Any = get_selector("unicon", **settings)
    answer: Selection = selector.select(data, seen)
    return answer


@pytest.mark.parametrize(("seed", "d_u", "tau"), [(0, 0.7, 5.0), (1, 0.1, 5.0), (2, 0.3, 2.0)])
def test_it_equals_a_slow_one(seed: int, d_u: float, tau: float) -> None:
    data = data_of(seed)
    seen = dynamics(data, seed)
    d = slow_divergences(data, seen)
    answer = answer_to(data, seen, d_u=d_u, tau=tau)
    assert answer.score.tolist() == pytest.approx([-one for one in d], abs=1e-6)
    assert answer.keep.tolist() == slow_keep(data, d, d_u, tau)


def test_a_lower_cut_keeps_fewer() -> None:
    data = data_of()
    seen = dynamics(data, 3)
    assert answer_to(data, seen, d_u=0.0).keep.sum() < answer_to(data, seen, d_u=1.0).keep.sum()


def test_every_class_keeps_as_many_or_all_it_has() -> None:
    data = data_of()
    answer = answer_to(data, dynamics(data, 4))
    kept: Tensor = data.noisy_labels[answer.keep].bincount(minlength=K)
    there = data.noisy_labels.bincount(minlength=K)
    assert kept.tolist() == there.clamp_max(answer.diagnostics["n_per_class"]).tolist()
    assert len(kept[:3].unique()) == 1
    assert kept[3] == there[3]


def test_before_the_warm_up_ends_everything_is_kept() -> None:
    data = data_of()
    assert bool(answer_to(data, dynamics(data, 5, epoch=9)).keep.all())
    assert not bool(answer_to(data, dynamics(data, 5, epoch=10)).keep.all())


def test_equal_divergences_keep_their_share_of_every_class() -> None:
    data = data_of()
    seen = dynamics(data, 0, sharp=0.0)
    assert answer_to(data, seen).diagnostics["share_below_cut"] == 1.0
