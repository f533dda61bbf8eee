"""Whether code that nlbench does not ship may run in this process; told without importing any."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from nlbench.plugins.entry_points import brought_by, every_point, installed, is_own


def outsiders(words: Sequence[str]) -> list[str]:
    """Return who brings code that nlbench does not ship.

    Args:
        words: The command line; its Python files are plugins.

    Returns:
        Names of files and packages, for messages.
    """
    files = [word.rpartition("=")[2] for word in words if word.endswith(".py")]
    packages = {brought_by(p) for p in every_point() if not is_own(p)}
    return [*dict.fromkeys(files), *sorted(packages), *dropped_in()]


def dropped_in() -> list[str]:
    """Return the files in a scanned package of nlbench's own that its ``VERSIONED`` lacks."""
    found = []
    for point in installed("nlbench.selectors"):
        spec = find_spec(point.module) if is_own(point) and not point.attr else None
        if spec is not None and spec.origin is not None:
            init = Path(spec.origin)
            shipped = init.read_text(encoding="utf-8")
            found += [
                str(path)
                for path in sorted(init.parent.glob("[!_.]*.py"))
                if f'"{path.stem.replace("_", "-")}"' not in shipped
            ]
    return found
