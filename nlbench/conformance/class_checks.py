"""Checks of the class itself: its hyper-parameters and what it declares."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from nlbench.conformance.harness import ConformanceFailure
from nlbench.errors import ConfigError, PluginError, did_you_mean
from nlbench.plugins import declarations
from nlbench.selector import SELECTOR_KINDS, AnySelector, Knowledge


def check_is_dataclass(selector_class: type[AnySelector]) -> None:
    """The class is a dataclass derived from exactly one kind of selector.

    Its fields are the hyper-parameters, which are validated, recorded and settable by name.
    """
    kinds = [base.__name__ for base in SELECTOR_KINDS if issubclass(selector_class, base)]
    if len(kinds) != 1:
        raise ConformanceFailure(
            f"{selector_class.__name__} must derive from one of nlbench.Selector, OnlineSelector, "
            f"BatchSelector and BoundSelector, got {' and '.join(kinds) or 'none'}."
        )
    # is_dataclass() is inherited, and so would be a parent's hyper-parameters without one's own.
    if not is_dataclass(selector_class) or "__dataclass_fields__" not in vars(selector_class):
        raise ConformanceFailure(
            f"{selector_class.__name__} must be a dataclass itself, got a plain class: put "
            "`@dataclass(frozen=True)` above it."
        )


def check_fields_are_annotated(selector_class: type[AnySelector]) -> None:
    """Every hyper-parameter has a type, so that it is one and its values can be validated.

    An attribute without a type is not a field: nobody could set it, and no record would have it.
    """
    try:
        hints = get_type_hints(selector_class)
    except Exception as error:
        raise ConformanceFailure(
            f"the annotations of {selector_class.__name__} must be importable at run time, got "
            f"{type(error).__name__}: {error}. Import those names outside `if TYPE_CHECKING:`."
        ) from error
    for name in _plain_attributes(selector_class):
        if name not in hints:
            raise ConformanceFailure(
                f"{selector_class.__name__}.{name} must have a type to be a hyper-parameter, got "
                f"none: write `{name}: {type(getattr(selector_class, name)).__name__} = ...`, or "
                "`ClassVar[...]` if it is not meant to be one."
            )


def check_default_constructible(selector_class: type[AnySelector]) -> None:
    """The class can be made without arguments: every hyper-parameter has a default.

    `nlbench sweep` runs every selector with its defaults.
    """
    missing = [
        f.name
        for f in _fields(selector_class)
        if f.init and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise ConformanceFailure(
            f"every hyper-parameter of {selector_class.__name__} must have a default, "
            f"{', '.join(map(repr, missing))} has none: use the published value."
        )
    if inspect.isabstract(selector_class):
        methods = ", ".join(sorted(selector_class.__abstractmethods__))
        raise ConformanceFailure(f"{selector_class.__name__} must define {methods}.")
    selector_class()


def check_repr_round_trip(selector_class: type[AnySelector]) -> None:
    """The repr of an instance, evaluated, gives an equal instance.

    The repr stands in logs and notebooks as the way to make the selector again.
    """
    selector = selector_class()
    # Dataclasses print the qualified name, which is no expression for a class in a function.
    text = repr(selector).replace(selector_class.__qualname__, selector_class.__name__, 1)
    module = sys.modules.get(selector_class.__module__)
    scope = {**(vars(module) if module else {}), selector_class.__name__: selector_class}
    try:
        again = eval(text, scope)  # noqa: S307 - the author's own repr, in the author's own file
    except Exception as error:
        raise ConformanceFailure(
            f"repr must be Python that makes the selector again, got {text!r}, which raises "
            f"{type(error).__name__}: {error}. Keep the dataclass's repr and plain values."
        ) from error
    if again != selector:
        raise ConformanceFailure(
            f"repr must give an equal selector when evaluated, got {text!r}, which gives {again!r}."
            " Keep the dataclass's repr and eq, and fields that compare with ==."
        )


def check_unknown_hyper_parameter(selector_class: type[AnySelector]) -> None:
    """A hyper-parameter that does not exist is refused by name.

    A typing error that is swallowed runs the defaults under a wrong name.
    """
    _require_refusal(selector_class, "no_such_hyper_parameter", 1, "does not exist")


def check_wrong_type(selector_class: type[AnySelector]) -> None:
    """A value of the wrong type is refused, naming the hyper-parameter.

    A value of the wrong type should fail before the run, naming the hyper-parameter.
    """
    for field in _fields(selector_class):
        if field.init:
            value = _NoValidValue()
            _require_refusal(selector_class, field.name, value, "has a value of the wrong type")


def check_knowledge_names(selector_class: type[AnySelector]) -> None:
    """What the selector says it knows is in the leaderboard's words.

    Boards show and compare knowledge by these words.
    """
    names = get_args(Knowledge)
    named = (*selector_class.knowledge, *selector_class().knowledge_used())
    for name in named:
        if name not in names:
            raise ConformanceFailure(
                f"`knowledge` must have names from the contract, got {name!r}. "
                f"{did_you_mean(str(name), names)}"
            )


def check_declarations(selector_class: type[AnySelector]) -> None:
    """What the selector declares about its training is what a training can give.

    An observation, a trainer or a number of rounds that there is not would stop a run late, or
    show the selector nothing.
    """
    try:
        declarations.check_declarations(selector_class(), selector_class.__name__)
    except PluginError as error:
        raise ConformanceFailure(str(error)) from error


class _NoValidValue:
    def __repr__(self) -> str:
        return "<a value of no valid type>"


def _fields(selector_class: type[Any]) -> tuple[Field[Any], ...]:
    return fields(selector_class)


def _plain_attributes(selector_class: type[Any]) -> Iterator[str]:
    """Return public class attributes that hold a value, except what the contract defines."""
    contract = {name for base in SELECTOR_KINDS for name in dir(base)}
    for owner in selector_class.__mro__:
        for name, value in vars(owner).items():
            behaviour = callable(value) or hasattr(value, "__get__")
            if not (name.startswith("_") or name in contract or behaviour):
                yield name


def _require_refusal(
    selector_class: type[AnySelector], name: str, value: object, problem: str
) -> None:
    from nlbench.plugins.registry import make_selector

    try:
        made = make_selector(selector_class, {name: value})
    except ConfigError as error:
        if name in str(error):
            return
        raise ConformanceFailure(
            f"a hyper-parameter that {problem} must be named, {name!r} is not in: {error}"
        ) from error
    raise ConformanceFailure(
        f"hyper-parameter {name!r} {problem} and must be refused, got {made!r}. "
        "Annotate it with the type that its values have, not with Any or object."
    )
