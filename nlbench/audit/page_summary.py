"""The head of the page: sentences, classes and pairs, worked out for the templates; no markup."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nlbench.audit.findings import ClassFinding, Findings, PairFinding, Share
from nlbench.audit.page_data import title_of
from nlbench.audit.samples import Samples
from nlbench.audit.shown_text import percent, shown, thousands

MATRIX_CLASSES = 12
"""Up to so many classes, all pairs are one picture that fits a phone."""
MOST_PAIRS = 60
MOST_NAMES = 20
STEPS = 5
"""Shades of the cells of the matrix."""


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix: how many, and how dark, from 0 to `STEPS`."""

    n: int
    step: int


@dataclass(frozen=True)
class Note:
    """Something to know about the data: what, and the names that it concerns."""

    text: str
    names: tuple[str, ...] = ()
    is_warning: bool = False


def answer(samples: Samples, findings: Findings) -> str:
    """Return the findings in a sentence."""
    n, n_suspects = len(samples) - len(findings.not_judged), len(findings.suspects)
    suspected = {0: "none is suspected", 1: "1 is suspected"}.get(
        n_suspects, f"{thousands(n_suspects)} are suspected"
    )
    if n == 0:
        return "No label could be judged: every class has too few images."
    judged = "judged labels" if findings.not_judged else "labels"
    if findings.wrong is None:
        return f"The share of wrong labels is unknown; of {thousands(n)} {judged}, {suspected}."
    share = interval_text(findings.wrong)
    return f"About {share} of the {thousands(n)} {judged} are wrong; {suspected}."


def interval_text(share: Share) -> str:
    """Return a share with its interval.

    >>> interval_text(Share(0.09, 0.086, 0.094))
    '9.0\u00a0% (8.6–9.4)'
    """
    low, high = (percent(end, like=share.value) for end in (share.low, share.high))
    return f"{percent(share.value)}\u00a0% ({low}–{high})"


def facts(samples: Samples, findings: Findings) -> list[str]:
    """Return what judged, and what it took."""
    found = [f"{thousands(len(samples))} images in {thousands(samples.n_classes)} classes"]
    if any(samples.parts):
        counts = Counter(samples.parts)
        found.append(", ".join(f"{shown(p)} {thousands(n)}" for p, n in counts.items()))
    if findings.encoder:
        found.append(f"encoder {shown(findings.encoder)}")
    if findings.selectors:
        word = "selector" if len(findings.selectors) == 1 else "selectors"
        found.append(f"{word} {', '.join(map(shown, findings.selectors))}")
    if findings.agreement is not None:
        found.append(f"they agree on {percent(findings.agreement)}\u00a0%")
    if findings.seconds:
        times = (f"{shown(stage)} {value:.3g}\u00a0s" for stage, value in findings.seconds.items())
        found.append(", ".join(times))
    return found


def notes(samples: Samples, findings: Findings) -> list[Note]:
    """Return what makes the answer doubtful or incomplete, the most important first."""
    found = [Note(shown(text), is_warning=True) for text in samples.warnings]
    if samples.unreadable:
        n = len(samples.unreadable)
        text = f"{thousands(n)} {'file' if n == 1 else 'files'} could not be decoded"
        found.append(Note(text, _some(samples.unreadable, n), is_warning=True))
    if findings.not_judged:
        found.append(_not_judged(samples, findings))
    for reason, (n, names) in samples.passed_over.items():
        found.append(Note(f"{thousands(n)} passed over: {shown(reason)}", _some(names, n)))
    return found


def _not_judged(samples: Samples, findings: Findings) -> Note:
    counts = Counter(int(samples.labels[row]) for row in findings.not_judged)
    images = "1 image" if len(findings.not_judged) == 1 else (
        f"{thousands(len(findings.not_judged))} images"
    )  # fmt: skip
    classes = "1 class that is" if len(counts) == 1 else f"{len(counts)} classes that are"
    lines = [f"{samples.class_names[k]} ({n})" for k, n in sorted(counts.items())]
    verb = "was" if len(findings.not_judged) == 1 else "were"
    text = f"{images} of {classes} too small to be judged {verb} left out"
    return Note(text, _some(lines, len(lines)))


def _some(names: Sequence[str], n: int) -> tuple[str, ...]:
    some = tuple(map(shown, names[:MOST_NAMES]))
    return (*some, f"and {thousands(n - len(some))} more") if n > len(some) else some


def classes_by_suspects(findings: Findings) -> list[ClassFinding]:
    """Return the classes, those with the most wrong or suspected labels first."""

    def badness(one: ClassFinding) -> tuple[float, int, int]:
        return -one.wrong.value if one.wrong else 1.0, -one.n_suspected, one.label

    return sorted(findings.classes, key=badness)


def bar_scale(findings: Findings) -> float:
    """Return the share at the right end of the bars: the largest end of an interval."""
    return max((one.wrong.high for one in findings.classes if one.wrong), default=1.0) or 1.0


def matrix_of(findings: Findings, n_classes: int) -> list[list[Cell]] | None:
    """Return (K, K) cells, row = given, column = suggested; None with too many classes."""
    if n_classes > MATRIX_CLASSES:
        return None
    counts = {(pair.given, pair.suggested): pair.n for pair in findings.pairs}
    most = max(counts.values(), default=0) or 1
    return [
        [_cell(counts.get((i, j), 0), most) for j in range(n_classes)] for i in range(n_classes)
    ]


def _cell(n: int, most: int) -> Cell:
    return Cell(n, -(-n * STEPS // most))


def top_pairs(findings: Findings) -> Sequence[PairFinding]:
    """Return the most frequent pairs."""
    return findings.pairs[:MOST_PAIRS]


def problem_counts(findings: Findings) -> list[tuple[str, str, int]]:
    """Return kind, title and number of the problems of pictures, in the order of the page."""
    counts = Counter(problem.kind for problem in findings.problems)
    return [(kind, title_of(kind), n) for kind, n in counts.items()]


def apply_command(samples: Samples, command: str) -> str:
    """Return the command that carries decisions out.

    >>> apply_command(None, "nlbench clean 'my photos' --selector knn")
    "nlbench clean 'my photos' --apply fixes.csv --out cleaned/"
    """
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if words[:2] == ["nlbench", "clean"] and len(words) > 2 and not words[2].startswith("-"):
        source = words[2]
    else:
        source = str(samples.root) if samples.root is not None else samples.name
    return f"nlbench clean {shlex.quote(source)} --apply fixes.csv --out cleaned/"
