"""Around a call of a plugin: what it changed is put back, and said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from nlbench.surroundings.patches import shared_names, undo
from nlbench.surroundings.process import ENVIRONMENT, PROCESS
from nlbench.surroundings.setting import Setting
from nlbench.surroundings.switches import SWITCHES

log = logging.getLogger("nlbench")


def _what_differs(name: str, before: Any, now: Any) -> str:
    if name != ENVIRONMENT:
        return name
    keys = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    return f"{name} ({', '.join(map(str, keys[:5]))}{', ...' if len(keys) > 5 else ''})"


def _put_back(settings: tuple[Setting, ...], before: list[Any]) -> list[str]:
    """Put back what has changed; return the names of what is worth a word."""
    changed = []
    for setting, value in zip(settings, before, strict=True):
        now = setting.read()
        if now != value:
            setting.put_back(value)
            if not setting.is_silent:
                changed.append(_what_differs(setting.name, value, now))
    return changed


@contextmanager
def watched(patches: bool = True) -> Iterator[list[str]]:
    """Put back, at the end, all that changed inside.

    Args:
        patches: Whether to look for replaced functions, which takes some milliseconds.

    Yields:
        What changed, by name, filled in at the end.
    """
    settings = (*SWITCHES, *PROCESS)
    changed: list[str] = []
    before, names = [setting.read() for setting in settings], shared_names() if patches else []
    try:
        yield changed
    finally:
        changed += _put_back(settings, before)
        changed += undo(names)


_notes: ContextVar[list[str] | None] = ContextVar("notes", default=None)


@contextmanager
def noting() -> Iterator[list[str]]:
    """Collect what `kept` says inside, for a record."""
    notes: list[str] = []
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


@contextmanager
def kept(who: str, patches: bool = True) -> Iterator[None]:
    """Call a plugin inside: what it changes of its surroundings is put back, and said.

    Args:
        who: As `registry.plugin_name` calls it; nothing is looked at where it is "".
        patches: Whether to look for replaced functions, which takes some milliseconds.
    """
    if not who:
        yield
        return
    changed: list[str] = []
    try:
        with watched(patches) as changed:
            yield
    finally:
        _say(who, changed)


def switches_before() -> list[Any]:
    """Return torch's switches, for `keep_switches`."""
    return [switch.read() for switch in SWITCHES]


def keep_switches(who: str, before: list[Any]) -> None:
    """Put torch's switches back and say who changed them: the little that every step can afford."""
    if switches_before() != before:
        _say(who, _put_back(SWITCHES, before))


def _say(who: str, changed: list[str]) -> None:
    if not changed:
        return
    more = f" and {len(changed) - 8} more" if len(changed) > 8 else ""
    text = f"{who} changed {', '.join(changed[:8])}{more}: put back, so that no other run feels it."
    notes = _notes.get()
    if notes is None or text not in notes:
        log.warning("%s", text)
    if notes is not None and text not in notes:
        notes.append(text)
