"""One committed run, and ways to spoil it, for tests that read what a stranger wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parents[1] / "leaderboard" / "records" / "digits-co-teaching.json"
NASTY = (
    None, True, -1, 0, 1, 1.5, 2**63 - 1, -(2**63), 1e308, 5e-324, "", "x", "\u202e", "\x00",
    "\x1b[31m", "../../etc/passwd", "sha256:", "9" * 300, "2099-01-01T00:00:00+00:00",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", [], {}, [[]], [None], [1, 2, 3],
    {"a": None}, {"": {}}, [[0.5, 0.5]],
)  # fmt: skip


@cache
def one_run() -> str:
    """Return a file of one finished run with its samples."""
    content = json.loads(RECORDS.read_text())
    run = next(run for run in content["runs"] if run["evidence"])
    arrays = {key: content["arrays"][key] for key in run["evidence"].values()}
    return json.dumps({**content, "arrays": arrays, "runs": [run]})


def a_run() -> dict[str, Any]:
    """Return the same as data."""
    content: dict[str, Any] = json.loads(one_run())
    return content


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every value, of lists to the first alone."""
    found = [at] if at else []
    if isinstance(value, Mapping):
        found += [place for key in value for place in places(value[key], (*at, key))]
    elif isinstance(value, list) and value:
        found += places(value[0], (*at, 0))
    return found


def changed(content: Any, at: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with another value at this path."""
    content = deepcopy(content)
    inner = content
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = deepcopy(value)
    return content


def written(folder: Path, content: Any) -> Path:
    """Write a file of runs."""
    path = folder / "hostile.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
