"""The files of a leaderboard: complete, honest, and deaf to hostile names."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from board_records import make, results_csv
from rich.console import Console

from nlbench.results.record import RunRecord
from nlbench_leaderboard.build import Format, build, content_of
from nlbench_leaderboard.escape import clean, csv_text, markdown
from nlbench_leaderboard.formats.as_json import to_json
from nlbench_leaderboard.formats.markdown import to_markdown
from nlbench_leaderboard.formats.terminal import summary_table
from nlbench_leaderboard.page.board_page import to_html
from nlbench_leaderboard.ranking.rank import rank_boards

HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</style></script><iframe src=//evil.test>",
    "a|b`c`|*d*_e_[f](https://evil.test)",
    "{{ 7 * 7 }}{% raw %}",
    "[red]markup[/red]",
    "n" * 300,
    "evil\u202etxt.exe",
    "line\nbreak\ttab\rreturn\x1b[31m",
    "=cmd()|'/C calc'!A0",
    "@SUM(A1)",
    "\t=1+1",
]
VOID = {"meta", "link", "input", "line", "circle", "path"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and insists that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def values(self, key: str) -> list[str]:
        return [value for _, k, value in self.attributes if k == key]


def sample() -> list[RunRecord]:
    """Return a board with something of everything."""
    records = [make("knn", s, 0.9 + s / 100, command=f"nlbench run --seed {s}") for s in range(3)]
    records += [make("oracle", s, 0.99, selector__is_bound=True) for s in range(3)]
    records += [make("none", s, 0.5) for s in range(3)]
    records += [make("once", 0, 0.8), make("crash", 0, 0.7), make("crash", 1, None)]
    records += [make("odd", 2, 0.6, noise__sha256="other"), make("dead", 0, None)]
    return records


def hostile(text: str) -> list[RunRecord]:
    """Return records that carry a text wherever a user or a plugin can put one."""
    everywhere: dict[str, Any] = {
        "selector": {"name": text, "knowledge": [text]},
        "versions": {text: text},
        "dataset__name": text,
        "dataset__class_names": [text, text],
        "dataset__split": text,
        "noise__kind": text,
        "noise__sha256": text,
        "noise__params": {text: text},
        "protocol__id": text,
        "protocol__settings": {text: {text: text}},
        "command": text,
        "finished_at": text,
    }
    bad = {"type": text, "message": text, "traceback": text}
    return [
        make("x", 0, 0.9, **everywhere),
        make("x", 1, None, **everywhere, error=bad),
        make("y", 0, 0.8, **(everywhere | {"selector__name": "y", "selector": {"name": "y"}})),
    ]


def write(records: Iterable[RunRecord], out_dir: Path) -> dict[Format, list[Path]]:
    return build(content_of(rank_boards(records)), out_dir)


def everything(records: list[RunRecord]) -> tuple[Page, str]:
    text = to_html(rank_boards(records), ["damaged"])
    return Page(text), text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_never_becomes_markup(text: str) -> None:
    harmless, _ = everything(hostile("harmless"))
    page, _ = everything(hostile(text))
    assert page.tags.count("script") == 1
    assert {"img", "iframe", "object", "embed"}.isdisjoint(page.tags)
    assert set(page.tags) <= set(harmless.tags) | {"p"}  # the full form of a long name
    assert {(tag, key) for tag, key, _ in page.attributes} <= {
        (tag, key) for tag, key, _ in harmless.attributes
    } | {("p", "class")}
    shown = " ".join(clean(t) for t in page.texts)
    assert clean(text)[:30] in shown
    assert not re.search("[\u202a-\u202e\x00-\x08\x1b]", "".join(page.texts))


@pytest.mark.parametrize("text", HOSTILE)
def test_ids_are_unique_and_plain_and_every_link_in_the_page_has_a_target(text: str) -> None:
    page, _ = everything([*hostile(text), *sample()])
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z0-9.-]+", i) for i in ids)
    for target in page.values("href") + page.values("aria-labelledby"):
        if not target.endswith((".md", ".csv", ".json", "data:,")):
            assert target.removeprefix("#") in ids


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_rows_have_all_their_cells(text: str) -> None:
    lines = to_markdown(rank_boards(hostile(text)), [text]).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {14, 7}
    assert len(rows) == 4 + 3
    assert not any(re.search(r"(?<!\\)[<`]", row) for row in rows)
    assert all(line.startswith(("|", "#", "-", "Test")) or not line for line in lines)


def is_number(cell: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell) is not None


@pytest.mark.parametrize("text", HOSTILE)
def test_csv_reads_back_and_runs_no_formula(text: str) -> None:
    boards = rank_boards(hostile(text))
    rows = list(csv.DictReader(io.StringIO(results_csv(boards))))
    assert len(rows) == sum(len(board.rows) for board in boards)
    for row in rows:
        texts = [cell for cell in row.values() if not is_number(cell)]
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in texts)
        assert None not in row


@pytest.mark.parametrize("text", HOSTILE)
def test_json_reads_back(text: str) -> None:
    content = json.loads(to_json(rank_boards(hostile(text)), [text]))
    assert content["problems"] == [text]
    assert text in {row["method"] for row in content["boards"][0]["rows"]}


@pytest.mark.parametrize("text", HOSTILE)
def test_the_terminal_shows_hostile_text_as_it_is(text: str) -> None:
    shown = in_terminal(hostile(text))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert clean(text)[:8] in shown


def in_terminal(records: list[RunRecord], width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(summary_table(rank_boards(records)))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_page_loads_nothing() -> None:
    _, text = everything(sample())
    assert not re.search(r"https?:|url\(|@import", text)
    page, _ = everything(hostile("https://evil.test/x.js"))
    for key in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
        assert not any("//" in value for value in page.values(key))


def test_the_policy_of_the_page_allows_its_own_script_only() -> None:
    import base64
    import hashlib

    page, text = everything(sample())
    (policy,) = (v for v in page.values("content") if "default-src" in v)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    # The policy would block them, and a page without scripts must be readable as it is.
    assert not any(key.startswith("on") for _, key, _ in page.attributes)


def test_the_page_says_what_a_reader_must_know() -> None:
    page, _ = everything(sample())
    text = re.sub(r"\s+", " ", " ".join(page.texts))
    for words in (
        "digits · 40 % symmetric noise · v1",
        "n = 1 of 3 seeds finished",
        "seed 1 failed: ValueError: it broke",
        "seed 2 excluded: noisy labels other differ",
        "single seed: no standard deviation",
        "upper bound, not ranked",
        "not run: seeds 1, 2",
        "nlbench run --seed 2",
        "1 record could not be read",
        "damaged",
    ):
        assert words in text


def test_the_page_can_be_used_without_a_mouse_and_without_eyes() -> None:
    page, text = everything(sample())
    assert ("html", "lang", "en") in page.attributes
    assert page.tags.count("table") == page.tags.count("caption")
    assert page.tags.count("h1") == 1
    n_headings = len(re.findall(r"<th\b", text))
    assert n_headings == sum(tag == "th" and key == "scope" for tag, key, _ in page.attributes)
    images = [a for a in page.attributes if a[:2] == ("svg", "role")]
    assert len(images) == sum(a[:2] == ("svg", "aria-label") for a in page.attributes)


def test_json_agrees_with_the_ranking() -> None:
    (board,) = rank_boards(sample())
    (written,) = json.loads(to_json([board]))["boards"]
    assert written["id"] == board.id
    for row, out in zip(board.rows, written["rows"], strict=True):
        assert (row.label, row.rank, row.n) == (out["method"], out["rank"], out["n"])
        assert {k: s.mean for k, s in row.stats.items()} == {
            k: v["mean"] for k, v in out["metrics"].items()
        }
    assert [run["status"] for run in written["rows"][-1]["runs"]] == ["failed"]


def test_csv_numbers_agree_with_the_ranking() -> None:
    (board,) = rank_boards(sample())
    for row, out in zip(
        board.rows,
        csv.DictReader(io.StringIO(results_csv([board]))),
        strict=True,
    ):
        assert out["rank"] == ("" if row.rank is None else str(row.rank))
        mean = out["accuracy_last_mean"]
        assert (float(mean) if mean else None) == (row.accuracy.mean if row.accuracy else None)


def test_numbers_that_json_cannot_hold_do_not_stop_the_leaderboard() -> None:
    nan = float("nan")
    record = make("a", times={"total_s": nan}, protocol__settings={"x": [nan, float("inf")]})
    boards = rank_boards([record])
    (board,) = json.loads(to_json(boards))["boards"]
    assert board["protocol"]["settings"] == {"x": [None, None]}
    assert "total_time_s" not in board["rows"][0]["metrics"]
    assert "finished" in to_html(boards)


def contents(files: list[Path]) -> list[bytes]:
    """Return the files' contents; a folder stands for the files in it."""
    inside = [sorted(file.iterdir()) if file.is_dir() else [file] for file in files]
    return [file.read_bytes() for some in inside for file in some]


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    first = write(sample(), tmp_path / "a")
    again = write(reversed(sample()), tmp_path / "b")
    for wanted, files in first.items():
        assert contents(files) == contents(again[wanted])
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "boards.csv",
        "boards.parquet",
        "comparisons.csv",
        "comparisons.parquet",
        "index.html",
        "leaderboard.csv",
        "leaderboard.json",
        "leaderboard.md",
        "leaderboard.parquet",
        "leaderboard.tex",
        "runs",
        "runs.csv",
        "runs.parquet",
    ]


