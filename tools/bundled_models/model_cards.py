"""Rewrite the machine-made sections of a model card and leave the written text alone."""

from __future__ import annotations

from pathlib import Path


def replace_section(card: Path, name: str, body: str) -> None:
    """Puts `body` between the markers `<!-- name -->` and `<!-- /name -->` of a card.

    Raises:
        ValueError: If the card has no such markers.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = card.read_text(encoding="utf-8") if card.exists() else f"{start}\n{end}\n"
    if start not in text or end not in text:
        raise ValueError(f"{card.name} must hold the markers `{start}` and `{end}`")
    before, rest = text.split(start, 1)
    after = rest.split(end, 1)[1]
    card.write_text(f"{before}{start}\n{body}\n{end}{after}", encoding="utf-8")
