"""Links into the page: to boards, to rows, to runs, and what the filters offer."""

from __future__ import annotations

import html
import re

import pytest
from board_records import make
from test_leaderboard_build import HOSTILE, Page, sample

from nlbench.results.record import RunRecord
from nlbench_leaderboard.page.board_page import to_html
from nlbench_leaderboard.page.views import views_of
from nlbench_leaderboard.ranking.board import RunPlace
from nlbench_leaderboard.ranking.rank import rank_boards


def row_ids(records: list[RunRecord]) -> dict[str, str]:
    boards = rank_boards(records)
    (view,) = views_of(boards, ()).boards.values()
    return dict(view.row_ids)


def test_every_row_has_a_link_that_the_other_rows_do_not_change() -> None:
    some = row_ids([make("knn"), make("a b")])
    more = row_ids([make("knn"), make("a b"), make("a-b"), make("A-B"), make("probe")])
    assert some.items() <= more.items()
    assert len(set(more.values())) == 5
    assert some["knn"] == "digits-symmetric-0.40-v1--knn"


def test_the_page_has_what_the_links_point_to() -> None:
    page = Page(to_html(rank_boards(sample())))
    ids = row_ids(sample()).values()
    assert set(ids) <= set(page.values("id"))
    assert {f"#{i}" for i in ids} <= set(page.values("href"))


def test_runs_are_linked_where_they_have_a_page() -> None:
    records = [make("knn", 0), make("knn", 1)]
    boards = rank_boards(records)
    assert "runs/" not in to_html(boards)
    page = to_html(boards, run_pages={RunPlace(boards[0].id, "knn", 1): "abc"})
    assert re.findall(r'<a href="(runs/[^"]*)"[^>]*><code>([^<]*)', page) == [
        ("runs/abc.html", "abc")
    ]
    assert "<code>knn-0</code>" in page


@pytest.mark.parametrize("text", HOSTILE)
def test_filters_offer_the_knowledge_of_the_rows(text: str) -> None:
    records = [make("a", selector__knowledge=[text, "class names"]), make("b")]
    page = to_html(rank_boards(records))
    offered = [html.unescape(v) for v in re.findall(r'<option value="([^"]*)"', page)]
    assert offered[:2] == ["", "only-noisy-labels"]
    (of_a, of_b) = (v.split() for v in re.findall(r'data-knows="([^"]*)"', page))
    assert of_b == []
    assert "class-names" in of_a
    assert {f"with.{word}" for word in of_a} == {v for v in offered if v.startswith("with.")}
    assert {f"without.{word}" for word in of_a} == {v for v in offered if v.startswith("without.")}
    assert all(re.fullmatch(r"[a-z0-9-]+", word) for word in of_a)


def test_controls_that_need_the_script_are_hidden_without_it() -> None:
    page = to_html(rank_boards(sample()))
    assert re.findall(r'<div class="controls"[^>]* hidden>', page)
    assert re.findall(r'<button type="button" class="all" hidden>', page)
    assert not re.findall(r"<tbody[^>]* hidden", page)
