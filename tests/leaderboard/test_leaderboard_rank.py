"""The rules of the leaderboard: what is averaged, what is ranked, what is said aloud."""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import pytest
from board_records import make, only, row_of
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbench_leaderboard.figures.intervals import axis_of
from nlbench_leaderboard.ranking.board import Board
from nlbench_leaderboard.ranking.grouping import rate_text
from nlbench_leaderboard.ranking.rank import rank_boards
from nlbench_leaderboard.ranking.stats import summarize


def ranks(board: Board) -> dict[str, str]:
    return {row.label: row.rank_text for row in board.rows}


# No deadline: the first call imports scipy.stats.
@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_summary_agrees_with_a_slow_reference(values: list[float]) -> None:
    from scipy import stats

    summary = summarize(values)
    assert summary is not None
    assert summary.n == len(values)
    assert summary.mean == pytest.approx(statistics.mean(values))
    assert summary.sd == pytest.approx(statistics.stdev(values), abs=1e-12)
    standard_error = statistics.stdev(values) / math.sqrt(len(values))
    if standard_error > 1e-9:
        low, high = stats.t.interval(
            0.95, len(values) - 1, loc=statistics.mean(values), scale=standard_error
        )
        assert summary.interval == pytest.approx((low, high))


def test_summary_leaves_out_what_was_not_measured() -> None:
    assert summarize([]) is None
    assert summarize([None, math.nan]) is None
    one = summarize([None, 0.5, math.inf, math.nan, 1e300])
    assert one is not None
    assert (one.n, one.mean, one.sd, one.half_width, one.interval) == (1, 0.5, None, None, None)


def test_rows_are_ranked_by_the_last_epoch_and_by_nothing_else() -> None:
    low = make("low", accuracy=0.5, metrics__test__accuracy_noisy_val=0.99)
    assert ranks(only([low, make("high", accuracy=0.8), make("mid", accuracy=0.7)])) == {
        "high": "1",
        "mid": "2",
        "low": "3",
    }


def test_equal_means_share_a_rank() -> None:
    board = only([make("b", accuracy=0.8), make("a", accuracy=0.8), make("c", accuracy=0.7)])
    assert ranks(board) == {"a": "1", "b": "1", "c": "3"}


def test_means_that_are_equal_but_for_rounding_share_a_rank() -> None:
    """Three selectors with 1060 of 1080 right over three seeds, in three orders of the sums."""
    right = {"a": (353, 353, 354), "b": (354, 353, 353), "c": (340, 360, 360), "d": (353, 353, 353)}
    records = [
        make(name, seed, n / 360) for name, counts in right.items() for seed, n in enumerate(counts)
    ]
    board = only(records)
    assert len({row.accuracy.mean for row in board.rows if row.accuracy}) > 2, "no rounding here"
    assert ranks(board) == {"a": "1", "b": "1", "c": "1", "d": "4"}
    assert [row.verdict for row in board.rows] == ["best", "best", "best", "not tested"]


def test_the_order_of_the_records_does_not_matter() -> None:
    records = [make(name, seed) for name in "abc" for seed in range(3)]
    records += [make("d", 0, noise__sha256="x"), make("none", 1), make("e", 2, accuracy=None)]
    records += [make("a", 0, fingerprint="again"), make("f", 0, protocol__sha256="p2")]
    expected = rank_boards(records)
    for i in range(10):
        random.Random(i).shuffle(records)  # noqa: S311
        assert rank_boards(records) == expected


def test_the_reference_declares_itself_and_has_no_fixed_name() -> None:
    records = [make("keep-all", accuracy=0.99, selector__is_reference=True), make("knn"),
               make("none", selector__is_reference=False)]  # fmt: skip
    bounds = {row.label: (row.bound, row.rank is None) for row in only(records).rows}
    assert bounds == {"keep-all": ("lower", True), "knn": ("", False), "none": ("", False)}


def test_bounds_are_shown_and_not_ranked() -> None:
    board = only(
        [
            make("none", accuracy=0.99),
            make("knn", accuracy=0.7),
            make("oracle", accuracy=0.6, selector__is_bound=True),
        ]
    )
    assert [(r.label, r.bound, r.rank) for r in board.rows] == [
        ("oracle", "upper", None),
        ("knn", "", 1),
        ("none", "lower", None),
    ]
    assert board.best is not None
    assert board.best.label == "knn"


def test_unequal_noisy_labels_are_excluded_and_named() -> None:
    records = [make("a"), make("b"), make("odd", accuracy=1.0, noise__sha256="other labels")]
    board = only([*records, make("odd", seed=1, accuracy=0.5)])
    odd = row_of(board, "odd")
    assert odd.accuracy is not None
    assert (odd.n, odd.accuracy.mean) == (1, 0.5)
    assert odd.rank_text == "(3)"
    assert any("seed 0 excluded: noisy labels other labels" in note for note in odd.notes)
    assert any("odd, seed 0" in note for note in board.notes)


