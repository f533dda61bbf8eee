"""A page per run: its configuration, its results, and its mistakes."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jinja2 import Environment, Template
from markupsafe import Markup

from nlbench.results.record import RunRecord
from nlbench_leaderboard.figures import run_pictures as drawn
from nlbench_leaderboard.formats.numbers import percent
from nlbench_leaderboard.page import mistakes
from nlbench_leaderboard.page.board_page import asset, environment, seconds
from nlbench_leaderboard.page.claims import Claims, claims_of
from nlbench_leaderboard.ranking.board import (
    AGAINST_NOISY_LABELS,
    COLUMNS,
    Board,
    Column,
    Row,
    RunPlace,
    SeedRun,
)
from nlbench_leaderboard.sources.run_files import Beside, RunFiles

FOLDER = "runs"


def page_names(boards: Sequence[Board]) -> dict[RunPlace, str]:
    """Return the name of each run's page, without ``.html``.

    The name is the start of the fingerprint. Several records may share it (a run that was repeated
    elsewhere, a malformed fingerprint): the later ones get a number.
    """
    names: dict[RunPlace, str] = {}
    taken: set[str] = set()
    for place, _, _, run in _all(boards):
        plain = _plain_name(run.record.fingerprint)
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        names[place] = name
    return names


def run_pages(boards: Sequence[Board], files: RunFiles) -> Iterator[tuple[str, str]]:
    """Return name and text of every run's page, one by one: together they may be large."""
    names, shared = page_names(boards), _Shared()
    for place, board, row, run in _all(boards):
        claims = claims_of([run.record], files)
        view = RunView(board, row, run, files.of(run.record), claims)
        yield f"{FOLDER}/{names[place]}.html", shared.render(view, names[place])


@dataclass(frozen=True)
class RunView:
    """One run as its page shows it."""

    board: Board
    row: Row
    run: SeedRun
    beside: Beside
    claims: Claims

    @property
    def record(self) -> RunRecord:
        """The run's record."""
        return self.run.record

    @cached_property
    def class_names(self) -> list[str]:
        """K names; numbers where the record has none."""
        names = self.record.dataset.class_names
        n = self.record.dataset.n_classes
        return [names[i] if i < len(names) else str(i) for i in range(n)]

    def numbers(self, unit: str) -> list[tuple[str, str]]:
        """Return title and value of what was measured in this unit."""
        metrics = self.record.metrics
        if metrics is None:
            return []
        values = ((c, c.read(metrics, self.record.times)) for c in COLUMNS if c.unit == unit)
        return [(self._title(c), _number(c, v)) for c, v in values if v is not None]

    def _title(self, column: Column) -> str:
        if column.title.startswith("Test") and not self.record.dataset.test_labels_are_clean:
            return f"{column.title}, {AGAINST_NOISY_LABELS}"
        return column.title

    @cached_property
    def noise_matrix(self) -> Markup | None:
        """The transition matrix as a table; None where it is unknown or has too many classes."""
        values = self.record.noise.transition_matrix
        if not values or len(values) > mistakes.MAX_CLASSES:
            return None
        caption = "Noisy label (column) given the clean label (row), in percent of the row"
        return drawn.matrix(values, self.class_names, caption, as_percent=True)

    @cached_property
    def noise_pairs(self) -> list[tuple[str, str, float]]:
        """The most frequent flips where the matrix is too large: clean, noisy, share."""
        values = self.record.noise.transition_matrix
        names = self.class_names
        flips = [
            (share, i, j)
            for i, row in enumerate(values)
            for j, share in enumerate(row)
            if i != j and share > 0 and max(i, j) < len(names)
        ]
        largest = sorted(flips, key=lambda flip: (-flip[0], *flip[1:]))[: mistakes.N_PAIRS]
        return [(names[i], names[j], share) for share, i, j in largest]

    @cached_property
    def counts(self) -> Counted:
        """The mistakes in the decisions and predictions, as far as they are available."""
        evidence, k = self.beside.evidence, self.record.dataset.n_classes
        if evidence is None:
            return Counted()
        try:
            kept = mistakes.kept_pairs(evidence, k)
            predicted = mistakes.prediction_matrix(evidence, k)
        except ValueError as error:
            return Counted(problem=f"The samples beside this record do not match it: {error}.")
        confused = [] if predicted is None else mistakes.off_diagonal(predicted)
        table = None
        if predicted is not None and k <= mistakes.MAX_CLASSES:
            caption = "Predicted class (column) of the test images of each class (row), counted"
            table = drawn.matrix(predicted.tolist(), self.class_names, caption, as_percent=False)
        return Counted(kept, confused, predicted is not None, table)

    @property
    def worst_classes(self) -> list[mistakes.ClassResult]:
        """The classes, worst first."""
        return mistakes.worst_classes(self.record)

    @property
    def curves(self) -> list[drawn.Curve]:
        """The learning curves."""
        return drawn.learning_curves(self.record.curves)

    @property
    def histogram(self) -> Markup | None:
        """The scores of right and wrong labels."""
        return drawn.histogram(self.record.score_histogram)

    @property
    def environment(self) -> dict[str, Any]:
        """Where the run took place, without the name of the machine: pages are for everyone."""
        return {k: v for k, v in self.record.environment.items() if k != "machine"}

    @property
    def images(self) -> list[tuple[str, int, list[dict[str, Any]]]]:
        """Per group of the gallery its title, how many there are, and the images to show."""
        return [
            (
                group.title,
                group.n,
                [
                    {
                        "id": sample.id,
                        "noisy": self._name(sample.noisy_label),
                        "clean": None
                        if sample.clean_label is None
                        else self._name(sample.clean_label),
                        "score": f"{sample.score:.3g}",
                        "data": base64.b64encode(sample.png).decode(),
                    }
                    for sample in group.samples
                ],
            )
            for group in self.beside.gallery
        ]

    def _name(self, label: int) -> str:
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)