def test_an_empty_leaderboard_names_the_next_command(tmp_path: Path) -> None:
    write([], tmp_path)
    assert "nlbench sweep" in (tmp_path / "index.html").read_text()
    assert "nlbench sweep" in (tmp_path / "leaderboard.md").read_text()
    assert json.loads((tmp_path / "leaderboard.json").read_text())["boards"] == []
    assert "nlbench sweep" in in_terminal([])


def test_the_table_fits_into_80_columns() -> None:
    text = in_terminal([*sample(), make("a selector with a very long name (k=50, alpha=0.25)")])
    assert max(len(line) for line in text.splitlines()) <= 80
    (line,) = (line for line in text.splitlines() if " knn " in line)
    assert line.split() == ["1", "knn", "91.00", "±", "2.48", "3", "–", "85.0", "95.0", "50.0"]
    assert "80.00  1 seed  1/3" in text


def test_escapes() -> None:
    assert markdown("a*b_c|[d](e)\n#f") == r"a\*b\_c\|\[d\](e) \#f"
    assert html.unescape(markdown("https://x.test")) == "https://x.test"
    assert [csv_text(t) for t in ("+1", "-x", "@x", "\tx", "x=1")] == ["'+1", "'-x", "'@x", "'x",
                                                                      "x=1"]  # fmt: skip
    assert clean("a\u202eb\u2028c\ud800") == "ab c\ufffd"
