"""What stands for a component's code in a fingerprint: its version, or a hash of its source.

A component that comes with nlbench has a ``version``, an integer that its author raises when its
numbers change; ``tests/golden`` keeps authors to it. For all other code, where nobody keeps such a
number, the hash of the syntax tree stands in: formatting, comments and docstrings do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from nlbench.errors import PluginError
from nlbench.plugins.discovery import Component
from nlbench.plugins.source_code import code_sha256

_F = TypeVar("_F", bound=Callable[..., Any])

Version = int | str


def versioned(version: int) -> Callable[[_F], _F]:
    """Return a decorator that gives a function its ``version``, as a class has it as attribute.

    >>> @versioned(3)
    ... def noise(clean, n_classes, rate, rng): ...
    >>> noise.version
    3
    """

    def mark(function: _F) -> _F:
        function.version = version  # type: ignore[attr-defined]
        return function

    return mark


def version_of(component: Component) -> Version:
    """Return a component's version, or ``"code:<sha256>"`` where its source stands in.

    Raises:
        PluginError: if the component cannot be imported, or a shipped one has no version.
    """
    if not component.keeps_version:
        return f"code:{code_sha256(component)}"
    version = getattr(component.load(), "version", None)
    if not isinstance(version, int) or version < 1:
        raise PluginError(
            f"{component.kind[:-1]} {component.name!r} must have a `version` >= 1, "
            f"got {version!r}. Write `version: ClassVar[int] = 1` into its class, or "
            "`@versioned(1)` above its function."
        )
    return version
