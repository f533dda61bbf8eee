"""Names to components: selectors, datasets, noises, trainers, encoders.

Three doors, all alike: an entry point that names an object (``package.module:Class``), an entry
point that names a package (every module in it is a component, named by its file), and a loose
file given by ``--plugin``, whose kind is read from what it defines.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlbench.errors import ConfigError, NlbenchError, PluginError, did_you_mean, text_of
from nlbench.plugins.discovery import (
    KINDS,
    Component,
    Kind,
    component_of_file,
    discover,
    rediscover,
)
from nlbench.plugins.kinds import singular

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from nlbench.selector import AnySelector

__all__ = [
    "KINDS",
    "Component",
    "Kind",
    "add_plugin_file",
    "components",
    "default_of",
    "discover",
    "find",
    "get_selector",
    "make_selector",
    "plugin_files",
    "plugin_name",
    "rediscover",
    "selector_class",
    "selector_names",
]

_plugin_files: list[Path] = []


def add_plugin_file(path: Path) -> Component:
    """Register a loose file as the one component that it defines, named after the file.

    Raises:
        ConfigError: if the file does not exist.
        PluginError: if its name is taken.
    """
    path = path.expanduser().absolute()
    if not path.is_file() or path.suffix != ".py":
        raise ConfigError(f"'{path}' is not an existing .py file; `--plugin` takes one.")
    component = component_of_file(path)
    owner = components(component.kind).get(component.name)
    if owner is not None and owner.path != path:
        raise PluginError(
            f"{singular(component.kind)} name {component.name!r} is taken by {owner.owner}. "
            f"Rename the file '{path}'."
        )
    if path not in _plugin_files:
        _plugin_files.append(path)
    return component


def plugin_files() -> tuple[Path, ...]:
    """Return the loose files that were registered."""
    return tuple(_plugin_files)


def components(kind: Kind) -> dict[str, Component]:
    """Return all components of a kind by name, usable ones and broken ones."""
    loose = (c for c in map(component_of_file, _plugin_files) if c.kind == kind)
    every = {**discover(kind), **{c.name: c for c in loose}}
    return dict(sorted(every.items()))


def find(kind: Kind, name: str) -> Component:
    """Return one component.

    Raises:
        ConfigError: if no component has that name; the message names near matches.
    """
    every = components(kind)
    if name in every:
        return every[name]
    usable = [n for n, c in every.items() if not c.problem]
    raise ConfigError(
        f"unknown {kind[:-1]} {name!r}. {did_you_mean(name, usable)} See `nlbench list {kind}`."
    )


def plugin_name(kind: Kind, name: str) -> str:
    """Return what a plugin is called in messages; "" for what is shipped or unknown.

    The checks look at what is shipped, so that its runs need not. A file dropped into a package of
    nlbench's is a plugin.
    """
    component = components(kind).get(name)
    if component is None or component.keeps_version:
        return ""
    return f"{singular(kind)} {name!r}"


def selector_names() -> list[str]:
    """Return the names of all usable selectors."""
    return [name for name, c in components("selectors").items() if not c.problem]


def selector_class(name: str) -> type[AnySelector]:
    """Import a selector's class by name."""
    loaded: type[AnySelector] = find("selectors", name).load()
    return loaded


def get_selector(name: str, **hyperparameters: Any) -> AnySelector:
    """Return a selector with validated hyper-parameters.

    Raises:
        ConfigError: if the name or a hyper-parameter is unknown or a value does not fit.

    >>> get_selector("random", keep_fraction=0.25)
    Random(keep_fraction=0.25)
    """
    return make_selector(selector_class(name), hyperparameters, name=name)


def make_selector(
    cls: type[AnySelector],
    hyperparameters: Mapping[str, Any],
    name: str | None = None,
    kind: Kind = "selectors",
) -> AnySelector:
    """Return an instance of a selector class, its fields validated by their annotations."""
    from pydantic import ValidationError

    label = name or cls.__name__
    word = "hyper-parameter" if kind == "selectors" else "setting"
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    for key in hyperparameters:
        if key not in names:
            raise ConfigError(
                f"{label!r} has no {word} {key!r}. {did_you_mean(key, names)}"
                + (f" It has: {', '.join(names)}." if names else "")
            )
    try:
        instance: AnySelector = _adapter(cls).validate_python(dict(hyperparameters))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "?"
        # A field of several types has an error for each of them.
        rules = [_lower_first(e["msg"]) for e in error.errors() if e["loc"][:1] == first["loc"][:1]]
        raise ConfigError(
            f"{label!r}: {word} {key!r}: {', or '.join(dict.fromkeys(rules))}, "
            f"got {first['input']!r}. See `nlbench show {kind[:-1]} {label}`."
        ) from None
    except (NlbenchError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(
            f"{label!r} cannot be made: {type(error).__name__}: {text_of(error)}, raised in its "
            f"__post_init__ ({_file_of(cls)}). A value that does not fit must raise ValueError."
        ) from error
    for key in names:
        value = getattr(instance, key)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{label!r}: {word} {key!r} must be finite, got {value!r}.")
    return instance


@lru_cache(maxsize=64)
def _adapter(cls: type[AnySelector]) -> TypeAdapter[AnySelector]:
    """Return the validator of a class: building one takes milliseconds, a run asks for a dozen."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _file_of(cls: type[Any]) -> str:
    return str(getattr(sys.modules.get(cls.__module__), "__file__", cls.__module__))


def default_of(cls: type[Any], key: str) -> Any:
    """Return the default of a dataclass field."""
    field = next(f for f in fields(cls) if f.name == key)
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def make_component(kind: Kind, name: str, params: Mapping[str, Any]) -> Any:
    """Return a trainer or data set with validated settings."""
    return make_selector(find(kind, name).load(), params, name=name, kind=kind)