def test_a_tie_of_noisy_labels_goes_to_those_that_came_first() -> None:
    late = make("late", noise__sha256="late", finished_at="2026-01-02T00:00:00Z")
    board = only([late, make("early")])
    assert row_of(board, "early").n == 1
    assert row_of(board, "late").status == "excluded"


def test_a_selector_that_ran_often_cannot_outvote_the_others() -> None:
    many = [make("odd", fingerprint=f"f{i}", noise__sha256="odd") for i in range(5)]
    board = only([*many, make("a"), make("b")])
    assert row_of(board, "odd").status == "excluded"
    assert row_of(board, "a").n == 1


def test_a_failure_is_visible_and_its_row_is_ranked_in_parentheses() -> None:
    records = [make("a", seed, 0.9) for seed in range(3)]
    records += [make("b", 0, 0.8), make("b", 1, 0.8), make("b", 2, None)]
    row = row_of(only(records), "b")
    assert (row.rank_text, row.n, row.n_expected) == ("(2)", 2, 3)
    assert "n = 2 of 3 seeds finished" in row.notes
    assert "seed 2 failed: ValueError: it broke" in row.notes


def test_a_row_that_never_finished_comes_last() -> None:
    board = only([make("a", 0, None), make("none"), make("z"), make("run", status="running")])
    assert [(r.label, r.status) for r in board.rows] == [
        ("z", "finished"),
        ("none", "finished"),
        ("run", "running"),
        ("a", "failed"),
    ]
    assert board.rows[-1].rank_text == "–"


def test_a_running_run_is_listed_and_not_counted() -> None:
    row = row_of(only([make("a", 0), make("a", 1, status="running")]), "a")
    assert row.n == 1
    assert any(note.startswith("seed 1 running") for note in row.notes)


def test_a_diverged_training_is_no_silent_chance_level() -> None:
    """Records of earlier versions call it finished."""
    records = [make("a", seed, 0.8, curves={"train_loss": [1.0, 0.5, 0.2]}) for seed in (0, 1)]
    diverged = make("a", 2, 0.1, curves={"train_loss": [1.0, None, None]})
    row = row_of(only([*records, diverged]), "a")
    assert row.accuracy is not None
    assert row.accuracy.mean == 0.8
    assert row.seeds_with("failed") == (2,)
    assert "seed 2 failed: diverged at epoch 2: its training loss is NaN or infinite" in row.notes


def test_a_finished_record_without_metrics_counts_as_failed() -> None:
    row = row_of(only([make("a", metrics=None)]), "a")
    assert row.status == "failed"


def test_missing_seeds_are_named_and_the_best_row_is_a_complete_one() -> None:
    board = only([make("a", 0), make("a", 1), make("a", 2), make("b", 1, 0.99)])
    row = row_of(board, "b")
    assert row.missing_seeds == (0, 2)
    assert {"not run: seeds 0, 2", "n = 1 of 3 seeds finished"} <= set(row.notes)
    assert board.best is not None
    assert (row.rank_text, board.best.label) == ("(1)", "a")


def test_a_single_seed_says_so() -> None:
    row = row_of(only([make("a")]), "a")
    assert row.accuracy is not None
    assert row.accuracy.half_width is None
    assert row.rank_text == "1"
    assert "single seed: no standard deviation" in row.notes


@pytest.mark.parametrize(
    "change",
    [
        {"protocol__sha256": "p2"},
        {"dataset__fingerprint": "d2"},
        {"dataset__name": "letters"},
        {"noise__kind": "pair"},
        {"noise__nominal_rate": 0.2},
        {"noise__nominal_rate": None},
        {"noise__params": {"shift": 1}},
    ],
)
def test_what_differs_is_another_board_with_its_own_name(change: dict[str, Any]) -> None:
    boards = rank_boards([make("a"), make("b", **change)])
    assert len(boards) == 2
    assert len({board.id for board in boards}) == 2
    assert len({board.title for board in boards}) == 2


def test_names_of_boards() -> None:
    board = only([make("a")])
    assert (board.title, board.id) == (
        "digits · 40 % symmetric noise · v1",
        "digits-symmetric-0.40-v1",
    )
    assert (rate_text(0.125), rate_text(0.2)) == ("0.125", "0.20")
    nameless = rank_boards([make(dataset__name=n, noise__kind="§", protocol__id="§",
                                 noise__nominal_rate=None) for n in ("日", "本")])  # fmt: skip
    assert len({board.id for board in nameless}) == 2
    assert all(board.id.startswith("board-") for board in nameless)


def test_two_settings_with_one_label_are_never_averaged() -> None:
    board = only([make("a", 0, selector__params={"k": 1}), make("a", 1, selector__params={"k": 2})])
    assert len({row.name for row in board.rows}) == 2
    assert any("Several methods are called a" in note for note in board.notes)


