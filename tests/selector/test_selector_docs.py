"""docs/selectors.md has a section for every method, and its table says what the classes say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import nlbench_selectors
from nlbench.plugins import registry
from nlbench.selector import BatchSelector, OnlineSelector

TEXT = (Path(__file__).parents[2] / "docs/selectors.md").read_text(encoding="utf-8")
NOT_METHODS = (
    "At a glance",
    "Measured on photographs",
    "Measured on digits",
    "Trainers that go with selectors",
)
PARTS = ("Needs", "Costs", "Should win", "Should fail", "Released code")
ROW = re.compile(r"^\| \[`([^`]+)`\]\(#([^)]+)\) \| (.+?) \| (.+?) \| (\d+) \| (\d+) \|$", re.M)


def sections() -> dict[str, str]:
    """Return the text of each section by its heading, in the order of the file."""
    _, *parts = re.split(r"^#{2,3} (.+)$", TEXT, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def described() -> list[str]:
    return [
        name for heading in sections() if heading not in NOT_METHODS for name in heading.split(", ")
    ]


def built_in_selectors() -> dict[str, Any]:
    return {name: registry.selector_class(name) for name in nlbench_selectors.VERSIONED}


def trainers() -> dict[str, Any]:
    return {
        name: component.load()
        for name, component in registry.components("trainers").items()
        if component.owner.startswith("nlbench (")
    }


def losses() -> dict[str, Any]:
    return {name: cls for name, cls in trainers().items() if cls.is_method}


def test_every_method_has_one_section() -> None:
    names = described()
    assert len(names) == len(set(names))
    assert sorted({*built_in_selectors(), *losses()} - set(names)) == []


def test_no_section_is_about_something_that_does_not_exist() -> None:
    assert sorted(set(described()) - {*built_in_selectors(), *trainers()}) == []


def test_every_section_of_methods_has_the_same_parts() -> None:
    for heading, text in sections().items():
        if heading not in NOT_METHODS:
            parts = re.findall(r"^- \*\*(.+?)\*\*:", text, re.MULTILINE)
            assert tuple(parts) == PARTS, heading


def test_the_table_has_a_row_for_every_method_and_leads_to_its_section() -> None:
    rows = ROW.findall(TEXT)
    assert [row[0] for row in rows] == sorted({*built_in_selectors(), *losses()})
    anchors = {heading.replace(", ", "-") for heading in sections()}
    assert [row[1] for row in rows if row[1] not in anchors] == []


@pytest.mark.parametrize("name", [row[0] for row in ROW.findall(TEXT)])
def test_a_row_says_what_the_class_says(name: str) -> None:
    (row,) = [row for row in ROW.findall(TEXT) if row[0] == name]
    assert row[2:] == expected_row(name)


def expected_row(name: str) -> tuple[str, str, str, str]:
    cls = built_in_selectors().get(name)
    if cls is None:
        return "is a loss", "nothing", str(losses()[name].n_networks), "1"
    when, rounds = "before training", 1
    if issubclass(cls, OnlineSelector):
        when, rounds = "after epochs", cls.rounds
    elif issubclass(cls, BatchSelector):
        when = "in batches"
    networks = getattr(cls, "n_networks", 1)
    if cls.trainer:
        networks = max(networks, trainers()[cls.trainer].n_networks)
    return when, ", ".join(cls.knowledge) or "nothing", str(networks), str(rounds)
