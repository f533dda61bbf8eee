"""Recipes: whole protocols by name, and how one extends another."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from nlbench.errors import ConfigError, did_you_mean
from nlbench.files import parse_yaml, read_file

SECTIONS = ("selector", "trainer", "protocol", "noise", "data")

_MOST_BYTES = 2**20
_RECIPES = Path(__file__).parent / "recipes"
_RECIPE_KEYS = {"summary", "source", "extends", "dataset", *SECTIONS}


@dataclass(frozen=True)
class Layer:
    """One recipe file without what it extends.

    Attributes:
        name: As the user wrote it.
        head: The comment lines before the first key.
        content: As read.
        comments: (section, key) -> the comment behind that value.
    """

    name: str
    head: tuple[str, ...]
    content: Mapping[str, Any]
    comments: Mapping[tuple[str, str], str]


def load_recipe(name: str) -> dict[str, Any]:
    """Read a recipe by name (``standard/digits``) or by path, its ``extends`` resolved.

    Raises:
        ConfigError: if it is missing or has an unknown key.
    """
    merged: dict[str, Any] = {}
    for layer in recipe_layers(name):
        merged = merge(merged, layer.content)
    return merged


def recipe_layers(name: str, _within: tuple[str, ...] = ()) -> list[Layer]:
    """Return the files that a recipe is made of, the one that extends nothing first.

    Raises:
        ConfigError: if one is missing or has an unknown key.
    """
    path = (
        Path(name).expanduser() if name.endswith((".yaml", ".yml")) else _RECIPES / f"{name}.yaml"
    )
    if not path.is_file():
        raise ConfigError(
            f"unknown recipe {name!r}. {did_you_mean(name, recipe_names())} "
            "Or give the path of a .yaml file."
        )
    if str(path) in _within:
        raise ConfigError(f"recipe '{path}' extends itself, by way of {list(_within)}.")
    content = read_yaml(path)
    _check_recipe(path, content)
    extends = content.pop("extends", None)
    base = recipe_layers(extends, (*_within, str(path))) if extends else []
    text = path.read_text(encoding="utf-8")
    head = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return [*base, Layer(name, tuple(head), content, _comments(text))]


@lru_cache(maxsize=64)
def _comments(text: str) -> dict[tuple[str, str], str]:
    """Return the comment at the end of the line of each value in a section."""
    lines, comments = text.splitlines(), {}
    top = yaml.compose(text, yaml.SafeLoader)
    for section, values in top.value if isinstance(top, yaml.MappingNode) else ():
        for key, value in values.value if isinstance(values, yaml.MappingNode) else ():
            # A value may end at the end of the file, behind its last line.
            rest = "".join(lines[value.end_mark.line : value.end_mark.line + 1])
            _, mark, comment = rest[value.end_mark.column :].partition("#")
            if mark:
                comments[section.value, key.value] = comment.strip()
    return comments


def _check_recipe(path: Path, content: Mapping[str, Any]) -> None:
    for key, value in content.items():
        if key not in _RECIPE_KEYS:
            hint = did_you_mean(key, _RECIPE_KEYS)
            raise ConfigError(f"recipe '{path}': unknown key {key!r}. {hint}")
        kind = dict if key in SECTIONS else str
        if not isinstance(value, kind):
            what = "key: value pairs" if kind is dict else "text"
            raise ConfigError(f"recipe '{path}': {key!r} must be {what}, got {value!r}.")
        if isinstance(value, dict):
            _check_section(path, key, value)


def _check_section(path: Path, section: str, values: Mapping[Any, Any]) -> None:
    for key, value in values.items():
        if not isinstance(key, str):
            raise ConfigError(f"recipe '{path}': {section}: key {key!r} must be text. Quote it.")
        if key in ("name", "kind") and not isinstance(value, str):
            raise ConfigError(f"recipe '{path}': {section}.{key} must be text, got {value!r}.")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: if the file is missing or not a file, is not YAML, or is not a mapping.
    """
    try:
        content = deepcopy(_parsed(read_file(path, _MOST_BYTES).decode()))
    except FileNotFoundError:
        raise ConfigError(f"file '{path}' does not exist. Check the path.") from None
    except OSError as error:
        raise ConfigError(
            f"file '{path}' cannot be read: {error.strerror}. Check its permissions."
        ) from None
    except ValueError as error:  # UnicodeDecodeError is one
        raise ConfigError(f"file '{path}' is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"file '{path}' must contain key: value pairs.")
    for key in content:
        if not isinstance(key, str):
            raise ConfigError(f"file '{path}': key {key!r} must be text. Put it in quotes.")
    return content


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """Parse YAML; a sweep asks for the same few recipes several times per cell."""
    return parse_yaml(text)


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(
        p.relative_to(_RECIPES).with_suffix("").as_posix() for p in _RECIPES.rglob("*.yaml")
    )


def recipe_summary(name: str) -> str:
    """Return the summary of a shipped recipe.

    Only its line is parsed: to list all recipes whole took half of the time of `nlbench list`.
    """
    text = (_RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if line.startswith("summary:"))
    return str(yaml.safe_load(next(lines, "summary: ''"))["summary"])


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge one recipe over another by section; another component drops the old settings."""
    merged = {**base, **over}
    for section in SECTIONS:
        low, high = base.get(section) or {}, over.get(section) or {}
        named_by = "kind" if section == "noise" else "name"
        renamed = high.get(named_by, low.get(named_by)) != low.get(named_by)
        merged[section] = dict(high) if renamed else {**low, **high}
    return merged
