"""Selectors that choose inside a mini-batch: what they weigh, against a loop over samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from training_tasks import seeded

import nlbench
from nlbench import Batch, PluginError, TrainingData, get_selector
from nlbench.errors import ConfigError

K = 4
WITH_A_RATE = ("co-teaching", "co-teaching-plus", "jocor")
ALL = (*WITH_A_RATE, "cores2")


def make(name: str, **params: Any) -> Any:
    return get_selector(name, **params)


def make_data(n: int, rate: float | None = 0.4, ids: Tensor | None = None) -> TrainingData:
    return TrainingData.from_arrays(
        torch.arange(n) % K, n_classes=K, noise_rate=rate, sample_ids=ids
    )


def place(n: int, epoch: int, n_epochs: int = 200, step: int = 1) -> Batch:
    return Batch(torch.arange(n), epoch, step, n_epochs, 390)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.stack(
        [torch.nn.functional.cross_entropy(each, labels, reduction="none") for each in logits]
    )


def planted(n: int, seed: int = 0, m: int = 2) -> tuple[Tensor, Tensor]:
    """Losses and logits of m networks that agree on some samples."""
    common = torch.randn(n, K, generator=seeded(seed))
    logits = 2 * common + torch.randn(m, n, K, generator=seeded(seed + 1))
    return cross_entropy(logits, torch.arange(n) % K), logits


def released_rate(rate: float, ramp_epochs: int, epoch: int) -> float:
    """Co-teaching's main.py, where the loop over epochs starts at 1."""
    schedule = np.ones(200) * rate
    schedule[:ramp_epochs] = np.linspace(0, rate, ramp_epochs)
    return float(schedule[epoch])


def smallest_of(losses: Tensor, samples: list[int], n_keep: int) -> list[int]:
    return sorted(sorted(samples, key=lambda i: float(losses[i]))[:n_keep])


def used(weights: Tensor) -> list[list[int]]:
    assert set(weights.unique().tolist()) <= {0.0, 1.0}
    return [row.nonzero().flatten().tolist() for row in weights]


# The schedule ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_A_RATE)
@pytest.mark.parametrize("ramp_epochs", [1, 2, 10, 15])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.3, 0.45, 0.8])
def test_as_many_are_kept_as_in_the_released_code(name: str, ramp_epochs: int, rate: float) -> None:
    selector = make(name, ramp_epochs=ramp_epochs)
    for n in (16, 64, 100, 128):
        losses, logits = planted(n)
        for epoch in (*range(1, 17), 150):
            # Before its warm-up ends, Co-teaching+ is Co-teaching.
            weights = selector.choose(make_data(n, rate), place(n, epoch, 400), losses, logits)
            if name == "co-teaching-plus" and epoch >= 20:
                continue
            expected = max(1, int((1 - released_rate(rate, ramp_epochs, epoch)) * n))
            assert [len(row) for row in used(weights)] == [expected, expected]


@pytest.mark.parametrize("name", WITH_A_RATE)
def test_the_first_epoch_forgets_already_and_the_ramp_ends_one_epoch_early(name: str) -> None:
    selector = make(name, noise_rate=0.45)
    losses, logits = planted(100)

    def n_kept(epoch: int) -> int:
        weights = selector.choose(make_data(100, None), place(100, epoch), losses, logits)
        return int(weights[0].sum())

    assert [n_kept(epoch) for epoch in (1, 2, 8, 9, 10, 11)] == [95, 90, 60, 55, 55, 55]


@pytest.mark.parametrize("name", WITH_A_RATE)
def test_the_rate_is_granted_or_ones_own(name: str) -> None:
    losses, logits = planted(20)
    assert make(name).knowledge_used() == ("noise rate",)
    with pytest.raises(PluginError, match="noise rate is not given"):
        make(name).choose(make_data(20, None), place(20, 15), losses, logits)
    own = make(name, noise_rate=0.5).choose(make_data(20, 0.1), place(20, 15), losses, logits)
    assert int(own[0].sum()) == 10
    with pytest.raises(ConfigError, match="noise_rate"):
        make(name, noise_rate=1.0)


# Which samples -----------------------------------------------------------------------------------


@given(seed=st.integers(0, 500), epoch=st.integers(1, 30), n=st.integers(1, 40))
@settings(max_examples=50)
def test_co_teaching_gives_each_network_the_small_losses_of_the_other(
    seed: int, epoch: int, n: int
) -> None:
    losses, logits = planted(n, seed)
    weights = make("co-teaching").choose(make_data(n), place(n, epoch), losses, logits)
    n_keep = max(1, int((1 - released_rate(0.4, 10, epoch)) * n))
    expected = [smallest_of(losses[other], list(range(n)), n_keep) for other in (1, 0)]
    assert used(weights) == expected


@given(seed=st.integers(0, 500), epoch=st.integers(1, 40), n=st.integers(1, 40))
@settings(max_examples=50)
def test_co_teaching_plus_ranks_only_where_predictions_differ(
    seed: int, epoch: int, n: int
) -> None:
    losses, logits = planted(n, seed)
    weights = make("co-teaching-plus").choose(make_data(n), place(n, epoch), losses, logits)
    differ = [
        i
        for i in range(n)
        if epoch < 20 or int(logits[0, i].argmax()) != int(logits[1, i].argmax())
    ]
    n_keep = int((1 - released_rate(0.4, 10, epoch)) * len(differ)) or len(differ)
    expected = [smallest_of(losses[other], differ, n_keep) for other in (1, 0)]
    assert used(weights) == (expected if differ else [list(range(n))] * 2)


