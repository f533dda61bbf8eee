"""Moves inside a folder that can be taken back: the undo file is written before the first move."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from nlbench.errors import DataError
from nlbench.files import read_file, write_atomic

# Hidden, so that nothing takes it for a class; an image that was removed is only moved there.
REMOVED = ".nlbench-removed"
FORMAT = "nlbench-undo/1"
_MOST_BYTES = 2**30


@dataclass(frozen=True)
class Move:
    """From one name to another, both relative to the root."""

    old: str
    new: str


def move_all(root: Path, moves: Sequence[Move]) -> Path:
    """Move files and return the undo file, which lies in the root.

    Raises:
        DataError: if something is at a file's new place; nothing is moved then.
        OSError: if a move fails; those before it are in the undo file too.
    """
    in_the_way = [move.new for move in moves if (root / move.new).exists()]
    if in_the_way:
        raise DataError(
            f"{len(in_the_way)} places are taken, such as '{root / in_the_way[0]}'. Nothing was "
            "moved. Empty that folder, or use --out."
        )
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
    undo = root / f".nlbench-undo-{stamp}.json"
    content = {"format": FORMAT, "moves": [[move.old, move.new] for move in moves]}
    write_atomic(undo, json.dumps(content, indent=0))
    for move in moves:
        _move(root, move.old, move.new)
    return undo


def undo_moves(file: Path) -> int:
    """Take the moves of an undo file back; return how many files went back.

    What was never moved, because the command was killed, stays where it is.

    Raises:
        DataError: if the file is none of ours, or a file that it names is in the way or gone.
    """
    moves, root = _read(file), file.parent
    back = [move for move in moves if (root / move.new).exists()]
    lost = [m.new for m in moves if not (root / m.new).exists() and not (root / m.old).exists()]
    taken = [move.old for move in back if (root / move.old).exists()]
    for what, names in (("are gone", lost), ("are in the way", taken)):
        if names:
            raise DataError(
                f"{len(names)} files {what}, such as '{root / names[0]}'. Nothing was moved back. "
                "Put them right by hand first."
            )
    for move in reversed(back):
        _move(root, move.new, move.old)
    file.unlink()
    _remove_empty(root / REMOVED)
    return len(back)


def _read(file: Path) -> list[Move]:
    try:
        content = json.loads(read_file(file, _MOST_BYTES))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        moves = [Move(str(old), str(new)) for old, new in content["moves"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"'{file}' is no undo file of `nlbench clean --in-place`: {error}. It is named "
            ".nlbench-undo-....json and lies in the folder."
        ) from None
    for name in (name for move in moves for name in (move.old, move.new)):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"'{file}' names '{name}', outside of its folder. It is not used.")
    return moves


def _move(root: Path, old: str, new: str) -> None:
    target = root / new
    target.parent.mkdir(parents=True, exist_ok=True)
    (root / old).rename(target)


def _remove_empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