@dataclass(frozen=True)
class Counted:
    """Mistakes of the selection and of the network; None and False where they are unknown."""

    kept: list[mistakes.Pair] | None = None
    confused: list[mistakes.Pair] = field(default_factory=list)
    has_predictions: bool = False
    predicted: Markup | None = None
    problem: str = ""


class _Shared:
    """What all pages have in common, built once."""

    def __init__(self) -> None:
        made: Environment = environment()
        self._template: Template = made.get_template("run.html.j2")
        script = asset("copy.js")
        digest = hashlib.sha256(script.encode()).digest()
        self._same: Mapping[str, Any] = {
            # The texts are ours and are not escaped; everything else on the page is.
            "style": Markup(f"{asset('style.css')}\n{asset('run.css')}"),  # noqa: S704
            "script": Markup(script),  # noqa: S704
            "script_hash": base64.b64encode(digest).decode(),
            "n_pairs": mistakes.N_PAIRS,
        }

    def render(self, view: RunView, name: str) -> str:
        return self._template.render(self._same, view=view, page_name=name)


def _all(boards: Sequence[Board]) -> Iterator[tuple[RunPlace, Board, Row, SeedRun]]:
    for board in boards:
        for row in board.rows:
            for position, run in enumerate(row.runs):
                yield RunPlace(board.id, row.name, position), board, row, run


def _plain_name(fingerprint: str) -> str:
    # A record may come from anywhere, and its fingerprint becomes the name of a file.
    if re.fullmatch(r"[0-9a-f]{12,}", fingerprint):
        return fingerprint[:12]
    return hashlib.sha256(fingerprint.encode("utf-8", "backslashreplace")).hexdigest()[:12]


def _number(column: Column, value: float) -> str:
    if column.unit == "share":
        return f"{percent(value)} %"
    return f"{seconds(value)} {column.unit}"