@pytest.mark.parametrize(
    ("epoch", "step", "learns"),
    [(20, 1, True), (20, 250, True), (20, 251, False), (199, 26, True), (199, 27, False)],
)
def test_without_disagreement_the_whole_batch_counts_only_early(
    epoch: int, step: int, learns: bool
) -> None:
    losses, logits = planted(8, m=1)
    same = (losses.expand(2, -1), logits.expand(2, -1, -1))
    where = place(8, epoch, step=step)
    weights = make("co-teaching-plus").choose(make_data(8), where, *same)
    assert weights.tolist() == [[float(learns)] * 8] * 2


def test_the_warm_up_of_co_teaching_plus_is_at_most_half_of_all_epochs() -> None:
    losses, logits = planted(64)
    selector = make("co-teaching-plus", noise_rate=0.0)

    def all_count(epoch: int, n_epochs: int) -> bool:
        weights = selector.choose(make_data(64), place(64, epoch, n_epochs), losses, logits)
        return int(weights[0].sum()) == 64

    assert [all_count(e, 30) for e in (14, 15)] == [True, False]
    assert [all_count(e, 200) for e in (19, 20)] == [True, False]
    at_once = make("co-teaching-plus", noise_rate=0.0, warmup_epochs=0)
    assert int(at_once.choose(make_data(64), place(64, 1), losses, logits)[0].sum()) < 64


@given(seed=st.integers(0, 500), epoch=st.integers(1, 30), n=st.integers(1, 40))
@settings(max_examples=50)
def test_jocor_gives_both_networks_the_smallest_joint_losses(seed: int, epoch: int, n: int) -> None:
    losses, logits = planted(n, seed)
    weights = make("jocor").choose(make_data(n), place(n, epoch), losses, logits)
    n_keep = max(1, int((1 - released_rate(0.4, 10, epoch)) * n))
    assert used(weights) == [smallest_of(losses.sum(dim=0), list(range(n)), n_keep)] * 2


@given(seed=st.integers(0, 500), n=st.integers(1, 30), m=st.integers(1, 2))
@settings(max_examples=50)
def test_the_sieve_keeps_labels_that_cost_less_than_the_mean_class(
    seed: int, n: int, m: int
) -> None:
    losses, logits = planted(n, seed, m)
    weights = make("cores2").choose(make_data(n, None), place(n, 100), losses, logits)
    expected = []
    for network in logits.double().softmax(dim=2).tolist():
        costs = [[-math.log(p + 1e-8) for p in row] for row in network]
        expected.append([i for i, row in enumerate(costs) if row[i % K] <= sum(row) / K])
    assert used(weights) == expected


@pytest.mark.parametrize(
    ("n_epochs", "first"), [(100, 32), (200, 32), (50, 17), (30, 11), (10, 5), (1, 2)]
)
def test_the_sieve_starts_after_31_of_100_epochs(n_epochs: int, first: int) -> None:
    losses, logits = planted(40, m=1)

    def sieves(epoch: int) -> bool:
        weights = make("cores2").choose(
            make_data(40, None), place(40, epoch, n_epochs), losses, logits
        )
        return not bool(weights.all())

    assert not sieves(first - 1)
    assert sieves(first)


# What all of them have to survive ----------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("ties", [False, True])
def test_weights_follow_their_samples(name: str, ties: bool) -> None:
    """The order of a batch must not matter, not even where losses are equal."""
    n = 40
    ids = torch.randperm(1000, generator=seeded(3))[:n]
    losses, logits = planted(n)
    if ties:
        losses = (3 * losses).round()
    order = torch.randperm(n, generator=seeded(4))
    data = make_data(n, ids=ids)
    first = make(name).choose(data, place(n, 30), losses, logits)
    moved = Batch(order, 30, 1, 200, 390)
    second = make(name).choose(data, moved, losses[:, order], logits[:, order])
    assert torch.equal(first[:, order], second)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("epoch", [1, 60])
def test_constant_losses_and_one_sample_are_no_trouble(name: str, epoch: int) -> None:
    for n in (1, 2, 33):
        losses, logits = torch.ones(2, n), torch.zeros(2, n, K)
        before = (losses.clone(), logits.clone())
        weights = make(name).choose(make_data(n), place(n, epoch), losses, logits)
        assert weights.shape == (2, n)
        assert bool((weights.sum(dim=1) >= 1).all())
        assert torch.equal(losses, before[0])
        assert torch.equal(logits, before[1])


@pytest.mark.parametrize("name", ALL)
def test_the_methods_say_what_they_train_with(name: str) -> None:
    cls = type(make(name))
    assert issubclass(cls, nlbench.BatchSelector)
    assert cls.n_networks == (1 if name == "cores2" else 2)
    assert cls.trainer == (name if name in ("jocor", "cores2") else "")
