"""What an object says of itself that changes while a network trains."""

from __future__ import annotations

from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

# Nothing in these changes: the code that makes the object makes them again.
_CODE = (FunctionType, BuiltinFunctionType, MethodType, ModuleType, type)


class Resumable:
    """An object whose state goes into checkpoints.

    A run that was killed goes on with a new object, made as the first one was: same settings, and
    for an online selector `first` has been called. It then gets the state of the old one. Both
    methods work as they are for objects that keep tensors, arrays, numbers, texts, containers of
    these, networks, optimisers, schedules and generators as attributes. Networks and optimisers get
    their state in place, so they must be made in ``__post_init__`` or `first`. What is kept
    elsewhere, as in a module or a closure, is not seen.
    """

    def saved_state(self) -> Mapping[str, Any]:
        """Return what changes while a network trains; all attributes unless overridden.

        Override it where an attribute is of another kind, or large and made again by other means.
        """
        return {name: value for name, value in _attributes(self) if not isinstance(value, _CODE)}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `saved_state` returned; sets the attributes unless overridden.

        Args:
            state: Its content; what has a state of its own, such as a network, is the object that
                `saved_state` returns now, and has its old state already.
        """
        for name, value in state.items():
            object.__setattr__(self, name, value)


def _attributes(value: Any) -> list[tuple[str, Any]]:
    named = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                named.setdefault(name, getattr(value, name))
    return list(named.items())
