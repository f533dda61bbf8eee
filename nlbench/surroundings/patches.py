"""Functions and classes that everyone shares, and that one call has replaced for all."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Patch:
    """A function or class of someone else's that was replaced, and how it was."""

    owner: Any
    owner_name: str
    attribute: str
    before: Any

    def undo(self) -> None:
        """Put back what was there."""
        with suppress(AttributeError, TypeError):
            if self.before is _ABSENT:
                delattr(self.owner, self.attribute)
            else:
                setattr(self.owner, self.attribute, self.before)


_ABSENT = object()
# Whose functions the numbers of a run come from, beside all modules and classes of nlbench.
_SHARED = (
    "builtins", "math", "random", "time", "os", "numpy", "numpy.linalg", "numpy.random",
    "torch", "torch.linalg", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.optim",
    "sklearn.mixture", "sklearn.linear_model",
)  # fmt: skip
_OURS = ("nlbench.", "nlbench_selectors.")

Names = list[tuple[str, Any, dict[str, Any]]]


def shared_names() -> Names:
    """Return what is in every module and class that plugins share: its name, itself, a copy."""
    owners: list[tuple[str, Any]] = [
        ("torch.Tensor", torch.Tensor),
        ("torch.nn.Module", torch.nn.Module),
        ("torch.optim.Optimizer", torch.optim.Optimizer),
        ("torch.optim.SGD", torch.optim.SGD),
    ]
    for name, module in list(sys.modules.items()):
        if name in _SHARED and module is not None:
            owners.append((name, module))
        elif name.startswith(_OURS) and module is not None:
            owners.append((name, module))
            owners += [
                (f"{name}.{value.__qualname__}", value)
                for value in list(vars(module).values())
                if isinstance(value, type) and value.__module__ == name
            ]
    return [(name, owner, dict(vars(owner))) for name, owner in owners]


def _patches(before: Names) -> Iterator[Patch]:
    for name, owner, old in before:
        now = vars(owner)
        if len(now) == len(old) and all(map(operator.is_, old.values(), now.values())):
            continue
        for attribute, value in old.items():
            new = now.get(attribute, _ABSENT)
            if callable(value) and new is not value and not _wraps_its_own(name, new, value):
                yield Patch(owner, name, attribute, value)
        if isinstance(owner, type):  # where a name hides one of the base class
            for attribute in set(now) - set(old):
                if callable(now[attribute]) and hasattr(super(owner, owner), attribute):
                    yield Patch(owner, name, attribute, _ABSENT)


def _wraps_its_own(owner_name: str, new: Any, old: Any) -> bool:
    """Return whether a library wrapped its own function, as torch does when its compiler loads."""
    package = sys.modules[owner_name.partition(".")[0]]
    code = getattr(new, "__code__", None)
    folder = Path(getattr(package, "__file__", None) or "/").parent
    return (
        code is not None
        and getattr(new, "__wrapped__", None) is old
        and Path(code.co_filename).is_relative_to(folder)
        and (folder / "__init__.py").exists()
    )


def undo(names: Names) -> list[str]:
    """Put back what was replaced since `shared_names`; return its names."""
    patches = list(_patches(names))
    for patch in patches:
        patch.undo()
    return [f"{patch.owner_name}.{patch.attribute}" for patch in patches]
