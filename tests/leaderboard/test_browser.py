"""The leaderboard in a real browser: Chromium, driven by Playwright; `pytest -m browser`.

The page is asked by roles and names, as a screen reader does, so that its markup may change.
Pictures go to `NLBENCH_SCREENSHOTS`, else to pytest's temporary folder.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from board_records import make
from browser_tabs import Open, fits, serious
from test_leaderboard_answers import over
from test_leaderboard_build import HOSTILE, hostile, sample
from test_run_pages import contributed, full_record

from nlbench.results.record import RunRecord
from nlbench_leaderboard.build import build, content_of
from nlbench_leaderboard.page.run_page import page_names
from nlbench_leaderboard.ranking.rank import rank_boards
from nlbench_leaderboard.sources.run_files import RunFiles

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

WIDTHS = (360, 1280, 2560)
RIGHT_TO_LEFT = "\u05d1\u05d7\u05d9\u05e8\u05d4 \u0627\u062e\u062a\u064a\u0627\u0631"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a leaderboard with something of everything, and one run with all that a page shows."""
    run = contributed(full_record())
    content = content_of(
        rank_boards([*sample(), run.record]), ["damaged"], RunFiles(contributed=[run])
    )
    folder = tmp_path_factory.mktemp("site")
    build(content, folder, ["html"])
    return folder


def written(records: list[RunRecord], folder: Path) -> dict[str, Path]:
    """Build a leaderboard; give the index and one page of a run."""
    boards = rank_boards(records)
    build(content_of(boards), folder, ["html"])
    pages = sorted((folder / "runs").glob("*.html"))
    return {"index": folder / "index.html", **({"run": pages[0]} if pages else {})}


def full_page(site: Path) -> Path:
    (found,) = site.glob("runs/0123456789ab.html")
    return found


def header(page: Page, name: str) -> Any:
    """Return the heading of a column of the first board; sorting may add an arrow to its name."""
    return page.get_by_role("columnheader", name=re.compile(f"^{name}")).first


def column(page: Page, name: str) -> list[str]:
    """Return a column of the first board, ranked rows only, top to bottom."""
    found: list[str] = header(page, name).evaluate(
        "head => [...head.closest('table').querySelectorAll(':scope > tbody.ranked')]"
        ".map(body => body.rows[0].cells[head.cellIndex].innerText.trim().split('\\n')[0])"
    )
    return found


def accuracies(page: Page) -> list[float]:
    return [float(text.split(" ")[0]) for text in column(page, "Last epoch")]


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


# Sorting -----------------------------------------------------------------------------------------


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_it_round(tab: Open, site: Path) -> None:
    page = tab().open(site / "index.html")
    head = header(page, "Last epoch")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    down = accuracies(page)
    assert down == sorted(down, reverse=True)
    assert len(set(down)) > 1
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert accuracies(page) == down[::-1]


def test_names_sort_as_words_and_with_the_keyboard_alone(tab: Open, site: Path) -> None:
    page = tab().open(site / "index.html")
    header(page, "Method").get_by_role("button").focus()
    page.keyboard.press("Enter")
    names = column(page, "Method")
    assert names == sorted(names, key=str.lower)
    assert len(set(names)) > 1
    page.keyboard.press("Space")
    assert column(page, "Method") == names[::-1]


# Filters -----------------------------------------------------------------------------------------


def visible_names(page: Page) -> list[str]:
    """Return the names of the rows of the first board that can be seen, bounds too."""
    bodies = page.locator("table.results").first.locator(":scope > tbody").all()
    return [
        body.locator("th").first.inner_text().split("\n")[0].strip()
        for body in bodies
        if body.is_visible()
    ]


@pytest.fixture(scope="module")
def filtered_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clip = {"selector__knowledge": ["class names", "image-text pre-training"]}
    records = [
        make(name, seed, 0.7 + i / 100, **more)
        for i, (name, more) in enumerate([("clip-a", clip), ("clip-b", clip), ("small-loss", {})])
        for seed in range(3)
    ]
    return written(records, tmp_path_factory.mktemp("filtered"))["index"]


def test_a_name_filters_at_once_and_all_come_back(tab: Open, filtered_site: Path) -> None:
    page = tab().open(filtered_site)
    everything = visible_names(page)
    assert len(everything) == 3
    page.get_by_role("searchbox", name="Method").first.fill("CLIP")
    assert len(visible_names(page)) == 2
    assert page.get_by_role("status").first.inner_text() == "2 of 3 rows"
    page.get_by_role("button", name="Show all").first.click()
    assert visible_names(page) == everything


