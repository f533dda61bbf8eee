"""``nlbench clean`` as people type it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from letter_folders import letter_folder
from typer.testing import CliRunner

from nlbench.cli import app


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    letter_folder(tmp_path / "letters")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["clean", *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_answer_is_a_table_a_page_and_two_files(folder: Path) -> None:
    text = run("letters", "--encoder", "bundled-glyphs")
    assert "60 of 60 labels of letters judged" in text
    assert "most suspicious labels" in text
    out = folder / "letters-audit"
    rows = list(csv.DictReader((out / "labels.csv").read_text("utf-8").splitlines()))
    assert len(rows) == 60
    assert (out / "index.html").read_text("utf-8").startswith("<!doctype html>")
    fixes = list(csv.DictReader((out / "fixes.csv").read_text("utf-8").splitlines()))
    assert {row["action"] for row in fixes} == {"relabel"}


def test_from_suspects_to_a_corrected_copy(folder: Path) -> None:
    run("letters", "--encoder", "bundled-glyphs", "--out", "answer")
    said = run("letters", "--apply", "answer/fixes.csv", "--out", "cleaned")
    assert "corrected" in said
    wrong, before = (
        [p for p in (folder / name).rglob("*.png") if p.parent.name != p.name[0]]
        for name in ("cleaned", "letters")
    )
    assert len(wrong) <= len(before) / 2


def test_in_place_and_back(folder: Path) -> None:
    run("letters", "--encoder", "bundled-glyphs", "--out", "answer")
    before = sorted(str(p) for p in (folder / "letters").rglob("*.png"))
    said = run("letters", "--apply", "answer/fixes.csv", "--in-place")
    assert sorted(str(p) for p in (folder / "letters").rglob("*.png")) != before
    undo = said.split("--undo ")[1].strip()
    assert "moved back" in run("--undo", undo)
    assert sorted(str(p) for p in (folder / "letters").rglob("*.png")) == before


def test_json_alone(folder: Path) -> None:
    words = ["clean", "letters", "--encoder", "bundled-glyphs", "--json"]
    found = json.loads(CliRunner().invoke(app, words).stdout)
    assert found["n_judged"] == 60
    assert found["encoder"] == "bundled-glyphs"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "name what to judge"),
        (["nowhere/"], 3, "does not exist"),
        (["letters", "--in-place"], 2, "--apply"),
        (["letters", "--selector", "oracle"], 2, "true labels"),
        (["letters", "--apply", "none.csv", "--out", "x"], 3, "does not exist"),
        (["letters", "--undo", "none.json"], 3, "no undo file"),
    ],
)
def test_mistakes_are_one_line(folder: Path, words: list[str], code: int, message: str) -> None:
    result = CliRunner().invoke(app, ["clean", *words])
    assert result.exit_code == code, result.output
    assert message in result.output
    assert "Traceback" not in result.output
