"""Fixes are read, checked against the data as it is, and carried out; nothing is lost."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from letter_folders import LETTERS, letter_folder

from nlbench.audit import applying
from nlbench.audit.applying import apply_fixes
from nlbench.audit.fixes import Fix, Fixes
from nlbench.audit.reading import read_samples
from nlbench.audit.undo import undo_moves
from nlbench.errors import ConfigError, DataError

HEAD = "file,action,label,given\n"


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    letter_folder(tmp_path / "letters", per_class=4, wrong=0)
    return tmp_path / "letters"


def tree(root: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def three_fixes(path: Path) -> Path:
    path.write_text(
        HEAD + "A/A000.png,relabel,O,A\nA/A001.png,remove,,A\nT/T000.png,keep,,T\n", "utf-8"
    )
    return path


@pytest.mark.parametrize("link", ["copy", "hard", "symbolic"])
def test_a_copy_is_corrected_and_the_originals_stay(
    letters: Path, tmp_path: Path, link: str
) -> None:
    before = tree(letters)
    done = apply_fixes(
        read_samples(letters), three_fixes(tmp_path / "fixes.csv"), tmp_path / "out", link=link
    )  # type: ignore[arg-type]
    after = tree(tmp_path / "out")
    assert tree(letters) == before
    assert set(after) == {*before, "O/A000.png"} - {"A/A000.png", "A/A001.png"}
    assert after["O/A000.png"] == before["A/A000.png"]
    assert (done.n_relabelled, done.n_removed, done.n_kept) == (1, 1, 10)
    assert (tmp_path / "out" / "O" / "O000.png").is_symlink() == (link == "symbolic")


def test_a_name_that_is_taken_gets_a_number(letters: Path, tmp_path: Path) -> None:
    os.link(letters / "A" / "A000.png", letters / "O" / "A000.PNG")
    fixes = Fixes.of([("A/A000.png", "relabel", "O", "A")])
    apply_fixes(read_samples(letters), fixes, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "O").iterdir()}
    assert {"A000.PNG", "A000-2.png"} <= names


def test_parts_stay_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        letter_folder(tmp_path / "d" / part, per_class=3, wrong=0)
    fixes = Fixes.of([("test/A/A000.png", "relabel", "T", "A")])
    apply_fixes(read_samples(tmp_path / "d"), fixes, tmp_path / "out")
    assert (tmp_path / "out" / "test" / "T" / "A000.png").is_file()


def test_in_place_can_be_taken_back(letters: Path, tmp_path: Path) -> None:
    before = tree(letters)
    done = apply_fixes(read_samples(letters), three_fixes(tmp_path / "f.csv"), in_place=True)
    assert done.undo is not None
    assert (letters / "O" / "A000.png").is_file()
    assert not (letters / "A" / "A001.png").exists()
    assert len(read_samples(letters)) == 11  # what was removed is no class
    assert undo_moves(done.undo) == 2
    assert tree(letters) == before


def test_undo_after_a_kill_takes_back_what_was_moved(letters: Path, tmp_path: Path) -> None:
    before = tree(letters)
    done = apply_fixes(read_samples(letters), three_fixes(tmp_path / "f.csv"), in_place=True)
    (letters / "O" / "A000.png").rename(letters / "A" / "A000.png")  # as if never moved
    assert done.undo is not None
    assert undo_moves(done.undo) == 1
    assert tree(letters) == before


def test_undo_does_not_overwrite_or_leave_the_folder(letters: Path, tmp_path: Path) -> None:
    done = apply_fixes(read_samples(letters), three_fixes(tmp_path / "f.csv"), in_place=True)
    (letters / "A" / "A000.png").write_bytes(b"new")
    assert done.undo is not None
    with pytest.raises(DataError, match="in the way"):
        undo_moves(done.undo)
    evil = letters / "evil.json"
    evil.write_text('{"format": "nlbench-undo/1", "moves": [["../../x", "A/A002.png"]]}')
    with pytest.raises(DataError, match="outside of its folder"):
        undo_moves(evil)
    with pytest.raises(DataError, match="no undo file"):
        undo_moves(letters / "A" / "A002.png")


def test_a_table_is_corrected_in_its_own_columns(letters: Path, tmp_path: Path) -> None:
    table = letters / "mine.csv"
    rows = [f"{t}/{t}{i:03d}.png;{t};x{i}" for t in LETTERS for i in range(4)]
    table.write_text("\n".join(["image;label;note", *rows]))
    fixes = three_fixes(tmp_path / "fixes.csv")
    done = apply_fixes(read_samples(table), fixes, tmp_path / "better.csv")
    lines = done.where.read_text("utf-8").splitlines()
    found = {row["image"]: row for row in csv.DictReader(lines)}
    assert len(found) == 11
    assert found["A/A000.png"] == {"image": "A/A000.png", "label": "O", "note": "x0"}
    in_place = apply_fixes(read_samples(table), fixes, in_place=True)
    assert in_place.undo is not None
    assert in_place.undo.read_text() == "\n".join(["image;label;note", *rows])


def test_a_data_set_gives_a_table_of_labels(tmp_path: Path) -> None:
    samples = read_samples("digits")
    fixes = Fixes.of([(samples.names[0], "remove", "", "")])
    done = apply_fixes(samples, fixes, tmp_path / "out")
    assert len(done.where.read_text("utf-8").splitlines()) - 1 == 1796
    with pytest.raises(ConfigError, match="cannot be changed in place"):
        apply_fixes(samples, fixes, in_place=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "A/none.png,remove,,", "are not there"),
        (HEAD + "A/A000.png,relabel,Q,", "no class"),
        (HEAD + "A/A000.png,remove,,O", "another label than when they were decided"),
        (HEAD + "A/A000.png,burn,,", "must be keep, relabel or remove"),
        (HEAD + "A/A000.png,relabel,,", "must name a class"),
        (HEAD + "A/A000.png,remove,O,", "must be empty"),
        (HEAD + "A/A000.png,keep,,\nA/A000.png,remove,,", "twice"),
        ("file,label\nA/A000.png,O\n", "must have the columns"),
        (HEAD, "a header and rows"),
        (HEAD + "A/A000.png,keep\n", "columns in its header"),
    ],
)
def test_fixes_that_do_not_fit_change_nothing(
    letters: Path, tmp_path: Path, text: str, message: str
) -> None:
    before = tree(letters)
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        apply_fixes(read_samples(letters), tmp_path / "f.csv", in_place=True)
    assert tree(letters) == before


def test_places_that_are_no_good_are_refused(letters: Path, tmp_path: Path) -> None:
    samples, fixes = read_samples(letters), Fixes.of([("A/A000.png", "remove", "", "")])
    for out in (letters, letters / "inside", tmp_path):
        with pytest.raises(ConfigError, match="outside of"):
            apply_fixes(samples, fixes, out)
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").touch()
    with pytest.raises(DataError, match="not an empty folder"):
        apply_fixes(samples, fixes, full)
    with pytest.raises(ConfigError, match="needs --out"):
        apply_fixes(samples, fixes)


def test_a_copy_that_fails_leaves_nothing(
    letters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setitem(applying._PUT, "copy", full)
    with pytest.raises(DataError, match="No space left"):
        apply_fixes(
            read_samples(letters), Fixes.of([("A/A000.png", "remove", "", "")]), tmp_path / "out"
        )
    assert not [path.name for path in tmp_path.iterdir() if "out" in path.name]


def test_names_come_back_as_they_were(tmp_path: Path) -> None:
    names = [
        "=1+1",
        "+x",
        "@y",
        "-z",
        'a"b',
        "c,d",
        "line\nbreak",
        "u\u2028v",
        " space ",
        "'quote",
        "ü",
    ]
    fixes = Fixes(tuple(Fix(name, "remove") for name in names))
    assert Fixes.read(fixes.write(tmp_path / "f.csv")) == fixes
