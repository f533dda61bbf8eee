"""Differences, gaps, saturation and the matrix: against slow references and by hand."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from board_records import make, only, row_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from test_leaderboard_build import HOSTILE, Page

from nlbench.results.record import RunRecord
from nlbench_leaderboard.escape import clean
from nlbench_leaderboard.formats.as_json import to_json
from nlbench_leaderboard.formats.cells import Cell, cell_of, heading_of
from nlbench_leaderboard.formats.headline import headline, saturated_line
from nlbench_leaderboard.formats.markdown import to_markdown
from nlbench_leaderboard.formats.numbers import versus_none_text
from nlbench_leaderboard.page.board_page import to_html
from nlbench_leaderboard.ranking.across import compare_across
from nlbench_leaderboard.ranking.board import Board
from nlbench_leaderboard.ranking.gap import fieller, gap_closed
from nlbench_leaderboard.ranking.matrix import Matrix, matrices_of
from nlbench_leaderboard.ranking.paired import compare_all
from nlbench_leaderboard.ranking.rank import rank_boards
from nlbench_leaderboard.ranking.versus import against

accuracies = st.lists(st.integers(0, 1000).map(lambda k: k / 1000), min_size=5, max_size=5)


def runs(name: str, values: list[float], **change: Any) -> list[RunRecord]:
    return [make(name, seed, value, **change) for seed, value in enumerate(values)]


def oracle(values: list[float], **change: Any) -> list[RunRecord]:
    return runs("oracle", values, selector__is_bound=True, **change)


# Differences -------------------------------------------------------------------------------------


def slow_holm(base: list[float], others: list[list[float]]) -> list[tuple[bool, float, float]]:
    """Step down by the definition; for each other row: rejected, and the interval of its step."""
    deltas = [np.subtract(other, base) for other in others]
    ps = [float(stats.ttest_1samp(delta, 0).pvalue) for delta in deltas]
    left, found = set(range(len(ps))), {}
    while left:
        smallest = min(left, key=lambda i: ps[i])
        level = 0.05 / len(left)
        now = [smallest] if ps[smallest] < level else list(left)
        for i in now:
            test = stats.ttest_1samp(deltas[i], 0).confidence_interval(1 - level)
            found[i] = (ps[smallest] < level, float(test.low), float(test.high))
        left -= set(now)
    return [found[i] for i in range(len(ps))]


@settings(deadline=None)
@given(accuracies, st.lists(accuracies, min_size=1, max_size=6))
def test_intervals_are_those_of_holms_steps_and_leave_out_0_where_it_rejects(
    base: list[float], others: list[list[float]]
) -> None:
    assume(all(np.std(np.subtract(other, base)) > 1e-6 for other in others))
    names = [f"m{i}" for i in range(len(others))]
    rows = [
        (name, {("labels", seed): value for seed, value in enumerate(values)})
        for name, values in zip(["base", *names], [base, *others], strict=True)
    ]
    found = against("base", compare_all(rows), set(names))
    for name, (rejected, low, high) in zip(names, slow_holm(base, others), strict=True):
        one = found[name]
        assert one.p is not None and one.low is not None and one.high is not None
        assert one.is_significant == rejected
        assert (one.low, one.high) == pytest.approx((low, high), abs=1e-9)
        assert (one.low > 0 or one.high < 0) == rejected


def test_only_the_tested_are_corrected_for_and_the_sign_is_row_minus_base() -> None:
    rows = [
        (name, {("labels", seed): level + wobble for seed, wobble in enumerate(wobbles)})
        for name, level, wobbles in (
            ("a", 0.9, [0, 0, 0]), ("base", 0.8, [0.01, 0, -0.01]), ("c", 0.7, [0, 0.01, 0]),
        )
    ]  # fmt: skip
    found = against("base", compare_all(rows), {"c"})
    assert found["a"].mean == pytest.approx(0.1)
    assert (found["a"].p, found["a"].low) == (None, None)
    assert found["c"].mean == pytest.approx(-0.1 + 0.01 / 3)
    assert found["c"].p == pytest.approx(
        stats.ttest_rel([0.7, 0.71, 0.7], [0.81, 0.8, 0.79]).pvalue
    )


# Against none ------------------------------------------------------------------------------------

NONE = [0.50, 0.52, 0.49, 0.51, 0.50]


@pytest.mark.parametrize(
    ("values", "verdict", "words"),
    [
        ([0.90, 0.91, 0.92, 0.90, 0.91], "better", ""),
        ([0.10, 0.12, 0.11, 0.13, 0.10], "worse", "worse than none"),
        ([0.45, 0.58, 0.44, 0.56, 0.50], "not separable", "not separable from none (n=5)"),
        ([0.45, 0.55, 0.44, 0.56, 0.50], "no better", "no better than none"),
        (NONE, "no better", "no better than none"),
        ([x + 0.25 for x in NONE], "not tested", ""),
    ],
)
def test_a_row_is_told_apart_from_none_or_not(
    values: list[float], verdict: str, words: str
) -> None:
    board = only([*runs("a", values), *runs("none", NONE)])
    row = row_of(board, "a")
    assert (row.none_verdict, versus_none_text(row)) == (verdict, words)


def test_with_few_seeds_a_row_is_not_said_to_be_no_better_than_none() -> None:
    board = only([*runs("a", [0.4, 0.6]), *runs("none", [0.5, 0.52])])
    assert row_of(board, "a").none_verdict == "not tested"
    assert versus_none_text(row_of(board, "a")) == ""


def test_the_correction_is_over_the_comparisons_with_none() -> None:
    values = [0.58, 0.53, 0.52, 0.60, 0.57]
    alone = only([*runs("a", values), *runs("none", NONE)])
    assert row_of(alone, "a").none_verdict == "better"
    noise = [[0.4 + 0.2 * ((seed * k) % 5) / 5 for seed in range(5)] for k in range(1, 5)]
    crowd = [record for k, some in enumerate(noise) for record in runs(f"m{k}", some)]
    many = only([*runs("a", values), *runs("none", NONE), *crowd])
    assert row_of(many, "a").none_verdict == "not separable"
    p = row_of(alone, "a").to_none
    corrected = row_of(many, "a").to_none
    assert p and corrected and p.p and corrected.p
    assert corrected.p == pytest.approx(5 * p.p)


def test_the_best_that_is_not_above_none_says_so() -> None:
    worse = [x - 0.1 + 0.01 * (seed % 2) for seed, x in enumerate(NONE)]
    said = headline(only([*runs("a", worse), *runs("b", [0.1] * 5), *runs("none", NONE)]))
    assert said.gap == "Even the best is worse than none (50.4 %)."


# The gap -----------------------------------------------------------------------------------------


def cells(values: list[float]) -> dict[tuple[str, int], float]:
    return {("labels", seed): value for seed, value in enumerate(values)}


@settings(deadline=None)
@given(accuracies, accuracies, accuracies)
def test_fiellers_interval_is_where_the_paired_t_test_does_not_reject(
    method: list[float], none: list[float], best: list[float]
) -> None:
    gains, rooms = np.subtract(method, none), np.subtract(best, none)
    assume(np.std(gains) > 1e-4 and np.std(rooms) > 1e-4)
    found = fieller(gains, rooms)
    if found is None:
        assert stats.ttest_1samp(rooms, 0).pvalue > 0.05 - 1e-9
        return
    low, high = found
    assume(high - low > 1e-3)
    for g in np.linspace(low - (high - low), high + (high - low), 37):
        assume(np.std(gains - g * rooms) > 1e-6)
        inside = stats.ttest_1samp(gains - g * rooms, 0).pvalue >= 0.05
        if min(abs(g - low), abs(g - high)) > 1e-6 * (high - low):
            assert inside == (low <= g <= high)


def test_the_gap_is_the_ratio_of_means_over_the_seeds_that_all_three_share() -> None:
    gap = gap_closed(
        {**cells([0.6, 0.8, 0.7]), ("other", 9): 0.0}, cells([0.5, 0.5, 0.4, 0.0]),
        cells([0.9, 0.9, 0.9, 0.9]),
    )  # fmt: skip
    assert gap is not None
    assert gap.n == 3
    assert gap.closed == pytest.approx((0.1 + 0.3 + 0.3) / (0.4 + 0.4 + 0.5))
    assert gap_closed(cells([0.9]), cells([0.5]), cells([0.5])) is None
    assert gap_closed({("x", 1): 0.5}, cells([0.5]), cells([0.9])) is None
    alone = gap_closed(cells([0.4]), cells([0.5]), cells([0.7]))
    assert alone is not None
    assert (alone.closed, alone.low) == (pytest.approx(-0.5), None)


def test_a_board_says_why_it_has_no_gap() -> None:
    a = runs("a", [0.9, 0.8, 0.85, 0.9, 0.8])
    none, high = runs("none", NONE), oracle([0.95, 0.96, 0.95, 0.94, 0.95])
    assert only([*a, *none, *high]).no_gap == ""
    assert only([*a, *high]).no_gap == "no none"
    assert only([*a, *none]).no_gap == "no oracle"
    assert only([*a, *none, *oracle([0.4] * 5)]).no_gap == "nothing to close"
    hardly = only([*a, *none, *oracle([0.40, 0.62, 0.45, 0.59, 0.50])])
    assert hardly.no_gap == "nothing to close"
    assert all(row.gap is None for row in hardly.rows)
    few = only([*a[:2], *none[:2], *oracle([0.40, 0.64])])
    assert few.no_gap == "", "two seeds cannot say that there is nothing to close"


# Saturation --------------------------------------------------------------------------------------


def crowd(levels: list[float], wobble: float) -> list[RunRecord]:
    """Return methods at these levels; their wobbles differ."""
    return [
        make(f"m{k}", seed, level + wobble * math.sin(7 * k + 3 * seed))
        for k, level in enumerate(levels)
        for seed in range(5)
    ]


def rule(board: Board) -> str:
    return board.saturation.rule if board.saturation else ""


def test_a_board_is_saturated_by_one_of_three_rules() -> None:
    none, high = runs("none", NONE), oracle([0.95, 0.96, 0.95, 0.94, 0.95])
    spread = crowd([0.9, 0.8, 0.7, 0.6, 0.55], 0.005)
    assert rule(only([*spread, *none, *high])) == ""
    nothing = only([*spread, *none, *oracle([0.45, 0.56, 0.5, 0.5, 0.5])])
    assert rule(nothing) == "nothing to close"
    assert saturated_line(nothing) == (
        "Saturated: knowing the clean labels does not help here (oracle − none: −0.2 points, n=5), "
        "so no method can gain anything."
    )
    small = only([*crowd([0.52, 0.51], 0.05), *none, *oracle([x + 0.01 for x in NONE])])
    assert rule(small) == "small room"
    assert re.fullmatch(
        r"Nearly saturated: the whole way from none to the oracle is \+1.0 points, and two methods "
        r"must differ by about \d+.\d points to be told apart here.", saturated_line(small)
    )  # fmt: skip
    top = only([*crowd([0.9, 0.899, 0.898, 0.897, 0.6], 0.01), *none, *high])
    assert rule(top) == "at the top"
    assert "4 of 5 methods are inside the 95 % interval" in saturated_line(top)
    assert rule(only([*crowd([0.9, 0.899, 0.898, 0.897], 0.01), *none, *high])) == ""


def test_few_seeds_do_not_saturate_a_board() -> None:
    none, high = runs("none", NONE), oracle([0.95, 0.96, 0.95, 0.94, 0.95])
    close = [*crowd([0.9, 0.899, 0.898, 0.897, 0.6], 0.01), *none, *high]
    assert rule(only(close)) == "at the top"
    assert rule(only([record for record in close if record.seed < 2])) == ""


# The matrix --------------------------------------------------------------------------------------

LEVELS = {"none": 0.5, "good": 0.8, "weak": 0.6}
WOBBLE = (0.01, -0.01, 0.02, -0.02, 0.0)


def over(kinds: dict[str, float], **change: Any) -> list[RunRecord]:
    """Return none, two methods and the oracle on several noises; each noise lowers by a number."""
    found = []
    for i, (kind, less) in enumerate(kinds.items()):
        for k, (name, level) in enumerate([*LEVELS.items(), ("oracle", 0.9)]):
            found += [
                make(name, seed, level - less + WOBBLE[(seed * (k + 1) + i) % 5] / 2,
                     noise__kind=kind, selector__is_bound=name == "oracle", **change)
                for seed in range(5)
            ]  # fmt: skip
    return found


def matrix_of(records: list[RunRecord]) -> Matrix:
    boards = rank_boards(records)
    (matrix,) = matrices_of(boards, compare_across(boards))
    return matrix


def cells_of(matrix: Matrix, name: str) -> list[Cell]:
    (line,) = (line for line in matrix.lines if line.name == name)
    return [cell_of(row, board) for row, board in zip(line.cells, matrix.boards, strict=True)]


def test_methods_are_ordered_by_the_gap_they_close_over_all_boards() -> None:
    matrix = matrix_of(over({"pair": 0.0, "symmetric": 0.1}))
    assert [line.name for line in matrix.lines] == ["good", "weak"]
    assert [matrix.settings[b.id] for b in matrix.boards] == [
        "40 % pair noise",
        "40 % symmetric noise",
    ]
    good = matrix.lines[0].overall
    assert good is not None
    rows = [row for row in matrix.lines[0].cells if row]
    gains = [row.gap.gain for row in rows if row.gap]
    rooms = [row.gap.room for row in rows if row.gap]
    assert good.n_boards == len(gains) == 2
    assert good.closed == pytest.approx(sum(gains) / sum(rooms))
    assert [cell.kind for cell in cells_of(matrix, "good")] == ["shown", "shown"]
    assert [cell.mark for cell in cells_of(matrix, "good")] == ["best", "best"]
    assert cells_of(matrix, "good")[0].text == "75"
    assert cells_of(matrix, "good")[0].step == 4


def test_a_single_board_has_no_matrix_and_protocols_are_never_mixed() -> None:
    other = {"protocol__sha256": "p2", "protocol__id": "v2"}
    boards = rank_boards([*over({"pair": 0.0, "symmetric": 0.1}), *over({"pair": 0.0}, **other)])
    (matrix,) = matrices_of(boards, compare_across(boards))
    assert matrix.protocol_sha256 == "p1"
    both = rank_boards([*over({"pair": 0.0, "block": 0.1}), *over({"pair": 0, "x": 0}, **other)])
    assert len(matrices_of(both, compare_across(both))) == 2


def test_missing_failed_and_incomplete_cells_are_seen() -> None:
    records = over({"pair": 0.0, "symmetric": 0.1})
    records += [make("dead", seed, None, noise__kind="pair") for seed in range(5)]
    records += [make("part", 0, 0.7, noise__kind="pair")]
    matrix = matrix_of(records)
    assert [line.name for line in matrix.lines] == ["good", "weak", "dead", "part"]
    assert [c.kind for c in cells_of(matrix, "dead")] == ["undone", "absent"]
    assert cells_of(matrix, "dead")[0].text == "failed"
    part = cells_of(matrix, "part")
    assert [c.kind for c in part] == ["part", "absent"]
    assert part[0].second == "1 of 5 seeds"
    assert re.fullmatch(r"\(\d+\)", part[0].text)
    assert part[0].mark == ""


def test_a_method_that_lacks_boards_comes_below_and_says_of_how_many_its_number_is() -> None:
    records = over({"pair": 0.0, "symmetric": 0.1, "block": 0.2})
    records += runs("rare", [0.99, 0.98, 0.99, 0.97, 0.99], noise__kind="pair")
    matrix = matrix_of(records)
    assert [line.name for line in matrix.lines] == ["good", "weak", "rare"]
    assert [line.overall and line.overall.n_boards for line in matrix.lines] == [3, 3, 1]
    text = to_markdown(matrix.boards, (), compare_across(matrix.boards))
    assert "| rare | 121 (1 of 3) |" in text


def test_a_board_without_an_oracle_shows_accuracies_and_says_so() -> None:
    records = [
        r for r in over({"pair": 0.0, "symmetric": 0.1})
        if (r.selector.name, r.noise.kind) != ("oracle", "pair")
    ]  # fmt: skip
    matrix = matrix_of(records)
    assert [heading_of(board) for board in matrix.boards] == ["n=5, no oracle", "n=5"]
    assert [c.kind for c in cells_of(matrix, "good")] == ["plain", "shown"]
    assert cells_of(matrix, "good")[0].second == "80.0"
    assert len(matrix.counted) == 1


def test_cells_are_muted_marked_and_open() -> None:
    records = over({"pair": 0.0, "symmetric": 0.1})
    records += runs("same", [0.45, 0.58, 0.44, 0.56, 0.50], noise__kind="pair")
    records += runs("bad", [0.10, 0.12, 0.11, 0.13, 0.10], noise__kind="pair")
    records += runs("near", [0.75, 0.84, 0.81, 0.78, 0.80], noise__kind="pair")
    matrix = matrix_of(records)
    assert {n: cells_of(matrix, n)[0].kind for n in ("same", "bad", "near", "good")} == {
        "same": "muted", "bad": "below", "near": "shown", "good": "shown",
    }  # fmt: skip
    assert cells_of(matrix, "near")[0].mark == "close"
    assert cells_of(matrix, "bad")[0].text.startswith("−")
    assert "not separable from none (n=5)" in cells_of(matrix, "same")[0].details
    few = matrix_of([r for r in over({"pair": 0.0, "symmetric": 0.1}) if r.seed < 1])
    assert {cell.kind for cell in cells_of(few, "good")} == {"open"}


def test_the_matrix_is_in_json_and_agrees_with_the_rows() -> None:
    import json

    boards = rank_boards(over({"pair": 0.0, "symmetric": 0.1}))
    content = json.loads(to_json(boards, (), compare_across(boards)))
    (matrix,) = content["matrices"]
    assert matrix["settings"][matrix["boards"][0]] == "40 % pair noise"
    good = matrix["methods"][0]
    by_board = {
        board["id"]: next(r["gap_closed"] for r in board["rows"] if r["method"] == "good")
        for board in content["boards"]
    }
    assert good["gap_closed"] == by_board
    assert content["boards"][0]["headline"]["luck"] == "not luck"


def test_boards_whose_noise_looks_the_same_have_different_headings() -> None:
    matrix = matrix_of([make("a"), make("a", noise__params={"x": 1})])
    assert len(set(matrix.settings.values())) == 2


# Hostile -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_matrix_is_text(text: str) -> None:
    records = [
        make("x", 0, 0.9, selector__name=text, dataset__name=text, noise__kind=kind,
             protocol__id=text, noise__params={"label_set": text})
        for kind in (text, f"{text} b")
    ]  # fmt: skip
    boards = rank_boards(records)
    across = compare_across(boards)
    assert len(matrices_of(boards, across)) == 1
    page = Page(to_html(boards, (), across))
    assert page.tags.count("script") == 1
    assert {"img", "iframe"}.isdisjoint(page.tags)
    assert clean(text)[:30] in " ".join(clean(t) for t in page.texts)
    rows = [x for x in to_markdown(boards, (), across).splitlines() if x.startswith("|")]
    assert not any(re.search(r"(?<!\\)[<`]", row) for row in rows)
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows[:3]}) == 1
