"""An audit on the terminal: a few sentences, the worst labels, the pairs, the classes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from nlbench.cli.console import printable

if TYPE_CHECKING:
    from nlbench.audit.audit import Audit
    from nlbench.audit.findings import Share

_SHOWN = 3
_MOST_CLASSES = 20


def summary_lines(audit: Audit) -> list[str]:
    """Return what comes first: how many labels are wrong, and what else was seen."""
    from nlbench.audit.findings import KINDS
    from nlbench.audit.judging import agreement

    samples, n = audit.samples, len(audit.rows)
    features = f"features of {audit.encoder}" if audit.encoder else "the given features"
    lines = [
        f"{n} of {len(samples)} labels of {samples.name} judged by "
        f"{', '.join(v.name for v in audit.verdicts)}, by {features}.",
        f"About {_range(audit.noise_rate)} of them are wrong; {len(audit.suspects)} are suspected.",
    ]
    alike = agreement(audit.verdicts)
    if alike is not None:
        lines.append(f"The selectors agree on {alike:.1%}; suspected is what at least half drop.")
    if samples.unreadable:
        lines.append(_listed("files cannot be decoded", samples.unreadable))
    for what, (number, names) in samples.passed_over.items():
        lines.append(f"Passed over: {number} {what} ({', '.join(names[:_SHOWN])}, ...)")
    lines += samples.warnings
    seen = Counter(problem.kind for problem in audit.problems)
    lines += [f"{KINDS[kind]}: {count}" for kind, count in seen.items()]
    return lines


def _range(share: Share) -> str:
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"


def _listed(what: str, names: tuple[str, ...]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}"


def suspect_table(audit: Audit, most: int) -> Table:
    """Return the most suspicious labels, the worst first."""
    rows = audit.suspects.head(most)
    table = _table(f"The {len(rows)} most suspicious labels of {len(audit.suspects)}")
    for title in ("file", "given", "suggested"):
        table.add_column(title, overflow="fold")
    table.add_column("score", justify="right")
    for row in rows.itertuples():
        cells = (row.file, row.given, row.suggested, f"{row.score:.3g}")
        table.add_row(*(Text(printable(str(cell))) for cell in cells))
    return table


def pair_table(audit: Audit, most: int) -> Table:
    """Return the pairs of classes that are taken for each other most often."""
    table = _table("Most frequent among the suspects")
    table.add_column("given")
    table.add_column("suggested")
    table.add_column("n", justify="right")
    for row in audit.pairs.head(most).itertuples():
        table.add_row(*(Text(printable(str(c))) for c in (row.given, row.suggested, row.n)))
    return table


def class_table(audit: Audit) -> Table:
    """Return every class (with many, those with the largest share) and its wrong labels."""
    classes = audit.classes
    title = "Classes"
    if len(classes) > _MOST_CLASSES:
        title = f"The {_MOST_CLASSES} of {len(classes)} classes with the most wrong labels"
        worst = sorted(classes, key=lambda c: -(c.wrong.value if c.wrong else -1))
        classes = tuple(worst[:_MOST_CLASSES])
    table = _table(title)
    table.add_column("class")
    for heading in ("images", "suspected", "about wrong"):
        table.add_column(heading, justify="right")
    for found in classes:
        wrong = _range(found.wrong) if found.wrong else "too small to judge"
        name = audit.samples.class_names[found.label]
        cells = (name, str(found.n), str(found.n_suspected), wrong)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _table(title: str) -> Table:
    """Return a table whose title does not break where the columns are narrow."""
    table = Table(title_justify="left", box=None, pad_edge=False, min_width=len(title))
    table.title = Text(title, style="bold")
    return table