def test_a_filter_by_knowledge_is_in_the_address_and_comes_back(
    tab: Open, filtered_site: Path
) -> None:
    page = tab().open(filtered_site)
    page.get_by_role("combobox", name="Also uses").first.select_option("only-noisy-labels")
    header(page, "Last epoch").get_by_role("button").click()
    (shown,) = visible_names(page)
    assert "small-loss" in shown
    address = page.evaluate("location.hash")
    assert "knows=only-noisy-labels" in address
    assert "sort=" in address
    again = tab().open(filtered_site, address)
    assert visible_names(again) == [shown]
    assert header(again, "Last epoch").get_attribute("aria-sort") == "descending"


@pytest.fixture(scope="module")
def two_boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = [
        make(name, seed, 0.9 - i / 50, dataset__name=data, command=f"nlbench run --seed {seed}")
        for data in ("digits", "letters") for i, name in enumerate(("clip-a", "small-loss"))
        for seed in range(3)
    ]  # fmt: skip
    return written(records, tmp_path_factory.mktemp("two"))["index"]


def shown_rows(page: Page) -> int:
    bodies = page.locator("section.board table.results > tbody").all()
    return sum(body.is_visible() for body in bodies)


def test_one_filter_is_for_all_boards_and_lasts(tab: Open, two_boards: Path) -> None:
    page = tab().open(two_boards)
    assert shown_rows(page) == 4
    page.get_by_role("searchbox", name="Method").focus()
    page.keyboard.type("clip")
    assert shown_rows(page) == 2
    assert page.get_by_role("status").first.inner_text() == "2 of 4 rows"
    assert page.evaluate("location.hash") == "#?q=clip"
    assert shown_rows(tab().open(two_boards, "#?q=clip")) == 2
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # Show all
    assert shown_rows(page) == 4
    assert page.evaluate("location.hash") == ""


def test_the_contents_lead_to_a_board_and_keep_the_filter(tab: Open, two_boards: Path) -> None:
    page = tab().open(two_boards, "#?q=clip")
    page.get_by_role("navigation", name="Contents").get_by_role(
        "link", name="symmetric"
    ).last.click()
    assert shown_rows(page) == 2
    heading = page.get_by_role("heading", name="letters")
    bar = page.get_by_role("search").evaluate("e => e.getBoundingClientRect().bottom")
    assert heading.evaluate("e => e.getBoundingClientRect().top") >= bar, "not under the filter"


def test_contents_are_folded_where_there_is_little_room(tab: Open, two_boards: Path) -> None:
    link = "symmetric"
    assert tab().open(two_boards).locator(".toc").get_by_text(link).first.is_visible()
    page = tab(400).open(two_boards)
    assert not page.locator(".toc").get_by_text(link).first.is_visible()
    page.get_by_text("Contents", exact=True).first.click()
    assert page.locator(".toc").get_by_text(link).first.is_visible()
    plain = tab(400, java_script_enabled=False).open(two_boards)
    assert plain.locator(".toc").get_by_text(link).first.is_visible()
    assert not plain.get_by_role("search").is_visible()


def test_commands_of_seeds_are_copied_with_the_keyboard(tab: Open, two_boards: Path) -> None:
    opened = tab()
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = opened.open(two_boards)
    row = page.locator("section.board table.results > tbody").first
    assert row.get_by_role("button", name="Copy").count() == 0
    row.get_by_text(re.compile("^Seeds, times and commands")).focus()
    page.keyboard.press("Enter")
    button = row.get_by_role("button", name="Copy").nth(1)
    button.focus()
    page.keyboard.press("Enter")
    row.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "nlbench run --seed 1"
    assert row.get_by_text("Copied to the clipboard.").count() == 1


def test_figures_use_the_page_and_scroll_where_they_would_be_too_small(
    tab: Open, site: Path
) -> None:
    wide = tab(1400).open(site / "index.html")
    drawing = wide.locator("section.board svg.chart").first
    assert drawing.bounding_box()["width"] > 1200  # type: ignore[index]
    narrow = tab(400).open(site / "index.html")
    text = narrow.locator("section.board svg.chart text").first
    assert text.evaluate("e => e.getBoundingClientRect().height") > 8
    assert fits(narrow)


