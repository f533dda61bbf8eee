"""Paired tests and their correction, against scipy and against obvious slow references."""

from __future__ import annotations

import itertools
import math
import statistics
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nlbench_leaderboard.ranking.paired import (
    ALPHA,
    Comparison,
    compare_all,
    holm,
    least_n_wilcoxon,
    wilcoxon_p,
)

p_values = st.lists(st.none() | st.floats(0, 1), max_size=12)
# Accuracies of a small test set: whole numbers of 50, so that differences tie and vanish.
counts = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=0, max_size=9)


def pair(first: list[float], second: list[float]) -> Comparison:
    rows = [
        (name, {("sha", seed): value for seed, value in enumerate(values)})
        for name, values in (("first", first), ("second", second))
    ]
    (comparison,) = compare_all(rows)
    return comparison


def slow_holm(values: list[float | None]) -> list[float | None]:
    """From the definition: the largest of (m - rank) x p over all p up to one's own."""
    known = [v for v in values if v is not None]
    ordered = sorted(known)
    steps = [min(1.0, (len(ordered) - i) * p) for i, p in enumerate(ordered)]
    return [
        None if v is None else max(s for s, p in zip(steps, ordered, strict=True) if p <= v)
        for v in values
    ]


def slow_wilcoxon(differences: list[float]) -> float:
    """Every choice of signs, one by one."""
    nonzero = [d for d in differences if d != 0]
    ranks = stats.rankdata(np.abs(nonzero))
    seen = sum(r for r, d in zip(ranks, nonzero, strict=True) if d > 0)
    middle = ranks.sum() / 2
    sums = [
        sum(r for r, sign in zip(ranks, signs, strict=True) if sign)
        for signs in itertools.product((False, True), repeat=len(nonzero))
    ]
    return sum(abs(s - middle) >= abs(seen - middle) - 1e-9 for s in sums) / len(sums)


@given(p_values)
def test_holm_agrees_with_its_definition(values: list[float | None]) -> None:
    assert holm(values) == pytest.approx(slow_holm(values))


@given(p_values, st.randoms())
def test_holm_is_monotone_and_follows_a_permutation(
    values: list[float | None], random: Random
) -> None:
    corrected = holm(values)
    known = sorted((p, q) for p, q in zip(values, corrected, strict=True) if p is not None)
    assert all(p <= q <= 1 for p, q in known)
    assert all(q <= next_q for (_, q), (_, next_q) in itertools.pairwise(known))
    order = list(range(len(values)))
    random.shuffle(order)
    assert holm([values[i] for i in order]) == [corrected[i] for i in order]


def test_holm_on_a_case_done_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03, None]) == pytest.approx([0.06, 0.03, 0.06, None])
    assert holm([]) == []
    assert holm([None]) == [None]


@settings(deadline=None)
@given(counts)
def test_a_pair_agrees_with_scipy_and_with_the_definition(drawn: list[tuple[int, int]]) -> None:
    first, second = [a / 50 for a, _ in drawn], [b / 50 for _, b in drawn]
    got = pair(first, second)
    whole = [a - b for a, b in drawn]
    assert got.n == len(drawn)
    if not drawn:
        assert (got.difference, got.sd, got.t_p, got.wilcoxon_p) == (None,) * 4
        return
    assert got.difference == pytest.approx(statistics.mean(whole) / 50, abs=1e-12)
    if len(set(whole)) > 1:
        expected = stats.ttest_rel(first, second)
        assert got.t_p == pytest.approx(expected.pvalue, abs=1e-9)
        low, high = expected.confidence_interval(0.95)
        assert got.difference is not None
        assert got.half_width == pytest.approx((high - low) / 2, abs=1e-9)
    else:
        assert got.t_p is None
    if sum(d != 0 for d in whole) >= 6:
        assert got.wilcoxon_p == pytest.approx(slow_wilcoxon(list(map(float, whole))))
    else:
        assert got.wilcoxon_p is None


@settings(deadline=None)
@given(counts)
def test_the_order_of_a_pair_changes_the_sign_and_nothing_else(
    drawn: list[tuple[int, int]],
) -> None:
    first, second = [a / 50 for a, _ in drawn], [b / 50 for _, b in drawn]
    one, other = pair(first, second), pair(second, first)
    assert one.difference == (None if other.difference is None else -other.difference)
    for name in ("n", "sd", "half_width", "wilcoxon_p"):
        assert getattr(one, name) == getattr(other, name)
    assert one.t_p == pytest.approx(other.t_p)


@pytest.mark.parametrize("n", [6, 10, 25, 60])
def test_the_exact_signed_rank_test_is_scipys_where_nothing_ties(n: int) -> None:
    rng = np.random.default_rng(n)
    for shift in (0.0, 0.3, 1.0):
        differences = rng.standard_normal(n) + shift
        expected = stats.wilcoxon(differences, method="exact").pvalue
        assert wilcoxon_p(differences) == pytest.approx(expected, rel=1e-9)


def test_below_six_differences_wilcoxon_could_not_reach_five_percent() -> None:
    assert slow_wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0]) == 0.0625
    assert wilcoxon_p(np.arange(1.0, 6.0)) is None
    assert wilcoxon_p(np.array([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0])) is None
    assert wilcoxon_p(np.arange(1.0, 7.0)) == 0.03125


@pytest.mark.parametrize("n_pairs", [1, 3, 21, 28, 1000])
def test_the_seeds_that_wilcoxon_needs_are_the_fewest(n_pairs: int) -> None:
    n = least_n_wilcoxon(n_pairs)
    best = [n_pairs * (wilcoxon_p(np.arange(1.0, m + 1)) or 1.0) for m in (n - 1, n)]
    assert best[1] < ALPHA <= best[0]


def test_only_equal_noisy_labels_of_an_equal_seed_are_paired() -> None:
    first = {("a", 0): 0.9, ("b", 1): 0.8, ("c", 2): 0.7}
    second = {("a", 0): 0.5, ("other", 1): 0.1, ("c", 3): 0.1}
    (got,) = compare_all([("first", first), ("second", second)])
    assert (got.n, got.difference) == (1, pytest.approx(0.4))
    (none,) = compare_all([("first", first), ("third", {})])
    assert (none.n, none.difference, none.t_p, none.significant) == (0, None, None, None)


def test_a_difference_that_never_varies_has_no_t_test_however_it_is_rounded() -> None:
    constant = pair([0.93, 0.92, 0.91, 0.3], [0.92, 0.91, 0.90, 0.29])
    assert (constant.sd, constant.t_p, constant.significant) == (0.0, None, None)
    equal = pair([0.1 + 0.2, 0.7], [0.3, 0.7])
    assert equal.never_differs
    assert equal.significant is False


def test_the_correction_counts_every_pair_that_was_tested() -> None:
    wobble = [0.01, -0.01, 0.02, -0.02, 0.0, 0.01, 0.02, -0.03]
    rows = [
        (name, {("sha", s): level + wobble[s * step % 8] for s in range(8)})
        for name, level, step in (("a", 0.9, 1), ("b", 0.8, 3), ("c", 0.8, 5))
    ]
    got = compare_all(rows)
    assert [(c.first, c.second) for c in got] == [("a", "b"), ("a", "c"), ("b", "c")]
    for kind in ("t_p", "wilcoxon_p"):
        raw = [getattr(c, kind) for c in got]
        assert [getattr(c, f"{kind}_holm") for c in got] == pytest.approx(slow_holm(raw))
    assert [c.significant for c in got] == [True, True, False]
    assert all(math.isfinite(c.half_width or math.nan) for c in got)
