"""A setting as text, read and written: ``key=value`` with a YAML value."""

from __future__ import annotations

import json
from typing import Any

import yaml

from nlbench.errors import ConfigError


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
    except yaml.YAMLError:
        raise ConfigError(f"the value of {key!r} is not valid YAML: {value!r}.") from None


def _yaml_value(text: str) -> Any:
    value = yaml.safe_load(text)
    if isinstance(value, str) and text.strip()[:1] not in ("'", '"'):
        # YAML 1.1 reads 5e-4 as text; everybody who types it means the number.
        try:
            return float(value)
        except ValueError:
            return value
    return value


def setting_text(value: Any) -> str:
    """Return a value as `parse_setting` reads it back; ambiguous text is quoted."""
    if isinstance(value, str) and _yaml_value_or_none(value) == value:
        return value
    return json.dumps(value)


def _yaml_value_or_none(text: str) -> Any:
    try:
        return _yaml_value(text)
    except yaml.YAMLError:
        return None