def test_a_link_to_a_filtered_row_shows_it(tab: Open, filtered_site: Path) -> None:
    page = tab().open(filtered_site)
    row = page.locator("table.results > tbody[id]").first.get_attribute("id")
    page.get_by_role("searchbox", name="Method").first.fill("nothing is called so")
    assert visible_names(page) == []
    page.evaluate(f"location.hash = {row!r}")
    page.locator(f"[id='{row}']").wait_for(state="visible")


def test_an_address_that_means_nothing_does_no_harm(tab: Open, filtered_site: Path) -> None:
    for fragment in ("#nowhere", "#?q=", "#%3Cscript%3E?q=<b>&knows=x&sort=__proto__.up"):
        page = tab().open(filtered_site, fragment)
        assert len(visible_names(page)) == 3


# Deep links, keyboard ----------------------------------------------------------------------------


def test_a_link_to_a_board_shows_that_board(tab: Open, tmp_path: Path) -> None:
    records = [make(f"s{i}", s, 0.5 + i / 100) for i in range(30) for s in range(2)]
    records += [make("knn", s, 0.9, dataset__name="another") for s in range(2)]
    index = written(records, tmp_path)["index"]
    ids = [board.id for board in rank_boards(records)]
    page = tab().open(index, f"#{ids[-1]}")
    heading = page.locator(f"[id='{ids[-1]}']")
    assert heading.evaluate("e => { const r = e.getBoundingClientRect(); return r.top >= 0 && "
                            "r.bottom <= innerHeight }")  # fmt: skip
    assert page.evaluate("scrollY") > 0


def test_a_link_to_a_run_opens_its_row(tab: Open, site: Path) -> None:
    page = tab().open(site / "index.html", "#run-0123456789ab")
    link = page.get_by_role("link", name=re.compile("0123456789ab"))
    link.wait_for(state="visible")
    assert link.evaluate("e => e.closest('details').open")
    assert link.evaluate("e => e.getBoundingClientRect().top") > 50, "with what stands above it"


def test_a_run_has_a_page_and_the_page_leads_back(tab: Open, site: Path) -> None:
    page = tab().open(site / "index.html", "#run-0123456789ab")
    page.get_by_role("link", name=re.compile("0123456789ab")).click()
    page.wait_for_url("**/runs/0123456789ab.html")
    assert "clip-knn" in page.get_by_role("heading", level=1).inner_text()
    page.get_by_role("link", name="its row").click()
    page.wait_for_url("**/index.html#run-0123456789ab")
    page.get_by_role("link", name=re.compile("0123456789ab")).wait_for(state="visible")


def test_the_keyboard_reaches_everything(tab: Open, site: Path) -> None:
    page = tab().open(site / "index.html")
    page.keyboard.press("Tab")
    focused = "document.activeElement"
    assert "Skip" in page.evaluate(f"{focused}.textContent")
    assert page.evaluate(f"{focused}.getBoundingClientRect().top") >= 0, "it must be seen"
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focused}.id") == "main"
    details = page.get_by_text(re.compile("^Seeds, times and commands")).first
    details.focus()
    page.keyboard.press("Enter")
    assert details.evaluate("e => e.closest('details').open")
    page.keyboard.press("Tab")
    # Whatever scrolls sideways can be scrolled with the arrow keys.
    assert page.evaluate(f"{focused}.getAttribute('role')") in ("region", "link", None)


def test_the_command_is_copied(tab: Open, site: Path) -> None:
    opened = tab()
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = opened.open(full_page(site))
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == full_record().command


# Themes, widths, no script, axe ------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_no_width_scrolls_the_page_sideways(tab: Open, site: Path, shots: Path, width: int) -> None:
    for name, file in (("index", site / "index.html"), ("run", full_page(site))):
        page = tab(width).open(file)
        assert fits(page), f"{name} at {width}"
        page.screenshot(path=shots / f"{name}-{width}.png", full_page=True)


