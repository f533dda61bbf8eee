"""The page of `nlbench clean` in a real browser; `pytest -m browser`.

Every tab notes dialogs, console errors and requests, and fails its test for one.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from audit_page import CLASSES, findings_of, page_of, samples_of, suspect
from browser_tabs import Open, fits, serious, until

from nlbench.audit.findings import PictureProblem
from nlbench.audit.shown_text import text_of

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

NAMES = [
    "=HYPERLINK(1)",
    "+1.png",
    "-x/y.png",
    "@a.png",
    "'quoted'.png",
    'a "b", c.png',
    "new\nline\r.png",
    " space .png ",
    "caf\u00e9 \u2028 \U0001f408.png",
    "</script><b>.png",
    "semi;colon\ttab.png",
]
"""Names that spreadsheets run, or that end cells and lines."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page with 12 suspects, of which the first 11 have difficult names."""
    samples = samples_of(names=NAMES)
    folder = tmp_path_factory.mktemp("page")
    return page_of(folder, samples, findings_of(samples), command="nlbench clean photos/")


def cards(page: Page) -> Locator:
    return page.get_by_role("article")


def press(page: Page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def listed(page: Page, n: int | None = None) -> None:
    """Wait until all cards of a short list are built, and the list has n."""
    count = "units.length" if n is None else str(n)
    until(page, f"document.querySelectorAll('article').length === {count}")


def state(card: Locator) -> str:
    return str(card.get_attribute("aria-label")).split(", ")[-1]


def states(page: Page) -> list[str]:
    """Return what was decided about each listed picture, in words."""
    listed(page)
    found: list[str] = cards(page).evaluate_all(
        "all => all.map(one => one.getAttribute('aria-label').split(', ').at(-1))"
    )
    return found


def places(page: Page) -> list[int]:
    listed(page)
    found: list[int] = cards(page).evaluate_all("all => all.map(one => Number(one.dataset.place))")
    return found


def exported(page: Page) -> list[tuple[str, ...]]:
    """Return the saved file's rows as Python reads them, without the header."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save fixes.csv").click()
    assert download.value.suggested_filename == "fixes.csv"
    text = Path(download.value.path()).read_bytes().decode("utf-8")
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == ["file", "action", "label", "given"]
    return [tuple(map(text_of, row)) for row in rows]


def load(page: Page, content: str, name: str = "fixes.csv") -> None:
    page.locator("#file").set_input_files(
        {"name": name, "mimeType": "text/csv", "buffer": content.encode()}
    )


def notice(page: Page) -> Any:
    return page.get_by_role("alert")


# Keys --------------------------------------------------------------------------------------------


def test_keys_move_decide_and_undo(tab: Open, made: Path) -> None:
    page = tab().open(made)
    press(page, "y n x j 4 k k y u")
    # y on the first, n, x; one passed over; 4 names the fourth class; back and y, taken back.
    assert states(page)[:6] == ["Kept", "Now horse", "To be removed", "undecided", "Now ship",
                                "undecided"]  # fmt: skip
    press(page, "u u u u u")
    assert set(states(page)) == {"undecided"}
    assert page.get_by_role("button", name="Undo").is_disabled()


def test_the_current_picture_has_the_focus_and_is_in_sight(tab: Open, made: Path) -> None:
    page = tab(400).open(made)
    for _ in range(11):
        page.keyboard.press("j")
    focused = page.locator(":focus")
    assert focused.get_attribute("aria-posinset") == "12"
    assert focused.get_attribute("aria-setsize") == "12"
    box = focused.bounding_box()
    assert box and box["y"] >= 0 and box["y"] + box["height"] <= 900
    page.keyboard.press("j")
    assert page.locator(":focus").get_attribute("aria-posinset") == "12", "the last one stays"
    assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"


def test_the_number_of_the_given_class_keeps(tab: Open, made: Path) -> None:
    page = tab().open(made)
    press(page, "1")
    assert exported(page) == [(NAMES[0], "keep", "", "cat")]


def test_a_class_is_chosen_by_its_name(tab: Open, tmp_path: Path) -> None:
    names = tuple(f"kind {k}" for k in range(300))
    samples = samples_of(class_names=names)
    page = tab().open(page_of(tmp_path, samples, findings_of(samples, 3, classes=(), pairs=())))
    press(page, "c")
    page.keyboard.type("kind 27")
    chooser = page.get_by_role("dialog", name="Choose a class")
    assert chooser.get_by_role("option").count() == 11
    press(page, "ArrowDown Enter")
    assert not chooser.is_visible()
    assert states(page)[0] == "Now kind 270"
    press(page, "c Escape")
    assert states(page)[1] == "undecided"
    cards(page).nth(2).get_by_role("button", name="Choose another class").click()
    chooser.get_by_role("option", name="kind 5", exact=True).click()
    assert states(page)[2] == "Now kind 5"
    assert exported(page)[1][:3] == (samples.names[2], "relabel", "kind 5")


def test_help_lists_the_keys_and_typing_decides_nothing(tab: Open, made: Path) -> None:
    page = tab().open(made)
    press(page, "?")
    keys = page.get_by_role("dialog", name="Keys")
    assert all(name in keys.inner_text() for name in (*CLASSES, "undo", "search"))
    press(page, "y Escape /")
    page.keyboard.type("xyn")
    assert page.get_by_role("searchbox").input_value() == "xyn"
    page.get_by_role("searchbox").fill("")
    assert set(states(page)) == {"undecided"}
    press(page, "Escape y")
    assert states(page)[0] == "Kept", "Escape leads back to the pictures"


# Buttons -----------------------------------------------------------------------------------------


def test_buttons_decide_and_a_second_click_takes_it_back(tab: Open, made: Path) -> None:
    page = tab(400, has_touch=True).open(made)
    first = cards(page).first
    remove = first.get_by_role("button", name="Remove the picture")
    remove.tap()
    assert remove.get_attribute("aria-pressed") == "true"
    first.get_by_role("button", name="Change the label to").tap()
    assert remove.get_attribute("aria-pressed") == "false"
    assert state(first) == "Now horse"
    first.get_by_role("button", name="Change the label to").tap()
    assert state(first) == "undecided"


def test_a_card_says_what_and_why(tab: Open, made: Path) -> None:
    text = cards(tab().open(made)).nth(1).inner_text()
    for words in ("dog", "horse", "-0.975", "reason 1; neighbours",
                  "dropped by confident-learning, knn", "+1.png"):  # fmt: skip
        assert words in text, words


def test_every_picture_on_a_card_is_shown(tab: Open, made: Path) -> None:
    page = tab().open(made)
    images = page.locator("article img")
    listed(page, 12)
    assert images.count() == 12 * 3
    until(page, "[...document.images].every(i => i.complete && i.naturalWidth === 8)")


def test_all_that_is_shown_is_decided_in_one_step(tab: Open, made: Path) -> None:
    page = tab().open(made, "#given=1")
    press(page, "x")
    page.get_by_role("group", name="All undecided").get_by_role("button", name="Take").click()
    assert states(page) == ["To be removed", "Now horse", "Now ship"]
    page.get_by_role("button", name="Clear").click()
    assert states(page).count("undecided") == 9, "the others are as they were"
    press(page, "Escape u")
    assert states(page).count("undecided") == 11
    page.locator("[data-bulk=keep]").click()
    assert states(page).count("Kept") == 11


def test_of_copies_all_but_one_are_removed_in_one_step(tab: Open, made: Path) -> None:
    page = tab().open(made, "#show=copies")
    page.get_by_role("button", name="Keep one of each").click()
    assert states(page) == ["Kept", "To be removed"]
    page.get_by_role("button", name="Undo").click()
    assert set(states(page)) == {"undecided"}


@pytest.mark.parametrize(("first", "second"), [("x", "Kept"), ("4", "To be removed")])
def test_never_are_all_copies_removed_at_once(
    tab: Open, made: Path, first: str, second: str
) -> None:
    page = tab().open(made, "#show=copies")
    press(page, first)
    page.get_by_role("button", name="Keep one of each").click()
    assert states(page)[1] == second


def test_a_link_that_was_followed_leads_to_the_gallery_again(tab: Open, made: Path) -> None:
    page = tab(400).open(made)
    link = page.get_by_role("link", name="cat", exact=True)
    for _ in range(2):
        page.evaluate("scrollTo(0, 0)")
        link.click()
        until(page, "scrollY > 400")
    listed(page, 3)


# Filters -----------------------------------------------------------------------------------------


def test_a_cell_of_the_matrix_shows_its_pair(tab: Open, made: Path) -> None:
    page = tab().open(made)
    page.get_by_role("link", name="labelled cat, suggested dog").click()
    listed(page, 2)
    assert all("labelled cat, suggested dog" in str(card.get_attribute("aria-label"))
               for card in cards(page).all())  # fmt: skip
    assert page.get_by_text("2 of 12 shown.").is_visible()
    page.get_by_role("button", name="Clear").click()
    listed(page, 12)


@pytest.mark.parametrize(
    ("fragment", "n"),
    [
        ("#given=0", 3),
        ("#suggested=0", 3),
        ("#selector=1", 6),
        ("#part=1", 3),
        ("#q=QUOTED", 1),
        ("#given=1&suggested=2&selector=1", 2),
        ("#decided=no", 12),
        ("#decided=keep", 0),
    ],
)
def test_the_address_filters(tab: Open, made: Path, fragment: str, n: int) -> None:
    page = tab().open(made, fragment)
    listed(page, n)
    assert page.get_by_text("Nothing matches." if n == 0 else f"{n} ").first.is_visible()


def test_filters_find_what_was_decided(tab: Open, made: Path) -> None:
    page = tab().open(made)
    press(page, "y n")
    for choice, n in (("undecided", 10), ("decided", 2), ("kept", 1), ("relabelled", 1),
                      ("to be removed", 0)):  # fmt: skip
        page.locator("[name=decided]").select_option(label=choice)
        listed(page, n)
    page.locator("[name=decided]").select_option(label="undecided")
    press(page, "Escape y")
    listed(page, 10)  # what is decided stays until the list is made again
    page.reload()
    listed(page, 9)
    assert page.locator("[name=decided]").input_value() == "no", "the address keeps the filter"


def test_orders(tab: Open, made: Path) -> None:
    page = tab().open(made)
    worst = places(page)
    page.locator("[name=sort]").select_option(label="best first")
    assert places(page) == worst[::-1]
    page.locator("[name=sort]").select_option(label="file name")
    listed(page, 12)
    labels = [str(card.get_attribute("aria-label")) for card in cards(page).all()]
    assert labels[0].startswith(" space")
    assert labels[-1].startswith("train/0011")


def test_an_unknown_choice_in_the_address_is_told(tab: Open, made: Path) -> None:
    page = tab().open(made, "#given=77&show=<b>")
    listed(page, 12)
    assert "No choice of 'given' is '77'" in notice(page).inner_text()


# Pictures ----------------------------------------------------------------------------------------


def test_picture_problems_are_decided_too(tab: Open, made: Path) -> None:
    page = tab().open(made)
    page.get_by_role("link", name="Pictures that are nearly black").click()
    page.get_by_role("heading", name="Pictures that are nearly black").wait_for()
    assert page.get_by_text("brightness 2.0").is_visible()
    listed(page, 2)
    press(page, "Escape x")
    page.locator("[name=show]").select_option(label="Identical pictures (1)")
    listed(page, 2)  # each picture of a group by itself
    press(page, "Escape j x")
    assert states(page) == ["undecided", "To be removed"]
    press(page, "k n")
    assert states(page) == ["undecided", "To be removed"], "nothing is suggested here"
    assert [row[:2] for row in exported(page)] == [(NAMES[5], "remove"), (NAMES[3], "remove")]
    page.locator("[name=show]").select_option(index=0)
    assert states(page)[3] == "To be removed", "it is the same picture among the suspects"


# Decisions ---------------------------------------------------------------------------------------


def test_decisions_survive_a_reload_and_are_of_this_data_only(
    tab: Open, made: Path, tmp_path: Path
) -> None:
    opened = tab()
    page = opened.open(made)
    press(page, "y n x")
    before = states(page)
    page.reload()
    assert states(page) == before
    assert "3 decided: 1 kept, 1 relabelled, 1 to be removed" in page.locator("#bar").inner_text()
    other = samples_of(names=NAMES, fingerprint="0" * 64)
    opened.open(page_of(tmp_path, other, findings_of(other)))
    assert set(states(page)) == {"undecided"}


def test_the_saved_file_is_what_was_decided_to_the_letter(tab: Open, made: Path) -> None:
    page = tab().open(made)
    press(page, "y n x " * 4)
    kinds = ("keep", "relabel", "remove")
    expected = []
    for row, name in enumerate([*NAMES, "train/0011.png"]):
        given, step = row % 4, 1 + (row % 3 == 0)
        label = CLASSES[(given + step) % 4] if row % 3 == 1 else ""
        expected.append((name, kinds[row % 3], label, CLASSES[given]))
    assert exported(page) == expected


def test_classes_that_spreadsheets_run_come_back_exactly(tab: Open, tmp_path: Path) -> None:
    samples = samples_of(class_names=("=1+1", "'a'", 'b"c', "d,e"))
    page = tab().open(page_of(tmp_path, samples, findings_of(samples, 4)))
    press(page, "n n n n")
    assert [row[2:] for row in exported(page)] == [
        ('b"c', "=1+1"), ('b"c', "'a'"), ("d,e", 'b"c'), ("'a'", "d,e"),
    ]  # fmt: skip


def test_a_saved_file_goes_on_elsewhere(tab: Open, made: Path) -> None:
    page = tab().open(made)
    press(page, "y n x " * 4)
    rows, before = exported(page), states(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save fixes.csv").click()
    elsewhere = tab().open(made)
    press(elsewhere, "x")
    elsewhere.locator("#file").set_input_files(download.value.path())
    notice(elsewhere).wait_for()
    assert "1 decision replaced. Undo takes it back." in notice(elsewhere).inner_text()
    assert states(elsewhere) == before
    assert exported(elsewhere) == rows
    press(elsewhere, "u")
    assert [*states(elsewhere)[:2]] == ["To be removed", "undecided"], "a file is one step"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_files_of_spreadsheets_are_loaded(tab: Open, made: Path, delimiter: str) -> None:
    page = tab().open(made)
    lines = [["file", "action", "label"], ["train/0011.png", " Relabel ", "cat"],
             ['"a ""b"", c.png"', "remove", ""], ["gone.png", "keep", ""]]  # fmt: skip
    load(page, "\ufeff" + "\r\n".join(delimiter.join(line) for line in lines))
    notice(page).wait_for()
    assert "1 file is not on this page" in notice(page).inner_text()
    assert exported(page) == [("train/0011.png", "relabel", "cat", "ship"),
                              (NAMES[5], "remove", "", "horse" if 5 % 4 == 2 else "dog"),
                              ("gone.png", "keep", "", "")]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "the first line must name the columns"),
        ("name,label\na,b\n", "the first line must name the columns"),
        ("file,action,label\ntrain/0011.png,delete,\n", "'delete' is not keep, relabel or remove"),
        ("file,action,label\ntrain/0011.png,relabel,cow\n", "'cow' is not a class"),
        ("file,action,label\ntrain/0011.png,relabel,\n", "'' is not a class"),
        ("file,action,label,given\ntrain/0011.png,remove,,cat\n", "it is labelled 'ship' here"),
        ("file,action\ntrain/0011.png,keep\ntrain/0011.png,remove\n", "named twice"),
        ("file,action\ntrain/0011.png,keep,cat\n", "3 cells, not 2"),
        ('file,action\n"train/0011.png,keep\n', "a quote is never closed"),
        ("\x00\x01\x02", "the first line must name the columns"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(
    tab: Open, made: Path, content: str, why: str
) -> None:
    page = tab().open(made)
    press(page, "y")
    load(page, content, "mine.csv")
    notice(page).wait_for()
    text = notice(page).inner_text()
    assert "mine.csv was not loaded: " in text
    assert why in text
    assert exported(page) == [(NAMES[0], "keep", "", "cat")]


def test_a_browser_that_keeps_nothing_is_told_and_the_file_has_all(tab: Open, made: Path) -> None:
    opened = tab()
    opened.page.add_init_script(
        "Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError') }"
    )
    page = opened.open(made)
    press(page, "y")
    assert "does not keep the decisions" in notice(page).inner_text()
    assert exported(page) == [(NAMES[0], "keep", "", "cat")]


@pytest.mark.parametrize("stored", ["no JSON", "{}", '[["a", ["burn", "", ""]]]', "[[1, 2]]"])
def test_damaged_decisions_are_told_and_kept(tab: Open, made: Path, stored: str) -> None:
    page = tab().open(made)
    page.evaluate("text => localStorage.setItem(KEY, text)", stored)
    page.reload()
    assert "could not be read from this browser" in notice(page).inner_text()
    press(page, "y")
    assert states(page)[0] == "Kept"
    kept = page.evaluate("() => Object.values(localStorage)")
    assert stored in kept, "what could not be read is not lost"


def test_two_tabs_agree(tab: Open, made: Path) -> None:
    opened = tab()
    page = opened.open(made)
    second = opened.context.new_page()
    second.goto(made.as_uri())
    press(second, "x")
    until(page, "document.querySelector('article').dataset.decided === 'remove'")
    press(page, "j y")
    until(second, "document.querySelectorAll('[data-decided=keep]').length === 1")


def test_the_command_is_copied(tab: Open, made: Path) -> None:
    opened = tab()
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = opened.open(made)
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "nlbench clean photos/ --apply fixes.csv --out cleaned/"


# Many pictures -----------------------------------------------------------------------------------


def test_thousands_of_suspects_have_few_cards_at_a_time(tab: Open, tmp_path: Path) -> None:
    samples = samples_of(3000)
    page = tab().open(page_of(tmp_path, samples, findings_of(samples, 3000)))
    assert cards(page).count() < 100
    height = page.evaluate("document.documentElement.scrollHeight")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last = page.locator('[aria-posinset="3000"]')
    last.wait_for()
    assert cards(page).count() < 150
    assert abs(page.evaluate("document.documentElement.scrollHeight") - height) < 100
    page.evaluate("scrollTo(0, 0)")
    page.locator('[aria-posinset="1"]').wait_for()
    until(page, "!document.querySelector('[aria-posinset=\"3000\"]')")
    press(page, " ".join("j" * 120) + " x")
    assert page.locator('[aria-posinset="121"]').get_attribute("data-decided") == "remove"


def test_a_window_that_changes_its_width_keeps_the_current_picture(
    tab: Open, tmp_path: Path
) -> None:
    samples = samples_of(400)
    page = tab(1400).open(page_of(tmp_path, samples, findings_of(samples, 400)))
    press(page, " ".join("j" * 60))
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_timeout(300)
    assert page.locator(":focus").get_attribute("aria-posinset") == "61"
    box = page.locator(":focus").bounding_box()
    assert box and 0 <= box["y"] < 900


# Looks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 400, 1400])
def test_every_width_fits_and_axe_finds_nothing_serious(
    tab: Open, made: Path, shots: Path, width: int, scheme: str
) -> None:
    page = tab(width, color_scheme=scheme).open(made)
    press(page, "y n x")
    assert fits(page)
    assert serious(page) == []
    page.screenshot(path=shots / f"clean-{width}-{scheme}.png")
    page.goto(made.as_uri() + "#show=copies")
    assert fits(page)
    assert serious(page) == []
    press(page, "?")
    assert serious(page) == []


def test_long_and_hostile_names_stay_in_their_boxes(tab: Open, tmp_path: Path) -> None:
    long = "<img src=x onerror=alert(1)>" + "w" * 180
    samples = samples_of(
        names=[f"{long}.png", "\u202egnp.exe"], name=long,
        class_names=(long, "\u202eb", "c" * 90, "d"), parts=[long] * 20 + ["b"] * 20,
        warnings=(long,),
    )  # fmt: skip
    one = suspect(samples, 0)
    hostile = type(one)(0, 0, 2, 0.5, (long,), (long,), (4,), (1,))
    findings = findings_of(
        samples, suspects=(hostile, suspect(samples, 1)), selectors=(long, "b"), encoder=long,
        problems=(PictureProblem("copies", (0, 1), long), PictureProblem(long, (0,), long, (0,))),
    )  # fmt: skip
    page_file = page_of(tmp_path, samples, findings, command=f"nlbench clean '{long}'")
    for width in (360, 1400):
        page = tab(width).open(page_file)
        assert fits(page)
        assert page.locator("img[onerror]").count() == 0
        press(page, "?")
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Identical pictures").click()
        page.get_by_role("heading", name="Identical pictures").first.wait_for()
        assert fits(page)


def test_without_scripts_the_summary_can_be_read(tab: Open, made: Path) -> None:
    page = tab(java_script_enabled=False).open(made)
    assert page.get_by_role("table").count() == 2
    assert page.locator("noscript p").is_visible()
    assert not page.get_by_role("button", name="Undo").is_visible()


def test_nothing_found_is_a_page_too(tab: Open, tmp_path: Path) -> None:
    samples = samples_of()
    page = tab().open(page_of(tmp_path, samples, findings_of(samples, 0, pairs=(), problems=())))
    press(page, "j k y n x u c 1 Escape")
    assert page.get_by_text("Nothing is suspected.").is_visible()