def test_the_newest_finished_record_of_a_seed_counts() -> None:
    old = make("a", accuracy=0.1, fingerprint="old")
    new = make("a", accuracy=0.8, fingerprint="new", finished_at="2026-01-02T00:00:00Z")
    failed = make("a", accuracy=None, fingerprint="bad", finished_at="2026-01-03T00:00:00Z")
    row = row_of(only([new, failed, old]), "a")
    assert row.accuracy is not None
    assert (row.accuracy.mean, row.n) == (0.8, 1)
    assert "seed 0 has several records: the newest finished one counts, not old, bad" in row.notes


def test_of_failures_of_one_seed_the_newest_is_shown() -> None:
    new = make("a", accuracy=None, fingerprint="new", finished_at="2026-01-02T00:00:00Z")
    row = row_of(only([make("a", accuracy=None, fingerprint="old"), new]), "a")
    assert [(r.record.fingerprint, r.status) for r in row.runs] == [
        ("old", "superseded"),
        ("new", "failed"),
    ]
    assert "seed 0 has several records: the newest counts, not old" in row.notes


def test_duplicates_are_one_note_of_a_row_and_one_of_the_board() -> None:
    records = []
    for name in ("a", "b"):
        for seed in range(3):
            for day, accuracy in (("2", 0.8), ("3", 0.7)):
                records.append(
                    make(name, seed, accuracy, fingerprint=f"{name}{seed}{day}",
                         finished_at=f"2026-01-0{day}T00:00:00Z")
                )  # fmt: skip
    board = only(records)
    assert [n for n in row_of(board, "a").notes if "several" in n] == [
        "seeds 0, 1, 2 have several records: the newest finished one counts, not a02, a12, a22"
    ]
    assert [note for note in board.notes if "several" in note] == [
        "6 records of a seed that has several records are left out, the newest counts: "
        "a, seeds 0, 1, 2; b, seeds 0, 1, 2."
    ]


def test_a_board_of_many_duplicates_names_the_first_ones() -> None:
    records = [
        make(f"s{i:02d}", 0, 0.8, fingerprint=f"{i}-{day}", finished_at=f"2026-01-0{day}T00:00:00Z")
        for i in range(20) for day in (1, 2)
    ]  # fmt: skip
    (note,) = (note for note in only(records).notes if "several" in note)
    assert note.startswith("20 records")
    assert note.endswith("s11, seed 0; and 8 more.")


def test_excluded_runs_with_the_same_wrong_labels_are_one_note() -> None:
    right = [make(f"s{i}", 0) for i in range(4)]
    wrong = [make(f"w{i}", 0, noise__sha256="other") for i in range(3)]
    notes = [note for note in only([*right, *wrong]).notes if note.startswith("Excluded")]
    assert len(notes) == 1
    assert all(f"w{i}, seed 0, run w{i}-0" in notes[0] for i in range(3))


def test_an_exact_copy_counts_once() -> None:
    row = row_of(only([make("a"), make("a")]), "a")
    assert (row.n, len(row.runs)) == (1, 1)


def test_an_early_failure_stands_where_it_would_have_run() -> None:
    early = make("a", 2, None, dataset__fingerprint="")
    row = row_of(only([make("a", 0), make("a", 1), early]), "a")
    assert (row.n, row.n_expected) == (2, 3)
    assert "seed 2 failed: ValueError: it broke" in row.notes


def test_no_records_no_boards() -> None:
    assert rank_boards([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_most_means_lie_on_the_axis(accuracies: list[float]) -> None:
    board = only([make(f"s{i}", i % 2, accuracy=a) for i, a in enumerate(accuracies)])
    axis = axis_of(board)
    assert axis is not None
    assert axis.low < axis.high
    means = [row.accuracy.mean for row in board.rows if row.accuracy]
    assert sum(map(axis.holds, means)) >= len(means) / 2
    assert 1 <= len(axis.ticks()) <= 6


def test_boards_of_human_noise_are_named_by_their_label_set() -> None:
    human = {"noise__kind": "human", "noise__nominal_rate": None}
    records = [
        make("a", seed=i, **human, noise__params={"label_set": name})
        for i, name in enumerate(("aggre", "worse"))
    ]
    titles = {board.title: board.id for board in rank_boards(records)}
    assert titles == {
        "digits · human labels, majority of three annotators · v1": "digits-human-aggre-v1",
        "digits · human labels, worst set · v1": "digits-human-worse-v1",
    }


def test_a_row_says_where_its_selector_is_not_its_papers_method() -> None:
    text = "once per epoch"
    board = only([make("a", 0, selector__deviation=text), make("a", 1, selector__deviation=text)])
    assert row_of(board, "a").notes == (f"not its paper's method: {text}",)
    assert row_of(only([make("b")]), "b").notes == ("single seed: no standard deviation",)
