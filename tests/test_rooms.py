"""Folders say in one line what is in them, and CONTRIBUTING has the folder tree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("nlbench", "leaderboard/nlbench_leaderboard")
ROOMS = [
    init.parent.relative_to(ROOT)
    for package in PACKAGES
    for init in sorted((ROOT / package).glob("*/__init__.py"))
]


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_a_room_says_what_is_in_it_and_what_is_not(room: Path) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text())) or ""
    first = docstring.partition("\n")[0]
    assert first.endswith("."), f"{room}: {first!r} is not one whole sentence"
    assert re.search(r"\b(no|not|nothing|elsewhere|other|only)\b", first, re.IGNORECASE), first


def test_the_top_level_shows_few_entries() -> None:
    entries = {path.name for path in (ROOT / "nlbench").iterdir()} - {"__pycache__"}
    assert len(entries) <= 24, sorted(entries)


def test_the_table_in_contributing_is_the_folder_tree() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(nlbench/\w+)/` \|", table, re.MULTILINE))
    assert named == {str(room) for room in ROOMS if room.parts[0] == "nlbench"}
