"""Decisions on single images, as a file that people and programs write: ``fixes.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nlbench.audit.samples import Samples
from nlbench.audit.shown_text import cell_of, text_of
from nlbench.audit.table_samples import read_table
from nlbench.errors import DataError, did_you_mean
from nlbench.files import write_atomic

KEEP, RELABEL, REMOVE = "keep", "relabel", "remove"
ACTIONS = (KEEP, RELABEL, REMOVE)
COLUMNS = ("file", "action", "label", "given")
_SHOWN = 3


@dataclass(frozen=True)
class Fix:
    """What becomes of one image.

    Attributes:
        file: Its name, as in `labels.csv`.
        action: "keep", "relabel" or "remove".
        label: The class that it is given; empty unless it is relabelled.
        given: The class that it bore when this was decided; empty where nobody noted it.
    """

    file: str
    action: str
    label: str = ""
    given: str = ""


@dataclass(frozen=True)
class Fixes:
    """Decisions, one per image."""

    every: tuple[Fix, ...]

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str, str, str]]) -> Fixes:
        """Return fixes of (file, action, label, given)."""
        return cls(tuple(Fix(*row) for row in rows))

    @classmethod
    def read(cls, path: str | Path) -> Fixes:
        """Read ``fixes.csv``: the columns file and action, and label where it relabels.

        Raises:
            DataError: if it cannot be read, or a row is not as above.
        """
        path = Path(path)
        rows = read_table(path)
        if not {"file", "action"} <= set(rows[0]):
            raise DataError(
                f"'{path}' must have the columns file, action and label, got "
                f"{', '.join(rows[0])}. The page of `nlbench clean` exports such a file."
            )
        fixes = [
            Fix(
                text_of(row["file"]),
                row["action"].strip().lower(),
                text_of(row.get("label", "")),
                text_of(row.get("given", "")),
            )
            for row in rows
        ]
        _check_rows(path, fixes)
        return cls(tuple(fixes))

    def write(self, path: str | Path) -> Path:
        """Write ``fixes.csv``, whole or not at all; a cell like a formula gets an apostrophe."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(
            (cell_of(fix.file), fix.action, cell_of(fix.label), cell_of(fix.given))
            for fix in self.every
        )
        write_atomic(Path(path), text.getvalue())
        return Path(path)

    def __len__(self) -> int:
        return len(self.every)

    def __iter__(self) -> Iterator[Fix]:
        return iter(self.every)


def _check_rows(path: Path, fixes: Sequence[Fix]) -> None:
    seen: set[str] = set()
    for row, fix in enumerate(fixes, start=2):
        problem = ""
        if fix.action not in ACTIONS:
            problem = f"`action` must be keep, relabel or remove, got {fix.action!r}"
        elif fix.action == RELABEL and not fix.label:
            problem = "`label` must name a class where the action is relabel, got nothing"
        elif fix.action != RELABEL and fix.label and fix.label != fix.given:
            problem = f"`label` must be empty where the action is {fix.action}, got {fix.label!r}"
        elif fix.file in seen:
            problem = "each file must be named once, got it twice"
        if problem:
            raise DataError(f"'{path}', row {row} ({fix.file!r}): {problem}. Correct the row.")
        seen.add(fix.file)


def checked_against(fixes: Fixes, samples: Samples) -> dict[int, Fix]:
    """Return the fixes that change something, by the position of their sample.

    Raises:
        DataError: if a file is not there (any more), bears another label than when it was decided,
            or a class is unknown. Nothing is done then.
    """
    position = {name: i for i, name in enumerate(samples.names)}
    names = set(samples.class_names)
    gone = [fix.file for fix in fixes if fix.file not in position]
    strange = [fix for fix in fixes if fix.action == RELABEL and fix.label not in names]
    moved = [
        fix
        for fix in fixes
        if fix.given
        and fix.file in position
        and samples.class_names[samples.labels[position[fix.file]]] != fix.given
    ]
    problems = []
    if gone:
        problems.append(f"{len(gone)} files are not there: {', '.join(map(repr, gone[:_SHOWN]))}")
    if strange:
        hint = did_you_mean(strange[0].label, names)
        problems.append(f"{len(strange)} labels are no class, such as {strange[0].label!r}. {hint}")
    if moved:
        problems.append(
            f"{len(moved)} files bear another label than when they were decided, such as "
            f"{moved[0].file!r}, then {moved[0].given!r}"
        )
    if problems:
        raise DataError(
            f"these fixes do not fit {samples.name!r} as it is now: {'; '.join(problems)}. Nothing "
            "was changed. Run `nlbench clean` on it anew, or correct the file."
        )
    return {
        position[fix.file]: fix
        for fix in fixes
        if fix.action == REMOVE
        or (
            fix.action == RELABEL
            and samples.class_names[samples.labels[position[fix.file]]] != fix.label
        )
    }