def test_both_themes_are_themes(tab: Open, site: Path, shots: Path) -> None:
    for name, file in (("index", site / "index.html"), ("run", full_page(site))):
        found = {}
        for scheme in ("light", "dark"):
            page = tab(color_scheme=scheme).open(file)
            found[scheme] = background(page)
            page.screenshot(path=shots / f"{name}-{scheme}.png", full_page=True)
        assert found["light"] != found["dark"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(tab: Open, site: Path, scheme: str) -> None:
    for file in (site / "index.html", full_page(site)):
        page = tab(color_scheme=scheme).open(file)
        page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
        assert serious(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_matrix_is_legible_and_scrolls_in_its_own_box(
    tab: Open, tmp_path: Path, shots: Path, scheme: str, width: int
) -> None:
    records = over({f"kind-{i}": i / 50 for i in range(8)})
    for name, level in (("as-none", 0.5), ("below", 0.1), ("a-method-with-a-long-name", 0.79)):
        records += [make(name, seed, level + (seed * 3 % 5) / 50, noise__kind="kind-0")
                    for seed in range(5)]  # fmt: skip
    records += [make("few", 0, 0.7, noise__kind="kind-1"), make("dead", 0, None)]
    page = tab(width, color_scheme=scheme).open(written(records, tmp_path)["index"])
    assert fits(page)
    assert serious(page) == []
    box = page.get_by_role("region", name=re.compile("How much of the gap"))
    best = box.get_by_role("rowheader", name="good")
    left = best.evaluate("e => e.getBoundingClientRect().left")
    if width < 800:
        assert box.evaluate("e => { e.scrollLeft = 300; return e.scrollLeft }") == 300
    assert best.evaluate("e => e.getBoundingClientRect().left") == left, "it stays in sight"
    box.screenshot(path=shots / f"matrix-{width}-{scheme}.png")


def test_without_scripts_everything_can_be_read(tab: Open, site: Path) -> None:
    page = tab(java_script_enabled=False).open(site / "index.html")
    table = page.locator("table.results").first
    assert table.is_visible()
    assert "knn" in table.inner_text()
    page.get_by_text(re.compile("^Seeds, times and commands")).first.click()
    assert page.get_by_role("columnheader", name="Seed", exact=True).first.is_visible()
    page.goto(full_page(site).as_uri())
    assert full_record().command in page.locator("main").inner_text()
    assert page.get_by_role("table").count() >= 3


# 0, 1 and 500 rows -------------------------------------------------------------------------------


def test_a_board_without_runs_says_what_to_do(tab: Open, tmp_path: Path) -> None:
    page = tab(360).open(written([], tmp_path)["index"])
    assert "nlbench sweep" in page.locator("main").inner_text()
    assert fits(page)


def test_a_board_with_one_row(tab: Open, tmp_path: Path, shots: Path) -> None:
    page = tab(360).open(written([make("only")], tmp_path)["index"])
    header(page, "Last epoch").get_by_role("button").click()
    assert accuracies(page) == [90.0]
    assert fits(page)
    page.screenshot(path=shots / "one-row-360.png", full_page=True)


def test_a_board_with_500_rows_is_sorted_at_once(tab: Open, tmp_path: Path) -> None:
    records = [make(f"selector-{i:03d}", 0, 0.3 + (i * 7 % 500) / 1000) for i in range(500)]
    page = tab().open(written(records, tmp_path)["index"])
    # Not by role: the browser takes seconds to work out the roles of so many elements.
    button = page.locator("table.results > thead th", has_text="Method").locator("button")
    took_ms = button.evaluate(
        "button => { const start = performance.now(); button.click();"
        "document.body.offsetHeight; return performance.now() - start }"
    )
    names = page.locator("table.results > tbody.ranked > tr:first-child > th bdi:first-child")
    assert names.first.inner_text() == "selector-000"
    assert names.last.inner_text() == "selector-499"
    assert took_ms < 5000, f"sorting 500 rows took {took_ms:.0f} ms"
    assert page.locator("table.results > tbody.ranked").count() == 500
    assert fits(page)


# Hostile names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*HOSTILE, RIGHT_TO_LEFT], ids=lambda text: repr(text[:18]))
def test_hostile_names_do_nothing(tab: Open, tmp_path: Path, text: str) -> None:
    """Neither dialog nor console error nor request: the fixture looks for those."""
    run = contributed(full_record(dataset__class_names=[text] * 4, selector__name=text))
    records = [*hostile(text), run.record]
    boards = rank_boards(records)
    build(content_of(boards, [text], RunFiles(contributed=[run])), tmp_path, ["html"])
    opened = tab(360)
    page = opened.open(tmp_path / "index.html")
    page.get_by_role("button", name="F1").first.click()
    assert fits(page)
    for name in page_names(boards).values():
        page = opened.open(tmp_path / "runs" / f"{name}.html")
        assert fits(page)
        assert page.locator("main script, main iframe, main object").count() == 0
    assert page.title()
