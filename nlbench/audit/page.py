"""The findings as one HTML page that needs nothing else, rendered from `templates/`."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from itertools import islice
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nlbench.audit import page_summary as summary
from nlbench.audit.findings import Findings
from nlbench.audit.page_data import data_of
from nlbench.audit.samples import Samples
from nlbench.audit.shown_text import json_text, percent, shown, thousands
from nlbench.audit.thumbnails import Report, thumbnails
from nlbench.errors import ConfigError
from nlbench.files import write_atomic

SCRIPTS = (
    "data.js",
    "fixes.js",
    "decisions.js",
    "cards.js",
    "gallery.js",
    "filters.js",
    "start.js",
)
"""In the order in which they run, as one."""
CHUNK = 96
"""Pictures in a piece of the page's data: about a tenth of a second to read on a phone."""


def write_page(
    path: Path,
    samples: Samples,
    findings: Findings,
    *,
    command: str = "",
    most_pictures: int = 5000,
    report: Report | None = None,
) -> Path:
    """Write the page: summary, gallery of suspects and problems, decisions about them.

    Everything is in the file, and it loads nothing: a policy in its head forbids any request and
    any script but its own, so that even a hole in the escaping could not be used.

    Args:
        path: The HTML file; one that exists is replaced.
        samples: What was judged.
        findings: What was found.
        command: The command that was typed; shown, and its source is in the one that applies.
        most_pictures: Most suspects on the page, and most pictures with problems.
        report: Is told how many small pictures of how many are made.

    Returns:
        The file.

    Raises:
        ConfigError: if `most_pictures` is negative.
        OSError: if the file cannot be written.
    """
    if most_pictures < 0:
        raise ConfigError(
            f"most_pictures must be at least 0, got {most_pictures}. Leave it out for 5000."
        )
    data, sides = data_of(samples, findings, most_pictures, path.parent)
    made = thumbnails(samples, dict(sides), report)
    data["chunk"] = CHUNK
    data["hasPictures"] = samples.images is not None or samples.root is not None
    data["unseen"] = sum(row not in made for row in sides) if data["hasPictures"] else 0
    script = "\n".join(asset(name) for name in SCRIPTS)
    style = asset("page.css")
    page = environment().get_template("page.html.j2").render(
        samples=samples,
        findings=findings,
        data=data,
        command=command,
        class_names=tuple(map(shown, samples.class_names)),
        # The texts are ours or escaped as JSON; everything else on the page is escaped.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=_source_of(script),
        style_hash=_source_of(style),
        json=Markup(json_text(data)),  # noqa: S704
        chunks=[Markup(json_text(chunk)) for chunk in _chunks(sides, made)],  # noqa: S704
    )  # fmt: skip
    write_atomic(path, page)
    return path


def _source_of(text: str) -> str:
    """Return what a content security policy calls a script or style with this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _chunks(rows: Iterable[int], made: Mapping[int, bytes]) -> Iterator[list[str]]:
    texts = (base64.b64encode(made.get(row, b"")).decode() for row in rows)
    while chunk := list(islice(texts, CHUNK)):
        yield chunk


def environment() -> Environment:
    """Return what the templates are rendered with; everything is escaped."""
    found = Environment(
        loader=PackageLoader("nlbench.audit", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(shown=shown, thousands=thousands, percent=percent)
    found.globals.update(
        answer=summary.answer,
        facts_of=summary.facts,
        notes_of=summary.notes,
        classes_of=summary.classes_by_suspects,
        bar_scale=summary.bar_scale,
        interval_text=summary.interval_text,
        matrix_of=summary.matrix_of,
        top_pairs=summary.top_pairs,
        problem_counts=summary.problem_counts,
        apply_command=summary.apply_command,
        percent_of=lambda share: percent(share.value),
    )
    return found


def asset(name: str) -> str:
    """Return the text of a style or script in `templates/`, without the comments' lines."""
    text = (files("nlbench.audit") / "templates" / name).read_text(encoding="utf-8")
    return re.sub(r"^\s*//.*\n", "", text, flags=re.MULTILINE).strip()
