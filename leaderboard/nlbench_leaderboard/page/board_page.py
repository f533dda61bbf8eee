"""The leaderboard as one self-contained HTML page, rendered from `templates/`."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nlbench.contribution import InstalledFacts
from nlbench_leaderboard.escape import clean, clean_lines, shorten
from nlbench_leaderboard.figures import intervals as plot
from nlbench_leaderboard.figures.scale import tick_text
from nlbench_leaderboard.formats import cells, markdown
from nlbench_leaderboard.formats import numbers as printed
from nlbench_leaderboard.formats.headline import headline, rule_line
from nlbench_leaderboard.formats.warnings import disagreement_lines
from nlbench_leaderboard.page.about import about_of
from nlbench_leaderboard.page.claims import Claims, claims_of, shared_claims
from nlbench_leaderboard.page.contents import contents_of
from nlbench_leaderboard.page.views import knowledge_word, views_of
from nlbench_leaderboard.ranking.across import Across
from nlbench_leaderboard.ranking.board import AGAINST_NOISY_LABELS, Board, Row, RunPlace
from nlbench_leaderboard.ranking.matrix import matrices_of
from nlbench_leaderboard.sources.reported import HEADING, reported_for
from nlbench_leaderboard.sources.run_files import RunFiles

_ABOUT_LINKS = (
    ("add-yours", "Add yours"),
    ("reproduce", "Reproduce"),
    ("cite", "Cite"),
    ("papers", "Papers"),
    ("data", "Data"),
    ("code", "Code"),
)


def to_html(
    boards: Sequence[Board],
    problems: Sequence[str] = (),
    across: Sequence[Across] = (),
    beside: Sequence[str] = (),
    run_pages: Mapping[RunPlace, str] | None = None,
    facts: InstalledFacts | None = None,
    files: RunFiles | None = None,
) -> str:
    """Return the page; everything it needs is inside, and it loads nothing.

    It links to the files of the formats that are written `beside` it, and to the `run_pages`, which
    are named by board, row and position in the row. `facts` are what installed components say of
    themselves: papers and licences; `files` tell which runs were contributed.

    The policy in its head forbids any request and any script but its own, so that even a hole in
    the escaping could not be used.
    """
    known = files or RunFiles()

    by_row: dict[int, Claims] = {}

    def claims(row: Row) -> Claims:
        if id(row) not in by_row:
            by_row[id(row)] = claims_of((run.record for run in row.runs), known)
        return by_row[id(row)]

    script = f"{asset('tables.js')}\n{asset('copy.js')}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            boards=boards,
            by_id={board.id: board for board in boards},
            problems=problems,
            across=across,
            matrices=matrices_of(boards, across),
            beside=beside,
            run_pages=run_pages or {},
            # The texts are ours and are not escaped; everything else on the page is.
            style=Markup(asset("style.css")),  # noqa: S704
            script=Markup(script),  # noqa: S704
            script_hash=digest,
            views=views_of(boards, across),
            latest=_latest(boards),
            about=about_of(boards, facts or InstalledFacts({}, {}, {})),
            about_links=_ABOUT_LINKS,
            contents=contents_of(boards),
            claims=claims,
            shared_claims=lambda rows: shared_claims([claims(row) for row in rows if row.accuracy]),
            next_command=printed.NEXT_COMMAND,
        )
    )


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Return nested settings as lines of dotted name and value.

    >>> list(flatten({"optimiser": {"name": "sgd", "lr": 0.1}}))
    [('optimiser.name', 'sgd'), ('optimiser.lr', '0.1')]
    >>> list(flatten({"input_size": None}))
    [('input_size', '–')]
    """
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "–" if value is None else str(value)


def environment() -> Environment:
    """Return what the templates of all pages are rendered with; everything is escaped."""
    environment = Environment(
        loader=PackageLoader("nlbench_leaderboard", "page/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_controls,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clean=clean,
        clean_lines=clean_lines,
        shorten=shorten,
        percent=printed.percent,
        points=printed.points,
        p_value=printed.p_value,
        seconds=seconds,
        flatten=flatten,
        knowledge_word=knowledge_word,
        thousands=thousands,
    )
    environment.globals.update(
        axis_of=plot.axis_of,
        tick_text=tick_text,
        describe=plot.describe,
        plot_width=plot.WIDTH,
        headline=headline,
        rule_line=rule_line,
        interval_text=printed.interval_text,
        versus_best_text=printed.versus_best_text,
        versus_none_text=printed.versus_none_text,
        cell_of=cells.cell_of,
        heading_of=cells.heading_of,
        overall_text=cells.overall_text,
        pairs_shown=markdown.pairs_shown,
        pairs_caption=markdown.pairs_caption,
        disagreement_lines=disagreement_lines,
        against_noisy_labels=AGAINST_NOISY_LABELS,
        across_summary=markdown.summary,
        group_lines=markdown.group_lines,
        reported_for=reported_for,
        reported_heading=HEADING,
    )
    return environment


def seconds(value: float | None) -> str:
    """Return a time or size with two decimals below 10, one below 100, else none.

    >>> seconds(3.14159), seconds(31.4159), seconds(1234.5), seconds(0.001)
    ('3.14', '31.4', '1234', '<0.01')
    """
    if value is None:
        return "–"
    if 0 < value < 0.01:
        return "<0.01"
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def thousands(value: int) -> str:
    """Return a count with a narrow no-break space between thousands.

    >>> thousands(50000).split("\u202f")
    ['50', '000']
    """
    return f"{value:,}".replace(",", "\u202f")


def _without_controls(value: Any) -> Any:
    """Clean whatever a template prints, so that no template can forget to."""
    return (
        clean_lines(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
    )


def _latest(boards: Sequence[Board]) -> str:
    """Return the time of the newest run, ``2026-01-31 12:00``, or "" where no run has one."""
    runs = [run.record for board in boards for row in board.rows for run in row.runs]
    times = [r.finished_at for r in runs if re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", r.finished_at)]
    return max(times, default="")[:16].replace("T", " ")


def asset(name: str) -> str:
    """Return the text of a style or script in `templates/`."""
    return (
        (files("nlbench_leaderboard.page") / "templates" / name).read_text(encoding="utf-8").strip()
    )
