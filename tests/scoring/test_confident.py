"""Confident learning against cleanlab, on thousands of random inputs and by hand."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nlbench import PluginError
from nlbench.scoring import confident_joint, find_label_issues, noise_rate_of_joint
from nlbench.scoring.confident import FilterBy

FILTERS = get_args(FilterBy)
Table = npt.NDArray[Any]


@pytest.fixture(autouse=True)
def _cleanlab_may_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are too small to prune
        yield


def drawn(seed: int, n: int, k: int, decimals: int | None, absent: bool) -> tuple[Table, Table]:
    """Return probabilities, rounded so that many are equal or not, and labels of some classes."""
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.full(k, rng.choice([0.1, 0.5, 2.0])), n)
    present = rng.choice(k, max(2, k // 2), replace=False) if absent else np.arange(k)
    labels = rng.choice(present, n)
    table[np.arange(n), labels] += rng.choice([0.0, 0.5, 1.0])
    table /= table.sum(axis=1, keepdims=True)
    return (table if decimals is None else table.round(decimals)), labels


def require_same(table: Table, labels: Table) -> None:
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import find_label_issues as cleanlab_issues

    ours = torch.from_numpy(table), torch.from_numpy(labels)
    theirs = compute_confident_joint(labels, table)
    assert np.array_equal(confident_joint(*ours).numpy(), theirs)
    for word in FILTERS:
        expected = cleanlab_issues(labels, table, filter_by=word, n_jobs=1)
        assert np.array_equal(find_label_issues(*ours, word).numpy(), expected), word


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(2, 80),
    k=st.integers(2, 12),
    decimals=st.sampled_from([None, 1]),
    absent=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_as_cleanlab(
    seed: int, n: int, k: int, decimals: int | None, absent: bool, dtype: type
) -> None:
    table, labels = drawn(seed, n, k, decimals, absent)
    assume(len(set(labels.tolist())) > 1)  # cleanlab refuses a single class
    require_same(table.astype(dtype), labels)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [None, 1])
def test_as_cleanlab_on_many_samples(seed: int, decimals: int | None) -> None:
    require_same(*drawn(seed, 3000, 20, decimals, absent=seed % 2 == 0))


def test_the_joint_by_a_loop() -> None:
    table, labels = drawn(5, 60, 3, None, absent=False)
    thresholds = [
        np.mean([p[j] for p, y in zip(table, labels, strict=True) if y == j]) for j in range(3)
    ]
    counts = np.zeros((3, 3))
    for p, y in zip(table, labels, strict=True):
        reached = [j for j in range(3) if p[j] >= thresholds[j]]
        if reached:
            counts[y, max(reached, key=lambda j: p[j])] += 1
    scaled = counts / counts.sum(axis=1, keepdims=True) * np.bincount(labels)[:, None]
    joint = confident_joint(torch.from_numpy(table), torch.from_numpy(labels))
    assert np.abs(joint.numpy() - scaled).max() <= 1
    assert joint.sum(dim=1).tolist() == np.bincount(labels).tolist()
    off_diagonal = 1 - np.trace(joint.numpy()) / 60
    assert noise_rate_of_joint(joint) == pytest.approx(off_diagonal)


@pytest.mark.parametrize("word", FILTERS)
def test_one_class_one_sample_and_no_doubt(word: FilterBy) -> None:
    sure = torch.eye(3)[[0, 0, 1, 1]]
    assert not find_label_issues(sure, torch.tensor([0, 0, 1, 1]), word).any()
    assert not find_label_issues(sure[:2], torch.tensor([0, 0]), word).any()
    assert find_label_issues(sure[:1], torch.tensor([0]), word).tolist() == [False]


def test_an_unknown_filter_is_refused() -> None:
    with pytest.raises(PluginError, match=r"`filter_by` must be 'prune_by_noise_rate'.*got 'best'"):
        find_label_issues(torch.eye(2), torch.arange(2), "best")  # type: ignore[arg-type]
