"""``running.json`` of a run: who runs it, and where in MLflow; what a killed process leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Trace:
    """What a killed process left of a run: its attempt, and where in MLflow it was being logged."""

    fingerprint: str
    attempt: int
    mlflow_uri: str
    mlflow_run: str | None


def trace_in(marker: Path) -> Trace | None:
    """Return what a marker says of a run in MLflow; None where it was logged nowhere."""
    content = read_marker(marker)
    uri, run = content.get("mlflow_uri"), content.get("mlflow_run")
    if not isinstance(uri, str):
        return None
    attempt = attempt_in(content)
    return Trace(marker.parent.name, attempt, uri, run if isinstance(run, str) else None)


def attempt_in(marker: Mapping[str, Any]) -> int:
    """Return the number of the attempt that a marker is of; 0 where it does not say."""
    attempt = marker.get("attempt", 0)
    return attempt if isinstance(attempt, int) and 0 <= attempt < 2**31 else 0


def read_marker(path: Path) -> dict[str, Any]:
    """Return what a marker says, empty where it is not there or cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def forget(marker: Path) -> None:
    """Take a marker away, if it can be."""
    with suppress(OSError):  # a run that ended well is not lost for it: its record says so
        marker.unlink(missing_ok=True)
