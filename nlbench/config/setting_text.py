"""A setting as text, read and written: ``key=value`` with a YAML value."""

from __future__ import annotations

import json
import re
from typing import Any

from nlbench.errors import ConfigError
from nlbench.files import parse_yaml


def parse_setting(text: str) -> tuple[str, Any]:
    """Split ``key=value``; the value is read as YAML (``0.1``, ``true``, ``[1, 2]``, text).

    >>> parse_setting("trainer.lr=0.1")
    ('trainer.lr', 0.1)
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"a setting must be key=value, got {text!r}.")
    try:
        return key.strip(), _yaml_value(value)
    except ValueError:
        raise ConfigError(f"the value of {key!r} is not valid YAML: {value!r:.200}.") from None


def _yaml_value(text: str) -> Any:
    value = parse_yaml(text)
    if isinstance(value, str) and text.strip()[:1] not in ("'", '"'):
        # YAML 1.1 reads 5e-4 as text; everybody who types it means the number.
        try:
            return float(value)
        except ValueError:
            return value
    return value


_KEY = re.compile(r"\s*[A-Za-z_][\w.-]*\s*=")
_OPENING, _CLOSING, _QUOTES = "[{(", "]})", "\"'"


def inline_settings(spec: str) -> dict[str, list[str]]:
    """Return the settings behind the colon of ``name:key=value,...``, each with its values as text.

    A value without a key is another one of the key before it. Commas inside brackets and quotes
    belong to their value.

    Raises:
        ConfigError: if a value has no key before it, or a key is there twice.

    >>> inline_settings("my-idea:k=5,10,sizes=[1,2]")
    {'k': ['5', '10'], 'sizes': ['[1,2]']}
    """
    settings: dict[str, list[str]] = {}
    key = ""
    for part in filter(None, map(str.strip, _split(spec.partition(":")[2]))):
        value = part
        if _KEY.match(part):
            key, _, value = (text.strip() for text in part.partition("="))
            if key in settings:
                raise ConfigError(
                    f"{key!r} must be set once, got it twice in {spec!r}: write its values behind "
                    f"one another, {key}=1,2."
                )
        elif not key:
            raise ConfigError(f"a setting must be key=value, got {part!r} in {spec!r}.")
        settings.setdefault(key, []).append(value)
    return settings


def _split(text: str) -> list[str]:
    """Split at commas outside of brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            # Inside a word it is an apostrophe.
            quote = character if parts[-1].rstrip()[-1:] in ("", "=", *_OPENING, ",", ":") else ""
        else:
            depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and not quote and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def setting_text(value: Any) -> str:
    """Return a value as `parse_setting` reads it back; ambiguous text is quoted."""
    if isinstance(value, str) and _yaml_value_or_none(value) == value:
        return value
    return json.dumps(value)


def _yaml_value_or_none(text: str) -> Any:
    try:
        return _yaml_value(text)
    except ValueError:
        return None
