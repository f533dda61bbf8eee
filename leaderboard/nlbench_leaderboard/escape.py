"""Text from users and plugins, made safe to show: one function per output format.

A selector's name, a class name or an error message may hold anything. It is shown as what it is
and never becomes markup, a formula, a terminal escape or a reordering of the text beside it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

# Bidirectional controls reorder their surroundings; zero-width characters make two names look
# the same. The zero-width joiners stay: emoji and several scripts need them.
_INVISIBLE = re.compile("[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
# Quotes and < > are other characters, or ligatures, in the old font encoding; a [ or * that begins
# a line of a table is read as an argument of the line break before it, and stops the compiler.
_LATEX = {
    **{c: f"{{{c}}}" for c in "[]*-?!"},
    **{c: f"\\{c}" for c in "#$%&_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "`": r"\char96{}",
    "'": r"\char39{}",
    "\u2026": r"\ldots{}",
    "\u00a0": "~",
    "\u00b7": r"$\cdot$",
}
_MARKDOWN = re.compile(r"([\\`*_\[\]{}<>|~#$&])")


def clean(text: str) -> str:
    """Return the text on one line, without control characters.

    >>> clean("two\\nlines\\x1b[31m")
    'two lines[31m'
    """
    return " ".join(clean_lines(text).split())


def clean_lines(text: str) -> str:
    """Return the text without control characters, its line breaks kept."""
    if text.isprintable():  # nothing below would change it, and nearly every text is
        return text
    kept = []
    for character in _INVISIBLE.sub("", text):
        category = unicodedata.category(character)
        if character in "\n\t" or category in ("Zl", "Zp"):
            kept.append("\n" if category in ("Zl", "Zp") else character)
        elif category == "Cs":  # half a surrogate pair cannot be written as UTF-8
            kept.append("\ufffd")
        elif category != "Cc":
            kept.append(character)
    return "".join(kept)


def shorten(text: str, length: int) -> str:
    """Return the cleaned text, cut to a length with an ellipsis.

    >>> shorten("a very long name", 8)
    'a very …'
    """
    line = clean(text)
    return line if len(line) <= length else line[: length - 1] + "…"


def markdown(text: str) -> str:
    """Return the cleaned text with everything escaped that Markdown or a table would read.

    >>> print(markdown("a|b <i>"))
    a\\|b \\<i\\>
    """
    # "://" is broken up as well: most renderers turn a bare address into a link.
    return _MARKDOWN.sub(r"\\\1", clean(text)).replace("://", "&#58;//").replace("@", "&#64;")


def latex(text: str) -> str:
    """Return the cleaned text as LaTeX prints it literally; beyond Latin-1 by code point.

    >>> print(latex("50 % of a_b"))
    50 \\% of a\\_b
    """
    return "".join(_latex_character(character) for character in clean(text))


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    # pdflatex knows few characters beyond Latin-1 and stops at the others.
    is_latin = character.isprintable() and ord(character) < 256
    return character if is_latin else rf"\texttt{{U+{ord(character):04X}}}"


def csv_text(text: str) -> str:
    """Return the cleaned text, neutralised where a spreadsheet would run it as a formula.

    >>> csv_text("=cmd()")
    "'=cmd()"
    """
    # The raw text is looked at too: a leading tab or line break is dropped by cleaning.
    line = clean(text)
    risky = line.startswith(("=", "+", "-", "@")) or text.startswith(("\t", "\r", "\n"))
    return f"'{line}" if risky else line


def json_safe(value: Any) -> Any:
    """Return a value that `json.dumps(allow_nan=False)` takes: NaN and infinity become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): json_safe(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(v) for v in value]
    return value if value is None or isinstance(value, (str, int)) else str(value)
