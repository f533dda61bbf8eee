"""One thing of the surroundings: how it is read, compared and put back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One thing of the surroundings.

    Attributes:
        name: What people call it.
        read: Returns its value, to be compared with `==`.
        put_back: Sets it to such a value.
        is_silent: Whether nothing is said of a change: nobody's numbers depend on it, and
            libraries change it when they are imported.
    """

    name: str
    read: Callable[[], Any]
    put_back: Callable[[Any], object]
    is_silent: bool = False


def of_attribute(owner: Any, attribute: str, name: str) -> Setting:
    """Return the setting that an attribute of an object is."""
    return Setting(
        name, lambda: getattr(owner, attribute), lambda value: setattr(owner, attribute, value)
    )
