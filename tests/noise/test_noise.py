"""Noise keeps its promises: the exact rate, the allowed classes, and nothing but its own seed."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbench.config.resolve import resolve
from nlbench.errors import ConfigError, DataError
from nlbench.noise.corrupt import NoisyLabels, checked_rate, corrupt
from nlbench.plugins.registry import components

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "noise.json").read_text())
MATRIX = np.array([[0.8, 0.2, 0.0], [0.1, 0.6, 0.3], [0.0, 0.05, 0.95]])

rates = st.integers(0, 99).map(lambda percent: percent / 100)
seeds = st.integers(0, 2**31)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[int], int]:
    """Draw clean labels and K; classes may be absent, and the last ones often are."""
    n_classes = draw(st.integers(2, 12))
    return draw(st.lists(st.integers(0, n_classes - 1), min_size=1, max_size=200)), n_classes


def ten_classes(n: int = 1000) -> np.ndarray:
    return np.arange(n) * 7 % 10


def flips_per_class(clean: list[int], noisy: NoisyLabels, n_classes: int) -> list[int]:
    flips = [0] * n_classes
    for before, after in zip(clean, noisy.labels.tolist(), strict=True):
        flips[before] += before != after
    return flips


def assert_largest_remainder(wanted: list[float], got: list[int]) -> None:
    """`got` rounds `wanted` to whole numbers, the largest fractions up, to the rounded total."""
    assert abs(sum(got) - sum(wanted)) <= 0.5 + 1e-6
    rounded_up, rounded_down = [], []
    for share, count in zip(wanted, got, strict=True):
        assert abs(count - share) < 1
        fraction = share - int(share + 1e-9)
        (rounded_up if count > share + 1e-9 else rounded_down).append(fraction)
    if rounded_up and rounded_down:
        assert min(rounded_up) >= max(rounded_down) - 1e-6


# Realized = nominal -------------------------------------------------------------------------


@settings(deadline=None)
@given(labelled(), rates, seeds)
def test_symmetric_flips_the_exact_share_of_every_class_and_never_to_itself(
    data: tuple[list[int], int], rate: float, seed: int
) -> None:
    clean, n_classes = data
    noisy = corrupt(clean, n_classes, "symmetric", rate, seed)
    got = flips_per_class(clean, noisy, n_classes)
    assert_largest_remainder([rate * clean.count(k) for k in range(n_classes)], got)
    assert noisy.realized_rate == sum(got) / len(clean)
    assert noisy.nominal_rate == rate


@settings(deadline=None)
@given(labelled(), rates, seeds)
def test_pair_flips_the_exact_share_of_every_class_to_the_next(
    data: tuple[list[int], int], rate: float, seed: int
) -> None:
    clean, n_classes = data
    noisy = corrupt(clean, n_classes, "pair", rate, seed)
    got = flips_per_class(clean, noisy, n_classes)
    assert_largest_remainder([rate * clean.count(k) for k in range(n_classes)], got)
    for before, after in zip(clean, noisy.labels.tolist(), strict=True):
        assert after in (before, (before + 1) % n_classes)


@settings(deadline=None)
@given(st.lists(st.integers(0, 14), min_size=1, max_size=200), rates, seeds)
def test_block5_flips_the_exact_share_of_every_class_inside_blocks_of_five(
    clean: list[int], rate: float, seed: int
) -> None:
    noisy = corrupt(clean, 15, "block5", rate, seed)
    got = flips_per_class(clean, noisy, 15)
    assert_largest_remainder([rate * clean.count(k) for k in range(15)], got)
    for before, after in zip(clean, noisy.labels.tolist(), strict=True):
        assert after in (before, before - 4 if before % 5 == 4 else before + 1)


def test_block5_needs_blocks() -> None:
    with pytest.raises(ConfigError, match=r"that five divides, got 12.*noise 'pair'"):
        corrupt([0, 11], 12, "block5", 0.4)


@st.composite
def class_maps(draw: st.DrawFn) -> tuple[list[int], int, dict[int, int]]:
    clean, n_classes = draw(labelled())
    sources = draw(st.sets(st.integers(0, n_classes - 1), min_size=1))
    steps = st.integers(1, n_classes - 1)
    return clean, n_classes, {k: (k + draw(steps)) % n_classes for k in sources}


@settings(deadline=None)
@given(class_maps(), rates, seeds)
def test_asymmetric_flips_the_exact_share_of_mapped_classes_to_their_target_only(
    data: tuple[list[int], int, dict[int, int]], rate: float, seed: int
) -> None:
    clean, n_classes, class_map = data
    noisy = corrupt(clean, n_classes, "asymmetric", rate, seed, class_map=class_map)
    wanted = [rate * clean.count(k) if k in class_map else 0.0 for k in range(n_classes)]
    assert_largest_remainder(wanted, flips_per_class(clean, noisy, n_classes))
    for before, after in zip(clean, noisy.labels.tolist(), strict=True):
        assert after in (before, class_map.get(before, before))


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.35, 0.4, 0.5, 0.8])
@pytest.mark.parametrize("kind", ["symmetric", "pair"])
def test_realized_is_nominal_overall_and_in_every_class(kind: str, rate: float) -> None:
    noisy = corrupt(ten_classes(), 10, kind, rate)
    assert noisy.realized_rate == rate
    assert noisy.realized_rate_per_class.tolist() == [rate] * 10


@pytest.mark.parametrize(
    ("sizes", "rate", "total"), [((3, 3, 3), 0.5, 4), ((7, 2, 1, 1), 0.3, 3), ((1, 1), 0.4, 1)]
)
def test_the_total_is_rounded_once_not_class_by_class(
    sizes: tuple[int, ...], rate: float, total: int
) -> None:
    clean = np.repeat(np.arange(len(sizes)), sizes)
    noisy = corrupt(clean, len(sizes), "symmetric", rate)
    assert (noisy.labels != clean).sum() == total


def test_symmetric_spreads_evenly_over_the_other_classes() -> None:
    clean = np.zeros(9000, dtype=int)
    counts = np.bincount(corrupt(clean, 10, "symmetric", 0.9, seed=3).labels, minlength=10)
    assert counts[0] == 900
    # 8100 draws over 9 classes: 900 each, SD 28.
    assert np.abs(counts[1:] - 900).max() < 5 * 28.3


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.9])
def test_inclusive_redraws_int_rn_samples_and_some_come_out_clean(rate: float) -> None:
    n, n_classes = 20_003, 10
    clean = ten_classes(n)
    noisy = corrupt(clean, n_classes, "symmetric-inclusive", rate, seed=5)
    expected = rate * (1 - 1 / n_classes)
    assert (noisy.labels != clean).sum() <= int(rate * n)
    assert noisy.realized_rate == pytest.approx(expected, abs=5 * (0.25 / n) ** 0.5)
    assert noisy.nominal_rate == rate


def test_inclusive_picks_over_the_whole_set_not_class_by_class() -> None:
    per_class = corrupt(ten_classes(), 10, "symmetric-inclusive", 0.5).realized_rate_per_class
    assert len(set(per_class.tolist())) > 1


def test_inclusive_picks_exactly_int_rn() -> None:
    # Among a thousand classes, one redraw in a thousand comes out clean.
    clean = np.zeros(999, dtype=int)
    noisy = corrupt(clean, 1_000, "symmetric-inclusive", 0.35, seed=0)
    redrawn_clean = int(0.35 * 999) - int((noisy.labels != clean).sum())
    assert 0 <= redrawn_clean <= 3


def test_asymmetric_pair_of_classes_does_not_flip_back() -> None:
    """A loop over labels that were flipped already leaves 18.4 % instead of 20 %."""
    clean = ten_classes(50_000)
    noisy = corrupt(clean, 10, "asymmetric", 0.4, class_map="cifar10")
    cat, dog = 3, 5
    assert noisy.realized_rate == 0.2
    for before, after in ((cat, dog), (dog, cat)):
        assert (noisy.labels[clean == before] == after).mean() == 0.4
    assert noisy.realized_rate_per_class.tolist() == [0, 0, 0.4, 0.4, 0.4, 0.4, 0, 0, 0, 0.4]


@pytest.mark.parametrize(
    ("name", "n_affected"), [("cifar10", 5), ("cifar10n", 5), ("digits", 8), ("animal10n", 10)]
)
def test_named_class_maps_can_be_asked_for(name: str, n_affected: int) -> None:
    per_class = corrupt(ten_classes(), 10, "asymmetric", 0.4, class_map=name)
    assert (per_class.realized_rate_per_class > 0).sum() == n_affected


def test_no_noise_leaves_labels_alone() -> None:
    noisy = corrupt(ten_classes(), 10, "none")
    assert noisy.labels.tolist() == ten_classes().tolist()
    assert (noisy.realized_rate, noisy.nominal_rate) == (0.0, 0.0)


# The transition matrix -----------------------------------------------------------------------


def all_kinds(clean: np.ndarray, seed: int = 0) -> dict[str, NoisyLabels]:
    given = np.where(np.arange(len(clean)) % 4 == 0, (clean + 3) % 10, clean)
    features = np.random.default_rng(0).random((len(clean), 12))
    ring = 0.7 * np.eye(10) + 0.3 * np.roll(np.eye(10), 2, axis=1)
    return {
        "none": corrupt(clean, 10, "none", seed=seed),
        "symmetric": corrupt(clean, 10, "symmetric", 0.4, seed),
        "symmetric-inclusive": corrupt(clean, 10, "symmetric-inclusive", 0.4, seed),
        "asymmetric": corrupt(clean, 10, "asymmetric", 0.4, seed, class_map="digits"),
        "pair": corrupt(clean, 10, "pair", 0.4, seed),
        "matrix": corrupt(clean, 10, "matrix", seed=seed, matrix=ring),
        "labels": corrupt(clean, 10, "labels", seed=seed, labels=given),
        "block5": corrupt(clean, 10, "block5", 0.4, seed),
        "instance": corrupt(clean, 10, "instance", 0.4, seed, features=features),
    }


KINDS = [
    "asymmetric", "block5", "instance", "labels", "matrix", "none", "pair", "symmetric",
    "symmetric-inclusive",
]  # fmt: skip
TESTED_ELSEWHERE = {"human"}


def test_every_kind_that_comes_with_nlbench_is_tested_here() -> None:
    own = {name for name, c in components("noises").items() if c.owner.startswith("nlbench ")}
    assert sorted(all_kinds(ten_classes())) == KINDS == sorted(GOLDEN)
    assert own == {*KINDS, *TESTED_ELSEWHERE}


@pytest.mark.parametrize("kind", KINDS)
def test_matrix_says_what_happened_row_by_clean_class(kind: str) -> None:
    clean = ten_classes(40_000)
    noisy = all_kinds(clean)[kind]
    np.testing.assert_allclose(noisy.transition_matrix.sum(axis=1), 1, atol=1e-12)
    counted = np.zeros((10, 10))
    np.add.at(counted, (clean, noisy.labels), 1 / 4000)
    # 4000 samples a row: SD of a share is below 0.008.
    np.testing.assert_allclose(counted, noisy.transition_matrix, atol=0.04)


def test_own_matrix_is_drawn_from_and_not_its_transpose() -> None:
    clean = np.repeat([0, 1, 2], 20_000)
    noisy = corrupt(clean, 3, "matrix", seed=1, matrix=MATRIX)
    counted = np.array(
        [[(noisy.labels[clean == i] == j).mean() for j in range(3)] for i in range(3)]
    )
    assert np.abs(counted - MATRIX).max() < 0.02
    assert np.abs(counted - MATRIX.T).max() > 0.2
    assert (noisy.labels[clean == 0] != 2).all()
    assert noisy.nominal_rate == pytest.approx((0.2 + 0.4 + 0.05) / 3)
    np.testing.assert_array_equal(noisy.transition_matrix, MATRIX)


def test_own_labels_come_back_with_the_matrix_that_was_counted() -> None:
    clean, given = [0, 0, 0, 0, 1, 1, 3], [0, 0, 1, 2, 1, 0, 3]
    noisy = corrupt(clean, 4, "labels", labels=given)
    assert noisy.labels.tolist() == given
    assert noisy.nominal_rate is None
    assert noisy.realized_rate == 3 / 7
    assert noisy.transition_matrix.tolist() == [
        [0.5, 0.25, 0.25, 0],
        [0.5, 0.5, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]


# K, absent classes -----------------------------------------------------------------------------


def test_absent_classes_can_be_flipped_to_and_have_no_rate() -> None:
    clean = np.repeat([0, 2], 500)
    noisy = corrupt(clean, 5, "symmetric", 0.4)
    assert set(noisy.labels.tolist()) == {0, 1, 2, 3, 4}
    assert noisy.transition_matrix.shape == (5, 5)
    assert np.isnan(noisy.realized_rate_per_class).tolist() == [False, True, False, True, True]


def test_number_of_classes_is_the_argument_not_the_labels_present() -> None:
    clean = np.repeat([0, 1, 2], 100)
    assert corrupt(clean, 3, "pair", 0.4).labels.max() == 2
    pair = corrupt(clean, 9, "pair", 0.4)
    assert (pair.labels == 3).sum() == 40
    assert pair.transition_matrix.shape == (9, 9)


# Seeds -----------------------------------------------------------------------------------------

DRAWN = [
    "symmetric", "symmetric-inclusive", "asymmetric", "pair", "matrix", "block5", "instance"
]  # fmt: skip


@pytest.mark.parametrize("kind", DRAWN)
def test_same_seed_same_hash_other_seed_other_hash(kind: str) -> None:
    first, again, other = (all_kinds(ten_classes(), seed)[kind] for seed in (7, 7, 8))
    assert first.sha256 == again.sha256
    assert first.labels.tolist() == again.labels.tolist()
    assert first.sha256 != other.sha256


def test_hash_is_that_of_little_endian_int64() -> None:
    noisy = corrupt(ten_classes(), 10, "symmetric", 0.4)
    data = b"".join(label.to_bytes(8, "little") for label in noisy.labels.tolist())
    assert noisy.sha256 == hashlib.sha256(data).hexdigest()
    assert noisy.labels.dtype == np.int64


def test_kinds_and_rates_do_not_share_their_draws() -> None:
    clean = ten_classes()
    flipped = [
        corrupt(clean, 10, kind, rate, seed=0).labels != clean
        for kind, rate in (("symmetric", 0.4), ("pair", 0.4), ("symmetric", 0.41))
    ]
    for mine, theirs in ((0, 1), (0, 2)):
        overlap = (flipped[mine] & flipped[theirs]).sum() / flipped[mine].sum()
        # Independent picks overlap in 40 %, SD 2.4 %; a shared stream would overlap fully.
        assert overlap == pytest.approx(0.4, abs=0.12)


def test_seed_value_counts_not_its_type() -> None:
    """`for seed in np.arange(5)` must meet the labels of `range(5)`."""
    plain = corrupt(ten_classes(), 10, "symmetric", 0.4, seed=3)
    assert corrupt(ten_classes(), 10, "symmetric", 0.4, seed=np.int64(3)).sha256 == plain.sha256


@pytest.mark.parametrize("kind", DRAWN)
def test_draws_neither_read_nor_move_global_random_state(kind: str) -> None:
    hashes = []
    for state in (1, 2):
        random.seed(state)
        np.random.seed(state)
        torch.manual_seed(state)
        before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
        hashes.append(all_kinds(ten_classes())[kind].sha256)
        assert random.getstate() == before[0]
        assert np.random.get_state()[1].tolist() == before[1]
        assert torch.equal(torch.get_rng_state(), before[2])
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("kind", KINDS)
def test_clean_labels_are_not_written_to(kind: str) -> None:
    clean = ten_classes()
    clean.flags.writeable = False
    noisy = all_kinds(clean)[kind]
    noisy.labels[:] = 0
    assert clean.tolist() == ten_classes().tolist()


def test_lists_tensors_and_arrays_of_any_integer_type_give_the_same() -> None:
    forms = [ten_classes().tolist(), torch.tensor(ten_classes()), ten_classes().astype(np.uint8)]
    assert len({corrupt(form, 10, "symmetric", 0.4).sha256 for form in forms}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_golden_labels(kind: str) -> None:
    """The labels of published records: a change here makes old and new runs incomparable."""
    noisy = all_kinds(ten_classes(500), seed=42)[kind]
    assert noisy.labels[:20].tolist() == GOLDEN[kind]["first_20"]
    assert noisy.sha256 == GOLDEN[kind]["sha256"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=50), seeds)
def test_own_matrix_never_draws_what_has_probability_zero(clean: list[int], seed: int) -> None:
    noisy = corrupt(clean, 3, "matrix", seed=seed, matrix=MATRIX)
    for before, after in zip(clean, noisy.labels.tolist(), strict=True):
        assert MATRIX[before, after] > 0


# Errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1.0, -0.1, 1.5, float("nan"), 40])
def test_rate_must_lie_in_zero_one(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1\), got"):
        corrupt([0, 1], 2, "symmetric", rate)


@pytest.mark.parametrize(
    "kind", ["symmetric", "symmetric-inclusive", "pair", "asymmetric", "block5", "instance"]
)
def test_rate_must_be_given_where_there_is_one(kind: str) -> None:
    with pytest.raises(ConfigError, match="needs a rate"):
        corrupt([0, 1], 2, kind)


@pytest.mark.parametrize("kind", ["none", "matrix", "labels", "human"])
def test_rate_must_be_left_out_where_there_is_none(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"takes no rate, got 0\.4"):
        corrupt([0, 1], 2, kind, 0.4)


@pytest.mark.parametrize("rate", ["lots", True, [0.4]])
def test_rate_must_be_a_number(rate: Any) -> None:
    with pytest.raises(ConfigError, match="the noise rate must"):
        corrupt([0, 1], 2, "symmetric", rate)


def test_rate_of_zero_is_no_rate_where_there_is_none() -> None:
    clean = ten_classes()
    zero, left_out = (corrupt(clean, 10, "matrix", r, matrix=np.eye(10)) for r in (0, None))
    assert zero.sha256 == left_out.sha256
    assert corrupt(clean, 10, "labels", 0, labels=clean).nominal_rate is None


def test_rate_value_counts_not_its_type() -> None:
    clean = ten_classes()
    features = np.random.default_rng(0).random((len(clean), 12))
    hashes = {corrupt(clean, 10, "instance", r, features=features).sha256 for r in (0, 0.0, "0")}
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("kind", "rate"), [("pair", None), ("pair", 1.5), ("pair", "lots"), ("none", 0.4)]
)
def test_a_wrong_rate_reads_the_same_on_every_road(kind: str, rate: Any) -> None:
    """`corrupt` and the command line once had their own checks, each with its own words."""
    messages = []
    for road in (
        lambda: corrupt([0, 1], 2, kind, rate),
        lambda: checked_rate(kind, components("noises")[kind].load(), rate),
    ):
        with pytest.raises(ConfigError) as error:
            road()
        messages.append(str(error.value))
    if rate is not None:
        with pytest.raises(ConfigError) as error:
            resolve(noise=f"{kind}:{rate}")
        messages.append(str(error.value))
    assert len(set(messages)) == 1


def test_asymmetric_knows_the_maps_of_data_sets() -> None:
    clean = ten_classes()
    by_name = corrupt(clean, 10, "asymmetric", 0.4, class_map="digits")
    assert corrupt(clean, 10, "asymmetric", 0.4, dataset="digits").sha256 == by_name.sha256
    own = corrupt(clean, 10, "asymmetric", 0.4, dataset="digits", class_map={0: 1})
    assert own.sha256 == corrupt(clean, 10, "asymmetric", 0.4, class_map={0: 1}).sha256
    with pytest.raises(ConfigError, match=r"no map of look-alike classes for 'folder:pets'"):
        corrupt(clean, 10, "asymmetric", 0.4, dataset="folder:pets")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2], r"lie in \[0, 2\), got values from 0 to 2"),
        ([-1, 1], r"lie in \[0, 2\), got values from -1 to 1"),
        ([0.5, 1.0], "whole numbers"),
        ([0, float("nan")], "whole numbers"),
        ([[0, 1]], "1-D"),
        ([], "not empty"),
        (["a", "b"], r"are text, such as 'a': pass `class_names"),
        ([True, False], "whole numbers"),
    ],
)
def test_clean_labels_are_checked(labels: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        corrupt(labels, 2, "symmetric", 0.4)


def test_clean_labels_may_be_class_names() -> None:
    names = ["cat", "dog"]
    text = corrupt(["dog", "cat"] * 50, 2, "pair", 0.4, class_names=names)
    assert text.sha256 == corrupt([1, 0] * 50, 2, "pair", 0.4).sha256


@pytest.mark.parametrize("n_classes", [1, 0, -3, 2.5, True, "2"])
def test_number_of_classes_is_checked(n_classes: Any) -> None:
    with pytest.raises(ConfigError, match="`n_classes` must be a whole number >= 2"):
        corrupt([0, 0], n_classes, "symmetric", 0.4)


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
def test_whole_float_number_of_classes_is_taken_or_refused_but_does_not_crash(kind: str) -> None:
    try:
        noisy = corrupt([0, 1] * 50, 2.0, kind, 0.4)  # type: ignore[arg-type]
    except ConfigError:
        return
    assert noisy.realized_rate == 0.4


def test_unknown_kind_names_near_matches() -> None:
    with pytest.raises(ConfigError, match=r"unknown noise 'symetric'.*'symmetric'"):
        corrupt([0, 1], 2, "symetric", 0.4)


@pytest.mark.parametrize(
    ("kind", "option", "near"),
    [
        ("asymmetric", "class_mapp", "Did you mean 'class_map'"),
        ("matrix", "matrx", "Did you mean 'matrix'"),
        ("symmetric", "matrix", "Valid: 'rate'"),
        ("pair", "ratee", "Did you mean 'rate'"),
    ],
)
def test_unknown_options_name_near_matches(kind: str, option: str, near: str) -> None:
    rate = None if kind == "matrix" else 0.4
    with pytest.raises(ConfigError, match=f"no option '{option}'. {near}"):
        corrupt([0, 1], 2, kind, rate, **{option: 1})


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        (None, "needs to know which class"),
        ("cifra10", "'cifar10'"),
        ({0: 0}, "to other classes, got 0 -> 0"),
        ({0: 5}, "to other classes, got 0 -> 5"),
        ({-1: 1}, "to other classes, got -1 -> 1"),
        ({"x": 1}, "class_map"),
        ({0.5: 1}, "class_map"),
        ({0: None}, "class_map"),
        ([1, 0], "class_map"),
        ({}, "class_map"),
    ],
)
def test_class_maps_are_checked(class_map: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        corrupt([0, 1] * 10, 2, "asymmetric", 0.4, class_map=class_map)


def test_transposed_matrix_is_recognised() -> None:
    with pytest.raises(ConfigError, match=r"rows of `matrix` must sum to 1.*it is transposed"):
        corrupt([0, 1, 2], 3, "matrix", matrix=MATRIX.T)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0.5, 0.4], [0, 1]], "row 0 sums to 0.9"),
        ([[1.5, -0.5], [0, 1]], "finite numbers >= 0"),
        ([[float("nan"), 1], [0, 1]], "finite numbers >= 0"),
        ([[1, 0, 0], [0, 1, 0]], "must be 2 x 2"),
        ([1.0, 0.0], "must be 2 x 2"),
        (None, "needs `matrix`"),
        ([[1, 0], [1]], "matrix"),
        ([["a", "b"], ["c", "d"]], "matrix"),
    ],
)
def test_own_matrix_is_checked(matrix: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        corrupt([0, 1], 2, "matrix", matrix=matrix)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "needs `labels`"),
        ([0, 2], r"lie in \[0, 2\)"),
        ([0, 0.5], "whole numbers"),
        ([[0], [1]], "1-D"),
    ],
)
def test_own_labels_are_checked(labels: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        corrupt([0, 1], 2, "labels", labels=labels)


def test_label_file_of_another_length_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("0\n1\n1\n")
    with pytest.raises(DataError, match=r"each of the 4 training samples, got 3.*this data set"):
        corrupt([0, 1, 0, 1], 2, "labels", labels=file)


# Files -----------------------------------------------------------------------------------------


def as_npy(path: Path, values: np.ndarray) -> None:
    np.save(path, values)


def as_yaml(path: Path, values: np.ndarray) -> None:
    path.write_text(json.dumps(values.tolist()))


def as_csv(path: Path, values: np.ndarray) -> None:
    np.savetxt(path, values, delimiter=",")


def as_txt(path: Path, values: np.ndarray) -> None:
    np.savetxt(path, values)


FORMATS: dict[str, Callable[[Path, np.ndarray], None]] = {
    ".npy": as_npy,
    ".yaml": as_yaml,
    ".yml": as_yaml,
    ".csv": as_csv,
    ".txt": as_txt,
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_matrix_files_give_what_the_array_gives(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"matrix{suffix}"
    FORMATS[suffix](file, MATRIX)
    clean = np.repeat([0, 1, 2], 100)
    expected = corrupt(clean, 3, "matrix", matrix=MATRIX)
    assert corrupt(clean, 3, "matrix", matrix=str(file)).sha256 == expected.sha256


@pytest.mark.parametrize("suffix", FORMATS)
def test_label_files_give_what_the_array_gives(suffix: str, tmp_path: Path) -> None:
    file, given = tmp_path / f"labels{suffix}", np.array([2, 0, 1, 1])
    FORMATS[suffix](file, given)
    noisy = corrupt([0, 0, 1, 2], 3, "labels", labels=file)
    assert noisy.labels.tolist() == given.tolist()
    assert noisy.labels.dtype == np.int64


class Bomb:
    """Writes a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_pickled_npy_is_refused_and_not_run(tmp_path: Path) -> None:
    file, traces = tmp_path / "labels.npy", tmp_path / "ran"
    np.save(file, np.array([Bomb(traces), 1], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"labels\.npy' cannot be read"):
        corrupt([0, 1], 2, "labels", labels=file)
    assert not traces.exists()


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    file, traces = tmp_path / "labels.yaml", tmp_path / "ran"
    file.write_text(f"!!python/object/apply:os.mkdir ['{traces}']")
    with pytest.raises(DataError, match="cannot be read"):
        corrupt([0, 1], 2, "labels", labels=file)
    assert not traces.exists()


@pytest.mark.parametrize("option", ["matrix", "labels"])
def test_missing_file_is_named(option: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"`{option}` file '.*nowhere.npy' does not exist"):
        corrupt([0, 1], 2, option, **{option: tmp_path / "nowhere.npy"})


@pytest.mark.parametrize("option", ["matrix", "labels"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.npy", b"garbage"),
        ("empty.npy", b""),
        ("empty.csv", b""),
        ("empty.yaml", b""),
        ("ragged.csv", b"1,0\n1\n"),
        ("header.csv", b"cat,dog\n1,0\n0,1\n"),
        ("ragged.yaml", b"[[1, 0], [1]]"),
        ("mapping.yaml", b"a: 1\n"),
        ("broken.yaml", b"[1, 0"),
        ("binary.txt", b"\xff\xfe\x00"),
    ],
)
def test_damaged_files_are_named_not_traced(
    name: str, content: bytes, option: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises((DataError, ConfigError), match=f"`{option}`"):
        corrupt([0, 1], 2, option, **{option: file})


def test_archive_named_npy_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "matrix.npz", matrix=np.eye(2))
    file = (tmp_path / "matrix.npz").rename(tmp_path / "matrix.npy")
    with pytest.raises((DataError, ConfigError), match="matrix"):
        corrupt([0, 1], 2, "matrix", matrix=file)
