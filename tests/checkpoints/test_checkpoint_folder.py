"""Checkpoints on the disk: the last two, and nothing that is damaged or of other versions."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from nlbench.checkpoints import CheckpointFolder
from nlbench.errors import RefusedError
from nlbench.files import canonical_json

CPU = torch.device("cpu")


class Box:
    """A folder of checkpoints and what it said."""

    def __init__(self, path: Path, **made_with: str) -> None:
        self.said: list[str] = []
        self.path = path
        self.folder = CheckpointFolder(path, {"torch": "1", **made_with}, self.said.append)

    def contents(self) -> list[Any]:
        return [checkpoint.content for checkpoint in self.folder.newest_first(CPU)]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    box = Box(tmp_path / "checkpoints")
    for number in (1, 2, 3):
        box.folder.write({"n": number, "x": torch.ones(100)}, {"epoch": number})
    return box


def test_the_last_two_stay_and_the_newest_comes_first(box: Box) -> None:
    assert [content["n"] for content in box.contents()] == [3, 2]
    names = sorted(path.name for path in box.path.iterdir())
    assert names == ["000002.json", "000002.pt", "000003.json", "000003.pt"]
    assert not box.said


@pytest.mark.parametrize("ending", [".pt", ".json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone", "folder"])
def test_a_damaged_one_is_passed_over_with_a_word(box: Box, ending: str, damage: str) -> None:
    path = box.path / f"000003{ending}"
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-20])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "folder":
        path.mkdir()
    assert [content["n"] for content in box.contents()] == [2]
    if (ending, damage) != (".json", "gone"):  # as a kill between both files leaves it
        (line,) = box.said
        assert "000003" in line and "passed over" in line
    box.folder.write({"n": 4}, {"epoch": 4})
    assert [content["n"] for content in box.contents()] == [4, 2]


@pytest.mark.parametrize(("ending", "step"), [(".pt", 37), (".json", 5)])
def test_every_flipped_byte_is_noticed(box: Box, ending: str, step: int) -> None:
    path = box.path / f"000003{ending}"
    whole = path.read_bytes()
    for at in range(0, len(whole), step):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        assert [content["n"] for content in box.contents()] == [2]


def test_one_of_another_version_is_passed_over_and_says_why(box: Box) -> None:
    other = Box(box.path, numpy="2")
    other.folder.write({"n": 4}, {"epoch": 4})
    assert [content["n"] for content in other.contents()] == [4]
    assert len(other.said) == 1 and "numpy missing (now 2)" in other.said[0]


def test_no_code_is_run(box: Box, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "done"),)

    path = box.path / "000003.pt"
    torch.save(Evil(), path, pickle_module=pickle)
    facts = json.loads(path.with_suffix(".json").read_text())
    facts["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    del facts["own_sha256"]
    own = hashlib.sha256(canonical_json(facts).encode()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps({**facts, "own_sha256": own}))
    assert [content["n"] for content in box.contents()] == [2]
    assert "weights_only" in box.said[0].lower() or "weights only" in box.said[0].lower()
    assert not (tmp_path / "done").exists()


def test_what_a_kill_left_half_written_is_cleared(box: Box) -> None:
    (box.path / ".000004.pt.abc").write_bytes(b"half")
    (box.path / "000004.pt").write_bytes(b"without its pair")
    box.folder.write({"n": 5}, {"epoch": 5})
    names = sorted(path.name for path in box.path.iterdir())
    assert names == ["000003.json", "000003.pt", "000005.json", "000005.pt"]
    assert [content["n"] for content in box.contents()] == [5, 3]


def test_a_disk_that_refuses_leaves_the_earlier_ones(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RefusedError, match="No space left"):
        box.folder.write({"n": 4}, {"epoch": 4})
    monkeypatch.undo()
    assert [content["n"] for content in box.contents()] == [3, 2]
    box.folder.discard()
    assert not box.path.exists() and box.contents() == []
