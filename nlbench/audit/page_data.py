"""What the page's script reads: pictures, suspects and problems as plain data; no markup."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nlbench.audit.findings import KINDS, Findings, PictureProblem, Suspect
from nlbench.audit.samples import Samples
from nlbench.audit.shown_text import shown
from nlbench.files import readable

LARGE, SMALL = 128, 80
"""Longest sides of the pictures to decide about, and of neighbours, in pixels."""
MOST_NEIGHBOURS = 4
MOST_OF_A_GROUP = 24
"""Of a group of a thousand copies a few are enough to decide."""


class Places:
    """The pictures on the page, each once, in the order in which it first appears."""

    def __init__(self) -> None:
        self.of: dict[int, int] = {}
        self.sides: dict[int, int] = {}

    def add(self, row: int, side: int) -> int:
        """Return the place of a row's picture."""
        self.sides[row] = max(side, self.sides.get(row, 0))
        return self.of.setdefault(row, len(self.of))

    def add_all(self, rows: Sequence[int], side: int) -> list[int]:
        """Return the places of several pictures."""
        return [self.add(row, side) for row in rows]


class Words:
    """Texts that occur often, each once."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def add(self, text: str) -> int:
        """Return the number of a text."""
        return self.of.setdefault(text, len(self.of))


def problems_on_page(findings: Findings, most: int) -> list[PictureProblem]:
    """Return the problems by kind, in the order of `KINDS`, as many of each as there is room for.

    Args:
        findings: All that was found.
        most: Number of pictures, at which no kind may be left out for another.
    """
    by_kind: dict[str, list[PictureProblem]] = {kind: [] for kind in KINDS}
    for problem in findings.problems:
        by_kind.setdefault(problem.kind, []).append(problem)
    taken: dict[str, list[PictureProblem]] = {kind: [] for kind in by_kind}
    room = most
    for turn in range(max(map(len, by_kind.values()), default=0)):
        for kind, problems in by_kind.items():
            if turn < len(problems) and room > 0:
                taken[kind].append(problems[turn])
                room -= min(len(problems[turn].rows), MOST_OF_A_GROUP)
    return [problem for problems in taken.values() for problem in problems]


def data_of(
    samples: Samples, findings: Findings, most: int, folder: Path
) -> tuple[dict[str, Any], Mapping[int, int]]:
    """Return the data of the gallery, and row -> longest side of each picture, in page order.

    Args:
        samples: What was judged.
        findings: What was found.
        most: Number of suspects, and of pictures with problems.
        folder: Where the page will be, for links to the images.
    """
    places, reasons, names = Places(), Words(), Words()
    suspects = [_suspect(one, places, reasons, names) for one in findings.suspects[: max(0, most)]]
    problems = [_problem(one, places) for one in problems_on_page(findings, most)]
    rows = list(places.of)
    parts = Words()
    part_of = [parts.add(str(samples.parts[row])) if len(samples.parts) else 0 for row in rows]
    data = {
        "fingerprint": samples.fingerprint,
        "classes": [readable(name) for name in samples.class_names],
        "classesShown": [shown(name) for name in samples.class_names],
        "names": [readable(samples.names[row]) for row in rows],
        "given": [int(samples.labels[row]) for row in rows],
        "part": part_of,
        "parts": [shown(part) for part in parts.of],
        "selectors": [shown(name) for name in names.of],
        "reasons": [shown(text) for text in reasons.of],
        "suspects": suspects,
        "problems": problems,
        "total": len(findings.suspects),
        "totals": Counter(problem.kind for problem in findings.problems),
        "kinds": {problem[0]: title_of(problem[0]) for problem in problems},
        **_links(samples, rows, folder),
    }
    data["shown"] = {i: shown(t) for i, t in enumerate(data["names"]) if shown(t) != t}
    return data, {row: places.sides[row] for row in rows}


def title_of(kind: str) -> str:
    """Return what a kind of problem is called."""
    return KINDS.get(kind, shown(kind))


def _suspect(one: Suspect, places: Places, reasons: Words, names: Words) -> list[Any]:
    return [
        places.add(one.row, LARGE),
        one.given,
        one.suggested,
        one.score if math.isfinite(one.score) else None,
        [names.add(name) for name in one.dropped_by],
        [reasons.add(text) for text in one.reasons],
        places.add_all(one.like_given[:MOST_NEIGHBOURS], SMALL),
        places.add_all(one.like_suggested[:MOST_NEIGHBOURS], SMALL),
    ]


def _problem(one: PictureProblem, places: Places) -> list[Any]:
    rows = one.rows[:MOST_OF_A_GROUP]
    return [
        one.kind,
        places.add_all(rows, LARGE),
        shown(one.detail),
        list(one.labels),
        len(one.rows) - len(rows),
    ]


def _links(samples: Samples, rows: Sequence[int], folder: Path) -> dict[str, Any]:
    """Return where the images are as seen from the page; `hrefs` where the name does not tell."""
    if samples.root is None or not len(samples.files):
        return {"base": None, "hrefs": {}}
    base = os.path.relpath(samples.root.absolute(), folder.absolute())
    hrefs = {}
    for place, row in enumerate(rows):
        href = _encoded(samples.files[row])
        if href != _encoded(readable(samples.names[row])):
            hrefs[place] = href
    # A first part with a colon would be taken for a scheme.
    return {"base": f"./{_encoded(base)}/", "hrefs": hrefs}


def _encoded(path: str) -> str:
    """Return a path as part of an address, as JavaScript's encodeURIComponent writes its parts."""
    return quote(os.fsencode(path), safe="/!'()*~")
