"""Ranks over boards, against scipy, Demsar's table and an obvious slow reference."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from board_records import make
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nlbench.results.record import RunRecord
from nlbench_leaderboard.ranking.across import (
    Across,
    compare_across,
    complete_block,
    critical_difference,
    friedman,
    inseparable,
)
from nlbench_leaderboard.ranking.rank import rank_boards

NOISES = ("asymmetric", "block5", "pair", "symmetric")
LEVELS = {"a": 0.9, "b": 0.8, "c": 0.7}


def over_boards(levels: dict[str, float], n_seeds: int = 1, **change: Any) -> list[RunRecord]:
    return [
        make(name, seed, level - 0.01 * i, noise__kind=kind, **change)
        for i, kind in enumerate(NOISES)
        for name, level in levels.items()
        for seed in range(n_seeds)
    ]


def only(records: list[RunRecord]) -> Across:
    (found,) = compare_across(rank_boards(records))
    return found


# q of Nemenyi's test at 0.05 for 2 to 10 classifiers, table 5a of Demsar 2006.
@pytest.mark.parametrize(
    ("k", "q"),
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031),
     (9, 3.102), (10, 3.164)],
)  # fmt: skip
def test_the_critical_difference_is_that_of_the_published_table(k: int, q: float) -> None:
    for n_boards in (5, 30):
        expected = q * np.sqrt(k * (k + 1) / (6 * n_boards))
        assert critical_difference(k, n_boards) == pytest.approx(expected, rel=1e-3)


matrices = st.integers(2, 6).flatmap(
    lambda n: st.integers(3, 5).flatmap(
        lambda k: st.lists(
            st.lists(st.integers(0, 5), min_size=k, max_size=k), min_size=n, max_size=n
        )
    )
)


def slow_friedman(rows: list[list[int]]) -> float | None:
    """From the ranks, corrected for ties: Conover, Practical Nonparametric Statistics."""
    n, k = len(rows), len(rows[0])
    ranks = [[sum(x < v for x in row) + (row.count(v) + 1) / 2 for v in row] for row in rows]
    totals = [sum(column) for column in zip(*ranks, strict=True)]
    spread = sum(r * r for row in ranks for r in row) - n * k * (k + 1) ** 2 / 4
    between = sum((t - n * (k + 1) / 2) ** 2 for t in totals)
    return (k - 1) * between / spread if spread else None


@settings(deadline=None)
@given(matrices)
def test_friedman_agrees_with_the_formula(rows: list[list[int]]) -> None:
    statistic, p = friedman(np.array(rows, dtype=float))
    expected = slow_friedman(rows)
    if expected is None:
        assert (statistic, p) == (None, None)
    else:
        assert statistic == pytest.approx(expected, abs=1e-9)
        assert p == pytest.approx(stats.chi2.sf(expected, len(rows[0]) - 1), abs=1e-9)


@given(st.lists(st.floats(1, 9), min_size=1, max_size=8), st.floats(0.1, 5))
def test_groups_are_the_largest_that_span_less_than_the_distance(
    drawn: list[float], distance: float
) -> None:
    ranks = sorted(drawn)
    got = inseparable(ranks, distance)
    close = [
        (i, j)
        for i, j in itertools.combinations(range(len(ranks)), 2)
        if ranks[j] - ranks[i] < distance
    ]
    largest = [
        one for one in close
        if not any(o != one and o[0] <= one[0] and one[1] <= o[1] for o in close)
    ]  # fmt: skip
    assert got == largest


def test_average_ranks_take_mid_ranks_and_leave_bounds_out() -> None:
    records = over_boards({**LEVELS, "twin": 0.8})
    records += over_boards({"none": 0.95})
    records += over_boards({"oracle": 1.0}, selector__is_bound=True)
    found = only(records)
    assert [(r.name, r.rank) for r in found.ranks] == [
        ("a", 1.0), ("b", 2.5), ("twin", 2.5), ("c", 4.0),
    ]  # fmt: skip
    assert len(found.boards) == 4
    assert found.critical_difference == pytest.approx(2.569 * np.sqrt(20 / 24), rel=1e-3)
    assert found.groups == (("a", "b", "twin"), ("b", "twin", "c"))
    values = np.array([[0.9, 0.8, 0.8, 0.7]] * 4)
    assert found.friedman == pytest.approx(stats.friedmanchisquare(*values.T).statistic)


def test_a_method_that_lacks_boards_is_left_out_and_named() -> None:
    records = [*over_boards(LEVELS), make("rare", 0, 0.99, noise__kind="pair")]
    found = only(records)
    assert [r.name for r in found.ranks] == ["a", "b", "c"]
    assert [(x.kind, x.name, x.reason) for x in found.left_out] == [
        ("method", "rare", "not complete on 3 of 4 boards")
    ]


def test_a_board_on_which_most_failed_is_left_out_and_named() -> None:
    records = [r for r in over_boards(LEVELS) if (r.noise.kind, r.selector.name) != ("pair", "c")]
    records += [make("b", 1, None, noise__kind="pair"), make("a", 1, noise__kind="pair")]
    found = only(records)
    assert len(found.boards) == 3
    (left,) = found.left_out
    assert left.kind == "board"
    assert left.name.startswith("digits-pair")
    assert left.reason == "2 of 3 methods are not complete on it"


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=5))
def test_what_stays_is_complete_and_what_goes_is_named(rows: list[list[bool]]) -> None:
    has = {f"board {i}": dict(zip("wxyz", row, strict=True)) for i, row in enumerate(rows)}
    boards, selectors, left_out = complete_block(has)
    assert all(has[b][s] for b in boards for s in selectors)
    assert sorted([*boards, *selectors, *(x.name for x in left_out)]) == sorted([*has, *"wxyz"])


def test_another_protocol_is_never_ranked_together() -> None:
    other = over_boards({"a": 0.1, "b": 0.9, "c": 0.8}, protocol__sha256="p2")
    found = compare_across(rank_boards([*over_boards(LEVELS), *other]))
    assert {f.protocol_sha256: f.ranks[0].name for f in found} == {"p1": "a", "p2": "b"}
    lone = make("a", protocol__sha256="p3")
    assert len(compare_across(rank_boards([*over_boards(LEVELS), lone]))) == 1


def test_another_version_of_a_selector_is_another_selector() -> None:
    changed = [
        r.model_copy(update={"versions": {**r.versions, "selector": 2}})
        if (r.selector.name, r.noise.kind) == ("a", "pair")
        else r
        for r in over_boards(LEVELS)
    ]
    found = only(changed)
    assert "a" not in {r.name for r in found.ranks}
    assert any(left.name == "a [selector 2]" for left in found.left_out)


def test_what_only_older_versions_ran_is_left_out_and_named() -> None:
    old = [r.model_copy(update={"versions": {}}) for r in over_boards({"was": 0.99})]
    found = only([*over_boards(LEVELS), *old])
    assert [r.name for r in found.ranks] == ["a", "b", "c"]
    assert [(x.name, x.reason) for x in found.left_out] == [
        ("was", "all of its runs are from older versions")
    ]


def test_with_two_selectors_there_is_no_friedman_test_and_with_one_nothing() -> None:
    two = only(over_boards({"a": 0.9, "b": 0.8}))
    assert (two.friedman, two.critical_difference is not None) == (None, True)
    assert any("needs three methods" in note for note in two.notes)
    one = only(over_boards({"a": 0.9}))
    assert (one.ranks, one.critical_difference, one.groups) == ((), None, ())
    assert one.notes == ("Not compared: fewer than two boards or methods are complete.",)


def test_boards_of_one_data_set_are_called_dependent() -> None:
    assert any("not independent" in note for note in only(over_boards(LEVELS)).notes)
    apart = [make(n, 0, v, dataset__name=d) for n, v in LEVELS.items() for d in ("x", "y")]
    assert not any("not independent" in note for note in only(apart).notes)


def test_equal_means_in_all_digits_but_the_last_share_a_rank() -> None:
    records = [
        make(name, seed, value, noise__kind=kind)
        for kind in NOISES
        for name, values in (("a", (0.1, 0.2, 0.3)), ("b", (0.3, 0.2, 0.1)), ("c", (0.0,) * 3))
        for seed, value in enumerate(values)
    ]
    assert {r.name: r.rank for r in only(records).ranks} == {"a": 1.5, "b": 1.5, "c": 3.0}
