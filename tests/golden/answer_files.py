"""Answers as small JSON files, and what counts as a changed one.

Whole numbers, texts and truth values must be equal. Decimal numbers must be equal within a share
of the largest number of their list, since processors differ in the last bits.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parent / "answers"
_DIGITS = 7
_SHOWN = 3

Answer = dict[str, Any]


@dataclass(frozen=True)
class Stored:
    """An answer and the versions that it was made with."""

    versions: dict[str, int]
    answer: Answer


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.json"


def stored_names() -> set[str]:
    return {p.relative_to(FOLDER).with_suffix("").as_posix() for p in FOLDER.rglob("*.json")}


def load(name: str) -> Stored | None:
    path = path_of(name)
    if not path.is_file():
        return None
    return Stored(**json.loads(path.read_text(encoding="utf-8")))


def save(name: str, stored: Stored) -> None:
    path = path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"versions": stored.versions, "answer": stored.answer}
    path.write_text(_text(content) + "\n", encoding="utf-8")


def _text(value: Any, indent: str = "") -> str:
    """Return JSON with a line for each entry of an object and for each list."""
    if not isinstance(value, dict):
        return json.dumps(value)
    deeper = indent + " "
    lines = [f"{deeper}{json.dumps(key)}: {_text(part, deeper)}" for key, part in value.items()]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def plain(value: Any) -> Any:
    """Return tensors and arrays as lists, truth values as text of 0 and 1, numbers rounded."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype == bool and value.ndim == 1:
            return "".join(str(int(entry)) for entry in value)
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else str(value)
    return value


def sha256(value: Any) -> str:
    """Return the hash of a tensor's, an array's or a text's content and shape."""
    if isinstance(value, str):
        return hashlib.sha256(value.encode()).hexdigest()[:24]
    array = np.ascontiguousarray(np.asarray(value))
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()[:24]


def differences(
    before: Any, now: Any, tolerances: Mapping[str, float], tolerance: float, where: str = ""
) -> list[str]:
    """Return what differs, in words.

    Args:
        before: As stored.
        now: As computed, plain.
        tolerances: Share of a list's largest number, by the name of an entry.
        tolerance: The same for all other entries.
        where: The names of the entries that lead here.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        out = []
        for key in dict.fromkeys([*before, *now]):
            place = f"{where}: {key}" if where else key
            if key not in before or key not in now:
                out.append(f"{place}: only {'before' if key in before else 'now'}")
                continue
            share = tolerances.get(key, tolerance)
            out += differences(before[key], now[key], tolerances, share, place)
        return out
    old, new = _flat(before), _flat(now)
    if len(old) != len(new):
        return [f"{where}: {len(old)} values before, {len(new)} now"]
    scale = max((abs(v) for v in old if isinstance(v, float)), default=0.0)
    changed = [
        i for i, pair in enumerate(zip(old, new, strict=True)) if _differ(*pair, tolerance, scale)
    ]
    if not changed:
        return []
    first = changed[0]
    many = f" ({len(changed)} of {len(old)} values)" if len(old) > 1 else ""
    return [f"{where}: {old[first]!r} before, {new[first]!r} now{many}"]


def shown(changes: list[str]) -> str:
    more = len(changes) - _SHOWN
    return "; ".join(changes[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _differ(old: Any, new: Any, tolerance: float, scale: float) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return abs(old - new) > tolerance * scale
    return type(old) is not type(new) or old != new


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [entry for part in value for entry in _flat(part)]
    return [value]
