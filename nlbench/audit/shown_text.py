"""Names, numbers and data as the page has them: nothing in them is markup or hidden."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

# They reorder their surroundings or cannot be seen, so that two names look the same. The
# zero-width joiners stay: emoji and several scripts need them.
_INVISIBLE = frozenset("\u00ad\u061c\u200b\u200e\u200f\u2028\u2029\ufeff") | frozenset(
    chr(code) for start, end in ((0x202A, 0x202F), (0x2060, 0x2070)) for code in range(start, end)
)
# With these a spreadsheet begins a formula; the wide ones in some languages. An apostrophe too:
# it is what they are disarmed with, and must come back as it was.
_FORMULA = re.compile("^[=+\\-@\t\r\n'\uff1d\uff0b\uff0d\uff20]")


def shown(text: str) -> str:
    r"""Return a name on one line; what has no picture of its own is written as an escape.

    >>> print(shown("two\nlines"), shown("evil\u202etxt.exe"), shown("half \ud83d"))
    two\nlines evil\u202etxt.exe half \ud83d
    """
    if text.isprintable() and _INVISIBLE.isdisjoint(text):
        return text
    return "".join(_escape(c) if _is_hidden(c) else c for c in text)


def _is_hidden(character: str) -> bool:
    return character in _INVISIBLE or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def cell_of(text: str) -> str:
    """Return a text as a cell that no spreadsheet runs; `text_of` gives it back exactly.

    >>> cell_of("=cmd()"), cell_of("cat.png"), cell_of("'quoted'")
    ("'=cmd()", 'cat.png', "''quoted'")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def text_of(cell: str) -> str:
    """Return the text that `cell_of`, or the page's fixes.csv, made a cell of.

    >>> text_of("'=cmd()"), text_of("cat.png"), text_of("''quoted'")
    ('=cmd()', 'cat.png', "'quoted'")
    """
    return cell.removeprefix("'")


def thousands(value: int) -> str:
    """Return a count with a narrow no-break space between thousands.

    >>> thousands(50000).split("\u202f")
    ['50', '000']
    """
    return f"{value:,}".replace(",", "\u202f")


def percent(value: float, like: float | None = None) -> str:
    """Return a share in percent: one decimal, two below 1 %, as many as those of `like`.

    >>> percent(0.09), percent(0.004), percent(0.0861, like=0.004)
    ('9.0', '0.40', '8.61')
    """
    measure = value if like is None else like
    return f"{100 * value:.{2 if 0 < measure < 0.01 else 1}f}"


def json_text(value: Any) -> str:
    """Return JSON that can stand inside a script element of a page.

    >>> json_text(["</script>", "é"])
    '["\\\\u003c/script>","\\\\u00e9"]'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
