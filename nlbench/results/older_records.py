"""Records from before methods were pairs of a selector and a trainer, in today's shape.

Their protocol held the whole trainer; today it holds what the methods of a board share, and the
rest of the trainer is the method's. Nothing is lost or made up on the way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nlbench.files import canonical_json

_START = 400
# As it was when today's shape began: not config's list, which may change after it.
_SHARED = ("epochs", "batch_size", "network", "augmentation", "input_size", "resized_crop")
# What every standard recipe trained with.
_STANDARD = "cross-entropy"


def in_todays_shape(text: str | bytes) -> str | bytes:
    """Return a record's text with `method` and `trainer`, untouched where it has them."""
    # It stands near the start of today's records: most need not be read twice.
    if '"method"' in str(text[:_START]):
        return text
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):  # what reads it next says what is wrong
        return text
    changed = with_method(content) if isinstance(content, dict) else content
    return text if changed is content else json.dumps(changed)


def with_method(content: dict[str, Any]) -> dict[str, Any]:
    """Return a record's content with `method` and `trainer`, as it is where it has them."""
    protocol, selector = content.get("protocol"), content.get("selector")
    if "trainer" in content or not isinstance(protocol, dict) or not isinstance(selector, dict):
        return content
    chosen, settings = str(selector.get("name", "")), protocol.get("settings")
    trainer = settings.get("trainer") if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or not isinstance(trainer, dict):
        return content
    params = {key: value for key, value in trainer.items() if key != "name"}
    shared = {key: params[key] for key in _SHARED if key in params}
    training = shared if len(shared) == len(_SHARED) else trainer
    rest = {key: value for key, value in settings.items() if key != "trainer"}
    name = str(trainer.get("name", ""))
    return {
        **content,
        "method": _method(chosen, name),
        "trainer": {"name": name, "params": params},
        "protocol": _moved(protocol, {"training": training, **rest}),
    }


def _moved(protocol: Mapping[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    hashed = {key: value for key, value in settings.items() if key != "n_val"}
    text = canonical_json({"version": protocol.get("version"), **hashed})
    digest = hashlib.sha256(text.encode()).hexdigest()
    name, before = str(protocol.get("id", "")), str(protocol.get("sha256", ""))[:6]
    if before and name.endswith(f"-{before}"):  # a protocol that is named by its hash
        name = f"{name[: -len(before)]}{digest[:6]}"
    return {**protocol, "settings": settings, "sha256": digest, "id": name}


def _method(selector: str, trainer: str) -> str:
    if trainer == _STANDARD:
        return selector
    return trainer if selector == "none" else f"{selector}+{trainer}"
