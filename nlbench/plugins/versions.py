"""What stands for a component's code in a fingerprint: its version, or a hash of its source.

A component that comes with nlbench has a ``version``, an integer that its author raises when its
numbers change; ``tests/golden`` keeps authors to it. For all other code, where nobody keeps such a
number, the hash of the syntax tree stands in: formatting, comments and docstrings do not count.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, TypeVar

from nlbench.errors import PluginError
from nlbench.plugins.discovery import KINDS, Component, discover
from nlbench.plugins.source_code import code_sha256, imports_scoring

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
        PluginError: if the component cannot be imported, if a shipped one has no version, or if
            source was edited after this process had imported it.
    """
    if not component.keeps_version:
        sha256 = code_sha256(component, _Versions())
        _refuse_later_edit(component, sha256)
        return f"code:{sha256}"
    version = getattr(component.load(), "version", None)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise PluginError(
            f"{component.kind[:-1]} {component.name!r} must have a `version` >= 1, "
            f"got {version!r}. Write `version: ClassVar[int] = 1` into its class, or "
            "`@versioned(1)` above its function."
        )
    return version


# By module: the module itself, and the hash of its source when it was first asked for.
_imported: dict[str, tuple[ModuleType, str]] = {}


def _refuse_later_edit(component: Component, sha256: str) -> None:
    """Refuse source that is not what runs: Python keeps what it has imported."""
    module = sys.modules.get(component.module)
    if module is None:
        return
    before = _imported.setdefault(component.module, (module, sha256))
    if before[0] is not module:
        _imported[component.module] = (module, sha256)
    elif before[1] != sha256:
        raise PluginError(
            f"{component.kind[:-1]} {component.name!r} ({component.owner}): its source must be "
            "what this process runs, but it was edited after the import. Start Python again."
        )


def uses_scoring(component: Component) -> bool:
    """Return whether a component's source, or a helper's beside it, uses the scoring toolbox."""
    return imports_scoring(component, _Versions())


class _Versions(Mapping[str, str]):
    """The versions that nlbench's own modules keep, by module; loaded when they are asked for.

    A plugin may build on a built-in component: that one's version then counts for it.
    """

    def __init__(self) -> None:
        self._modules: dict[str, list[Component]] = {}
        for kind in KINDS:
            for component in discover(kind).values():
                if component.keeps_version:
                    self._modules.setdefault(component.module, []).append(component)

    def __getitem__(self, module: str) -> str:
        components = self._modules[module]
        return ",".join(f"{c.kind}/{c.name}={version_of(c)}" for c in components)

    def __contains__(self, module: object) -> bool:
        return module in self._modules  # and nothing is loaded

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)
