"""What surrounds the boards: contents, the filter, commands to copy, how to cite, papers, data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from board_records import make
from test_leaderboard_build import HOSTILE, Page, hostile, sample

from nlbench.contribution import DataFacts, InstalledFacts, Paper, installed_facts_of
from nlbench_leaderboard.page.about import about_of
from nlbench_leaderboard.page.board_page import to_html
from nlbench_leaderboard.page.contents import contents_of
from nlbench_leaderboard.ranking.rank import rank_boards
from nlbench_leaderboard.sources.citation import bibtex, installed_version, url_of

ROOT = Path(__file__).parents[2]
LINKS = ["Add yours", "Reproduce", "Cite", "Papers", "Data", "Code"]


def plain(text: str) -> str:
    """Return the words of some markup on one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def part(page: str, start: str, end: str) -> str:
    (found,) = re.findall(f"{start}.*?{end}", page, re.DOTALL)
    return str(found)


# Contents and filter -----------------------------------------------------------------------------


def test_the_contents_name_every_board_once_and_group_them_by_data_and_protocol() -> None:
    records = [make(noise__nominal_rate=rate) for rate in (0.2, 0.4)]
    records += [make(dataset__name="letters")]
    boards = rank_boards(records)
    groups = contents_of(boards)
    assert [(group.title, [e.text for e in group.entries]) for group in groups] == [
        ("digits · v1", ["20 % symmetric noise", "40 % symmetric noise"]),
        ("letters · v1", ["40 % symmetric noise"]),
    ]
    links = re.findall(r'href="#([^"]+)"', part(to_html(boards), '<nav class="toc"', "</nav>"))
    assert {board.id for board in boards} <= set(links)
    assert len(links) == len(set(links))


def test_there_is_one_filter_for_all_boards_and_it_offers_what_any_board_knows() -> None:
    records = [make("a", selector__knowledge=["class names"]),
               make("b", dataset__name="letters", selector__knowledge=["noise rate"])]  # fmt: skip
    page = to_html(rank_boards(records))
    assert page.count('data-filter="q"') == page.count('data-filter="knows"') == 1
    offered = re.findall(r'<option value="([^"]*)"', page)
    assert {"with.class-names", "without.class-names", "with.noise-rate"} <= set(offered)


def test_a_page_without_boards_has_neither_but_says_how_to_begin() -> None:
    page = to_html([])
    assert 'class="toc"' not in page and "data-filter" not in page.split("<script>")[0]
    assert [text for text in LINKS if f">{text}</a>" in page] == LINKS


# Commands ----------------------------------------------------------------------------------------


def test_every_command_can_be_copied() -> None:
    page = to_html(rank_boards(sample()))
    commands = [
        plain(c).strip() for c in re.findall(r'<code class="command">(.*?)</code>', page, re.DOTALL)
    ]
    assert {f"nlbench run --seed {seed}" for seed in range(3)} <= set(commands)
    assert any(c.startswith("nlbench verify FILE --rerun") for c in commands)
    assert any(c.startswith("@software{nlbench,") for c in commands)
    assert "navigator.clipboard" in page


def test_a_board_has_the_command_that_repeats_it() -> None:
    records = [
        make(name, seed, command=f"nlbench run --selector {name} --dataset digits --noise pair "
             f"--noise-rate 0.3 --seed {seed}")
        for name in ("a", "b") for seed in range(3)
    ]  # fmt: skip
    again = "nlbench sweep --dataset digits --noise pair:0.3 --selector a --selector b --seeds 0-2"
    assert f'<code class="command">{again}</code>' in to_html(rank_boards(records))
    other = make("c", command="nlbench run --selector c --dataset elsewhere")
    assert "nlbench sweep --dataset" not in to_html(rank_boards([*records, other]))


# Cite, code --------------------------------------------------------------------------------------


def citation() -> dict[str, Any]:
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_the_citation_file_has_what_its_format_asks_for() -> None:
    content = citation()
    assert content["cff-version"] == "1.2.0"
    assert content["type"] == "software"
    for key in ("message", "title"):
        assert isinstance(content[key], str) and content[key]
    assert all(
        set(author) <= {"name", "website"} and author["name"] for author in content["authors"]
    )
    known = {"cff-version", "message", "type", "title", "version", "license", "authors", "keywords"}
    assert set(content) <= known


def test_the_citation_file_the_package_and_the_page_say_the_same() -> None:
    content = citation()
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for key in ("version", "license"):
        (value,) = re.findall(rf'^{key} = "(.*)"$', project, re.MULTILINE)
        assert str(content[key]) == value
    (description,) = re.findall(r'^description = "(.*)"$', project, re.MULTILINE)
    assert content["title"] == f"nlbench: {description.partition(':')[0]}"
    (author,) = content["authors"]
    entry = bibtex(installed_version())
    assert f"title = {{{{{content['title']}}}}}" in entry
    assert f"author = {{{{{author['name']}}}}}" in entry
    year, holder = re.findall(
        r"Copyright \(c\) (\d+) (.*)", (ROOT / "LICENSE").read_text(encoding="utf-8")
    )[0]
    assert f"year = {{{year}}}" in entry and author["name"] == holder


def test_an_address_of_the_code_is_only_what_the_metadata_says() -> None:
    assert url_of([]) == ""
    assert (
        url_of(["Repository, https://code.test/x", "Source, https://b.test"])
        == "https://code.test/x"
    )
    assert url_of(["Source, javascript:alert(1)"]) == ""
    assert "url = {https://code.test/x}" in bibtex("1", "https://code.test/x")


# Papers, data ------------------------------------------------------------------------------------


def test_methods_are_linked_to_the_papers_of_selector_and_trainer() -> None:
    records = [
        make("lemon"),
        make("none"),
        make("clip-knn", trainer={"name": "elr"}, method="clip-knn+elr"),
    ]
    boards = rank_boards(records)
    facts = installed_facts_of(records)
    assert [
        (one.method, [p.number for p in one.papers]) for one in about_of(boards, facts).papers
    ] == [
        ("clip-knn+elr", ["2111.11288", "2007.00151"]),
        ("lemon", ["2407.18941"]),
    ]
    page = to_html(boards, facts=facts)
    assert (
        '<a href="https://arxiv.org/abs/2407.18941" rel="noreferrer">arXiv 2407.18941</a>' in page
    )


def test_data_sets_have_their_origin_and_licence() -> None:
    records = [make(config={"dataset": {"name": "digits"}})]
    page = plain(to_html(rank_boards(records), facts=installed_facts_of(records)))
    assert "UCI ML repository" in page and "CC BY 4.0 (UCI)" in page


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_facts_stay_text(text: str) -> None:
    facts = InstalledFacts(
        {text: DataFacts(text, text, text)}, {text: (Paper("doi", f"10.1/{text}"),)}, {}
    )
    page = Page(to_html(rank_boards(hostile(text)), facts=facts))
    assert page.tags.count("script") == 1
    assert {"img", "iframe", "object", "embed"}.isdisjoint(page.tags)
    outside = [href for href in page.values("href") if not href.startswith(("#", "data:,"))]
    assert outside and all(
        h.startswith(("https://arxiv.org/", "https://doi.org/")) for h in outside
    )


def test_links_leave_the_page_only_where_one_clicks() -> None:
    records = sample()
    page = Page(to_html(rank_boards(records), facts=installed_facts_of([*records, make("lemon")])))
    outside = {(tag, key) for tag, key, value in page.attributes if "//" in value}
    assert outside <= {("a", "href")}
