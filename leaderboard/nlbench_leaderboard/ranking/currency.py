"""Which runs of a board are current, and which come from an older version of some component.

The current version of a part is the highest integer among the board's records and what is installed
here. Hashes (of code, of prompts) have no order: the installed one is current, else that of the
record that ended last.
A selector's or trainer's version is compared among runs with that one, all others over the board.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nlbench.results.record import RunRecord
from nlbench_leaderboard.ranking.grouping import RowKey, row_key, stable_text

Version = int | str
Versions = Mapping[str, Version]
Installed = Mapping[str, Versions]
"""By the fingerprint of a run: the versions that the run would have today."""

NO_VERSIONS = "no versions recorded"
_ENCODER = "selector_"
"""Begins the parts that a hyper-parameter of the selector names, such as ``selector_encoder``."""


@dataclass(frozen=True)
class OlderPart:
    """A part of a run that has a newer version; `version` is None where the run recorded none."""

    part: str
    version: Version | None
    current: Version

    @property
    def short(self) -> str:
        """The part with its version, as in ``selector 1``."""
        return f"{self.part} {_short(self.version)}"

    def __str__(self) -> str:
        return f"{self.short} (now {_short(self.current)})"


@dataclass(frozen=True)
class Currency:
    """How the versions of one run compare with the current ones; `older` is empty where all are."""

    older: tuple[OlderPart, ...] = ()
    has_versions: bool = True

    @property
    def is_current(self) -> bool:
        """Whether the run may be ranked."""
        return self.has_versions and not self.older

    @property
    def tag(self) -> str:
        """What distinguishes the run's row from a current one of the same selector."""
        if not self.has_versions:
            return NO_VERSIONS
        return ", ".join(part.short for part in self.older)

    def __str__(self) -> str:
        return ", ".join(map(str, self.older)) if self.has_versions else NO_VERSIONS


def currencies(records: Sequence[RunRecord], installed: Installed) -> list[Currency]:
    """Return for each record of a board how its versions compare with the current ones.

    Args:
        records: All records of one board.
        installed: May lack any run, which then is compared with the other records only.
    """
    current = _current(records, installed)
    parts = _parts_of_rows(records, installed)
    return [_judged(record, current, parts[row_key(record)]) for record in records]


def versions_text(versions: Versions) -> str:
    """Return one text for equal versions."""
    return stable_text(dict(versions))


def selector_version(versions: Versions) -> str:
    """Return what the versions say about the selector alone, as in ``selector 2``."""
    mine = (part for part in sorted(versions) if part == "selector" or part.startswith(_ENCODER))
    return ", ".join(OlderPart(part, versions[part], 0).short for part in mine)


def _judged(record: RunRecord, current: Mapping[tuple[str, str], Version], parts: set[str],
            ) -> Currency:  # fmt: skip
    if not record.versions:
        return Currency(has_versions=False)
    older = (
        OlderPart(part, record.versions.get(part), current[_scope(record, part)])
        for part in sorted(parts)
    )
    return Currency(tuple(part for part in older if part.version != part.current))


def _current(records: Sequence[RunRecord], installed: Installed) -> dict[tuple[str, str], Version]:
    recorded: dict[tuple[str, str], list[tuple[str, Version]]] = {}
    here: dict[tuple[str, str], list[Version]] = {}
    for record in records:
        when = record.finished_at or record.started_at
        for part, version in record.versions.items():
            recorded.setdefault(_scope(record, part), []).append((when, version))
        for part, version in installed.get(record.fingerprint, {}).items():
            here.setdefault(_scope(record, part), []).append(version)
    return {
        scope: _newest(recorded.get(scope, []), here.get(scope, [])) for scope in (*recorded, *here)
    }


def _newest(recorded: Sequence[tuple[str, Version]], here: Sequence[Version]) -> Version:
    every = [*(version for _, version in recorded), *here]
    numbers = [version for version in every if isinstance(version, int)]
    if len(numbers) == len(every):
        return max(numbers)
    if here:
        return here[0]
    return max(recorded, key=lambda pair: (pair[0], str(pair[1])))[1]


def _parts_of_rows(records: Sequence[RunRecord], installed: Installed) -> dict[RowKey, set[str]]:
    """Return the parts that a run of each row has: one that lacks a part is older as well."""
    parts: dict[RowKey, set[str]] = {}
    for record in records:
        mine = parts.setdefault(row_key(record), set())
        mine |= record.versions.keys() | installed.get(record.fingerprint, {}).keys()
    return parts


def _scope(record: RunRecord, part: str) -> tuple[str, str]:
    """Return what a version is comparable within: a selector, trainer or encoder, or the board."""
    if part.startswith(_ENCODER):
        name = record.selector.params.get(part.removeprefix(_ENCODER))
        return str(name).partition(":")[0], part
    # Methods of one board train with trainers of their own; "" in records that name none.
    owner = {"selector": record.selector.name, "trainer": record.trainer.name}.get(part, "")
    return (owner, part)


def _short(version: Version | None) -> str:
    if version is None:
        return "not recorded"
    return str(version) if isinstance(version, int) else version.rpartition(":")[2][:8]
