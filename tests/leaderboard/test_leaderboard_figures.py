"""The figures of the page: the numbers they show are those of the records."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from board_records import make, only
from hypothesis import given
from hypothesis import strategies as st
from test_leaderboard_build import HOSTILE

from nlbench.results.metrics import score_histogram
from nlbench.results.record import RunRecord
from nlbench_leaderboard.figures.chart import MOST_SERIES, Figure, marker, pieces, spread_out, style
from nlbench_leaderboard.figures.curves import (
    RECALLS,
    cost,
    learning_curve,
    mean_histogram,
    pareto_front,
    precision_at_recalls,
    quantiles,
)
from nlbench_leaderboard.figures.intervals import axis_of
from nlbench_leaderboard.figures.lines import learning_figure, recall_figure
from nlbench_leaderboard.figures.noise_rates import noise_figure, noise_groups
from nlbench_leaderboard.figures.points import cost_figure, histogram_figures, rank_figure
from nlbench_leaderboard.figures.scale import Scale, focus, log_ticks
from nlbench_leaderboard.figures.styles import MOST_LINES, style_places
from nlbench_leaderboard.page.board_page import to_html
from nlbench_leaderboard.ranking.across import compare_across
from nlbench_leaderboard.ranking.board import Board
from nlbench_leaderboard.ranking.rank import rank_boards

HISTOGRAM = {"edges": [0.0, 0.5, 1.0], "clean": [2.0, 6.0], "noisy": [4.0, 0.0]}


def record(name: str = "knn", seed: int = 0, accuracy: float = 0.9, **change: Any) -> RunRecord:
    full: dict[str, Any] = {
        "curves": {"test_accuracy": [0.5, 0.75, accuracy]},
        "score_histogram": HISTOGRAM,
        "times": {"embed_s": 1.0, "select_s": 2.0, "train_s": 3.0, "total_s": 7.0},
    }
    return make(name, seed, accuracy, **(full | change))


def at_rates(rates: Sequence[float], names: Sequence[str] = ("a", "b", "c")) -> list[Board]:
    records = [
        record(name, seed, 0.9 - rate / 2 - 0.05 * place - seed / 100, noise__nominal_rate=rate,
               noise__sha256=f"{rate}{seed}")
        for rate in rates for place, name in enumerate(names) for seed in range(2)
    ]  # fmt: skip
    return rank_boards(records)


def drawing(figure: Figure | None) -> ElementTree.Element:
    assert figure is not None
    return ElementTree.fromstring(str(figure.svg))  # noqa: S314 - our own drawing


def having(root: ElementTree.Element, css: str) -> list[ElementTree.Element]:
    return [e for e in root.iter() if css in e.get("class", "").split()]


def all_figures(records: Sequence[RunRecord]) -> list[Figure]:
    boards = rank_boards(records)
    places = style_places(boards)
    found = [noise_figure(group, places) for group in noise_groups(boards)]
    found += [rank_figure(a) for a in compare_across(boards)]
    for board in boards:
        found += [learning_figure(board, places), recall_figure(board, places),
                  cost_figure(board, places), histogram_figures(board)]  # fmt: skip
    return [figure for figure in found if figure]


def test_precision_at_recalls_is_that_of_thresholds_on_the_scores() -> None:
    rng = np.random.default_rng(0)
    clean = rng.random(400) < 0.6
    # Scores on 40 levels, one per bin: every threshold between two levels is an edge.
    score = np.clip(rng.integers(0, 40, 400) + 10 * clean, 0, 39).astype(float)
    found = precision_at_recalls(record(score_histogram=score_histogram(score, clean)))
    assert found is not None
    best: dict[float, float] = {}
    for threshold in range(40):
        keep = score >= threshold
        if keep.any():
            recall = round(float((keep & clean).sum() / clean.sum()), 9)
            best[recall] = max(best.get(recall, 0.0), float(clean[keep].mean()))
    met = [(i, best[r]) for i, r in enumerate(RECALLS.tolist()) if r in best]
    assert len(met) > 1
    for i, precision in met:
        assert found[i] == pytest.approx(precision)
    assert found[-1] == pytest.approx(clean[score >= score[clean].min()].mean())


def test_precision_within_a_bin_is_of_an_even_mixture() -> None:
    found = precision_at_recalls(record())
    assert found is not None
    by_recall = dict(zip(RECALLS.tolist(), found, strict=True))
    assert by_recall[0.5] == pytest.approx(1.0)  # 4 of the 6 clean ones in the upper bin
    assert by_recall[1.0] == pytest.approx(8 / 12)
    assert by_recall[0.88] == pytest.approx(7.04 / (7.04 + 4 * 1.04 / 2))


@pytest.mark.parametrize("histogram", [{}, {"edges": [0.0, 1.0], "all": [5.0]}])
def test_without_clean_labels_there_is_no_curve_of_the_selection(
    histogram: dict[str, list[float]],
) -> None:
    board = only([record(score_histogram=histogram)])
    assert precision_at_recalls(record(score_histogram=histogram)) is None
    assert recall_figure(board, style_places([board])) is None
    assert histogram_figures(board) is None


def test_histograms_of_seeds_are_averaged_on_common_edges() -> None:
    wide = {"edges": [0.0, 1.0, 2.0], "clean": [4.0, 0.0], "noisy": [0.0, 8.0]}
    found = mean_histogram([record(), record(score_histogram=wide)])
    assert found is not None
    edges, clean, noisy = found
    assert (edges[0], edges[-1]) == (0.0, 2.0)
    assert clean.sum() == pytest.approx((8 + 4) / 2)
    assert noisy.sum() == pytest.approx((4 + 8) / 2)
    assert clean[edges[:-1] >= 1.0].sum() == pytest.approx(0.0)
    assert noisy[edges[:-1] < 0.49].sum() == pytest.approx(4 / 2)
    assert quantiles(edges, noisy, (0.5,)) == [pytest.approx(1.25)]


def test_the_learning_curve_has_mean_lowest_and_highest_seed() -> None:
    found = learning_curve([record(seed=0, accuracy=0.8), record(seed=1, accuracy=0.9)])
    assert found is not None
    assert [part[-1] for part in found] == pytest.approx([0.85, 0.8, 0.9])
    assert learning_curve([record(), record(curves={"test_accuracy": [0.5, None]})]) is None
    assert learning_curve([record(curves={})]) is None


@given(st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 50)), min_size=1, max_size=30))
def test_the_front_is_what_no_other_point_beats(drawn: list[tuple[float, int]]) -> None:
    points = [(seconds, right / 50) for seconds, right in drawn]
    front = {points[i] for i in pareto_front(points)}
    beaten = {
        p for p in points
        if any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points)
    }  # fmt: skip
    assert front == set(points) - beaten


@pytest.mark.parametrize("n_epochs", [2, 3, 8, 30, 300])
def test_epochs_are_whole_numbers_on_the_axis(n_epochs: int) -> None:
    ticks = Scale(1.0, float(n_epochs), 0.0, 100.0, whole=True).ticks()
    assert 2 <= len(ticks) <= 6
    assert all(tick == int(tick) for tick in ticks)


def test_a_range_without_width_has_a_place_and_a_tick() -> None:
    flat = Scale(0.5, 0.5, 0.0, 100.0)
    assert (flat(0.5), flat.ticks(), flat.holds(0.5), flat.holds(0.6)) == (50.0, [0.5], True, False)


def test_an_accuracy_that_is_higher_by_rounding_only_is_not_on_the_front() -> None:
    assert pareto_front([(1.0, 0.3), (2.0, 0.1 + 0.2)]) == [0]


@given(st.lists(st.floats(0, 200), max_size=12))
def test_labels_never_cover_each_other(wanted: list[float]) -> None:
    placed = sorted(spread_out(wanted, 0.0, 240.0))
    assert all(b - a >= 14.9 for a, b in itertools.pairwise(placed))
    assert sorted(range(len(wanted)), key=lambda i: wanted[i]) == sorted(
        range(len(wanted)), key=lambda i: spread_out(wanted, 0.0, 240.0)[i]
    )


@pytest.mark.parametrize(("low", "high"), [(1.2, 4.6), (0.9, 30.0), (1e-3, 1e5), (99.0, 101.0)])
def test_a_log_axis_has_some_round_ticks(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 10
    assert all(low <= tick <= high and len(f"{tick:g}") <= 6 for tick in ticks)


def test_the_noise_figure_shows_means_and_intervals_of_the_boards() -> None:
    boards = at_rates([0.2, 0.4])
    (group,) = noise_groups(boards)
    figure = noise_figure(group, style_places(boards))
    assert figure is not None
    assert figure.head == ("Selector", "20 % noise", "40 % noise")
    low, high = (next(r for r in b.rows if r.label == "b").accuracy for b in group.boards)
    assert low is not None and high is not None and low.half_width is not None
    (line,) = (line for line in figure.lines if line[0] == "b")
    assert line[1] == f"{100 * low.mean:.2f} ± {100 * low.half_width:.2f}"
    root = drawing(figure)
    lines = [having(g, "ln")[0] for g in having(root, "series")]
    assert len(lines) == 3
    heights = [float(re.findall(r"M[\d.]+ ([\d.]+)", e.get("d", ""))[0]) for e in lines]
    assert heights == sorted(heights)  # a is best, and the y axis of SVG points down
    # Equal differences of accuracy are equal distances.
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)


def test_boards_of_other_noise_or_protocol_do_not_share_a_line() -> None:
    other = [record(noise__nominal_rate=0.6, protocol__sha256="p2"),
             record(noise__nominal_rate=0.6, noise__kind="pair"),
             record(noise__nominal_rate=0.6, noise__params={"label_set": "worst"}),
             record(noise__nominal_rate=None)]  # fmt: skip
    boards = rank_boards([record(noise__nominal_rate=0.2), *other])
    assert noise_groups(boards) == []


def test_a_selector_has_one_style_on_every_board_and_no_two_share_one() -> None:
    boards = at_rates([0.2, 0.4], [f"s{i}" for i in range(MOST_SERIES)])
    places = style_places(boards)
    looks = {}
    for board in boards:
        root = drawing(learning_figure(board, places))
        for group in having(root, "series"):
            (name,) = (e.text for e in having(group, "lb"))
            marks = having(group, "mk")[0].get("d", "")
            look = (group.get("class"), re.sub(r"^M[\d.]+ [\d.]+", "", marks))
            assert looks.setdefault(name, look) == look
    assert len(looks) == len(set(looks.values())) == MOST_SERIES


def test_a_page_of_forty_selectors_has_forty_looks() -> None:
    lines = {style(place) for place in range(32)}
    points = {(style(place)[:2], re.sub(r"^<path.*? 0", "", marker(place, 0, 0)))
              for place in range(40)}  # fmt: skip
    assert (len(lines), len(points)) == (32, 40)
    places = style_places([only([record(f"s{i:02d}", 0, 0.9 - i / 100) for i in range(40)])])
    assert len(set(places.values())) == 40


def test_selectors_of_one_figure_have_different_colours_where_eight_are_enough() -> None:
    first = [f"a{i}" for i in range(MOST_SERIES)]
    second = [f"b{i}" for i in range(MOST_SERIES)]
    boards = [*at_rates([0.2], first)]
    boards += rank_boards([record(n, 0, 0.9 - i / 100, dataset__name="letters")
                           for i, n in enumerate(second)])  # fmt: skip
    places = style_places(boards)
    for board in boards:
        assert len({places[row.key] % MOST_SERIES for row in board.rows}) == MOST_SERIES
    assert len(set(places.values())) == 2 * MOST_SERIES


def test_a_method_that_collapsed_does_not_stretch_the_axis_and_is_named() -> None:
    names = [record(f"s{i}", 0, 0.90 - i / 200, curves={"test_accuracy": [0.88, 0.90 - i / 200]})
             for i in range(8)]  # fmt: skip
    collapsed = record("collapsed", 0, 0.1, curves={"test_accuracy": [0.1, 0.1]})
    reference = record("none", 0, 0.2, curves={"test_accuracy": [0.2, 0.2]})
    board = only([*names, collapsed, reference])
    places = style_places([board])
    axis = axis_of(board)
    assert axis is not None and axis.low > 0.8
    for figure in (learning_figure(board, places), cost_figure(board, places)):
        root = drawing(figure)
        assert figure is not None
        assert "collapsed (10.0 %)" in figure.note and "none (20.0 %)" in figure.note
        assert "s7 (" not in figure.note
        ticks = [float(e.text or "") for e in having(root, "tl")
                 if "end" in e.get("class", "") and float(e.get("x", "")) < 100]  # fmt: skip
        assert min(ticks) > 80
        assert len(having(root, "out")) == 2


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.lists(st.floats(0, 1), max_size=2))
def test_an_axis_holds_three_quarters_of_the_values_and_is_never_empty(
    values: list[float], also: list[float]
) -> None:
    low, high = focus(values, also)
    assert 0.0 <= low < high <= 1.0
    inside = sum(low <= value <= high for value in values)
    assert inside >= 0.5 * len(values)
    if max(values) - min(values) <= 0.02:
        assert inside == len(values)


def walk(points: list[tuple[float, float]], n: int = 400) -> list[tuple[float, float]]:
    """Return many points along a polyline."""
    return [
        (a[0] + (b[0] - a[0]) * k / n, a[1] + (b[1] - a[1]) * k / n)
        for a, b in itertools.pairwise(points) for k in range(n + 1)
    ]  # fmt: skip


@given(st.lists(st.integers(0, 20), min_size=2, max_size=8))
def test_a_line_is_cut_where_it_leaves_the_axis(heights: list[int]) -> None:
    points = [(float(i), float(h)) for i, h in enumerate(heights)]
    low, high = 5.5, 14.5
    shown = pieces(points, low, high)
    assert all(low - 1e-9 <= y <= high + 1e-9 for part in shown for _, y in part)
    spans = [(part[0][0], part[-1][0]) for part in shown]
    for x, y in walk(points):
        is_in = any(a - 1e-9 <= x <= b + 1e-9 for a, b in spans)
        if low + 1e-9 < y < high - 1e-9:
            assert is_in
        elif not low - 1e-9 <= y <= high + 1e-9:
            assert not any(a + 1e-9 < x < b - 1e-9 for a, b in spans)


def test_bounds_are_drawn_apart_from_selectors() -> None:
    board = only([record(), record("none", accuracy=0.5),
                  record("oracle", accuracy=0.95, selector__is_bound=True)])  # fmt: skip
    root = drawing(learning_figure(board, style_places([board])))
    classes = {having(g, "lb")[0].text: g.get("class", "") for g in having(root, "series")}
    assert (classes["oracle"], classes["none"]) == ("series upper", "series lower")
    assert classes["knn"].startswith("series s")


def test_cost_is_what_the_method_takes_and_bounds_are_not_on_the_front() -> None:
    slow = {"embed_s": 0.0, "select_s": 50.0, "train_s": 3.0, "total_s": 60.0}
    board = only([record("a", accuracy=0.8), record("b", accuracy=0.7, times=slow),
                  record("oracle", accuracy=0.99, selector__is_bound=True)])  # fmt: skip
    assert cost(next(row for row in board.rows if row.label == "a")) == 6.0
    figure = cost_figure(board, style_places([board]))
    assert figure is not None
    assert {line[0]: line[1:] for line in figure.lines} == {
        "a": ("6", "80.00", "yes"),
        "b": ("53", "70.00", "no"),
        "oracle": ("6", "99.00", "bound"),
    }


def test_of_many_selectors_the_best_are_drawn_and_the_figure_says_so() -> None:
    records = [record(f"s{i:03d}", 0, 0.9 - i / 1000) for i in range(60)]
    figures = all_figures(records)
    assert len(figures) == 4
    for figure in figures:
        assert re.search(r"(best )?\d+ of 60 (methods )?are drawn", figure.note), figure.note
        assert any(line[0] == "s000" for line in figure.lines)
        assert not any(line[0] == "s059" for line in figure.lines)
    root = drawing(figures[0])
    assert len(having(root, "series")) == MOST_LINES
    assert len(having(root, "lb")) == MOST_SERIES
    grey = having(root, "other")
    assert [e.text for group in grey for e in group if e.tag == "title"] == [
        f"s{i:03d}" for i in range(MOST_SERIES, MOST_LINES)
    ]


def test_the_rank_figure_draws_the_ranks_and_the_groups() -> None:
    (found,) = compare_across(at_rates([0.2, 0.4]))
    figure = rank_figure(found)
    assert figure is not None
    assert figure.lines == (("a", "1.00"), ("b", "2.00"), ("c", "3.00"))
    root = drawing(figure)
    assert len(having(root, "group")) == len(found.groups) == 1
    x = Scale(1.0, 3.0, 240.0, 900.0)
    centres = [float(re.findall(r"M([\d.]+)", having(g, "mk")[0].get("d", ""))[0])
               for g in having(root, "series")]  # fmt: skip
    assert centres == [x(1.0), x(2.0), x(3.0)]


def test_every_figure_has_a_name_a_title_a_unit_and_its_numbers() -> None:
    records = [r for b in at_rates([0.2, 0.4]) for row in b.rows for r in
               (run.record for run in row.runs)]  # fmt: skip
    figures = all_figures(records)
    assert len(figures) == 1 + 1 + 2 * 4
    for figure in figures:
        root = drawing(figure)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert figure.title and figure.lines
        assert {len(line) for line in figure.lines} == {len(figure.head)}
    titles = " ".join(e.text or "" for f in figures for e in having(drawing(f), "at"))
    for words in ("nominal noise rate, %", "test accuracy, %", "epoch", "training, s (log"):
        assert words in titles


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text_in_figures(text: str) -> None:
    records = [
        record(name, seed, 0.9 - seed / 10, dataset__name=text, protocol__id=text,
               noise__nominal_rate=rate, noise__sha256=f"{rate}{seed}")
        for name in (text, "b", "c") for seed in range(2) for rate in (0.2, 0.4)
    ]  # fmt: skip
    figures = all_figures(records)
    assert len(figures) == 1 + 1 + 2 * 4
    for figure in figures:
        tags = {e.tag for e in drawing(figure).iter()}
        assert tags <= {"svg", "g", "path", "text", "title"}


def test_numbers_in_drawings_are_finite() -> None:
    one_sided = {"edges": [0.0, 1.0], "clean": [3.0], "noisy": [0.0]}
    same = [record("a", seed, 0.5, score_histogram=one_sided) for seed in range(2)]
    for figure in [*all_figures(same), *all_figures([record()])]:
        svg = str(figure.svg)
        assert "nan" not in svg and "inf" not in svg
        assert all(math.isfinite(float(n)) for n in re.findall(r"-?\d+\.\d+", svg))


def test_the_page_has_the_figures_with_tables_in_it() -> None:
    boards = at_rates([0.2, 0.4])
    page = to_html(boards, (), compare_across(boards))
    assert page.count("<figure>") == page.count("</figure>") == 1 + 1 + 2 * 4
    for part in page.split("<figure>")[1:]:
        figure = part.split("</figure>")[0]
        for once in ("<figcaption>", "<table>", 'role="img"'):
            assert figure.count(once) == 1
