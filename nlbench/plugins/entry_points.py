"""What the installed packages bring to nlbench, by entry points, read once per process."""

from __future__ import annotations

from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points


def installed(group: str) -> list[EntryPoint]:
    """Return the entry points of a group, such as ``nlbench.selectors``."""
    return list(_all().get(group, ()))


def every_point() -> list[EntryPoint]:
    """Return the entry points of all our groups."""
    return [point for points in _all().values() for point in points]


def brought_by(point: EntryPoint) -> str:
    """Return the package that an entry point is of."""
    return _name(point.dist) if point.dist else "?"


def is_own(point: EntryPoint) -> bool:
    """Return whether nlbench itself brings it."""
    return brought_by(point) == "nlbench"


def forget_installed() -> None:
    """Read the installed packages again when they are next asked for."""
    _all.cache_clear()


@cache
def _name(distribution: Distribution) -> str:
    """Return a package's name, for which all of its metadata is parsed."""
    return distribution.name


@cache
def _all() -> dict[str, list[EntryPoint]]:
    """Return our groups; one look at all packages takes as long as one at a single group."""
    every = entry_points()
    groups = (group for group in every.groups if group.startswith("nlbench."))
    return {group: list(every.select(group=group)) for group in groups}
