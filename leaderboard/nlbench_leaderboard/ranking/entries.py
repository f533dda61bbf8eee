"""The records of a board, one by one: whether they are current, their labels, their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nlbench.results.record import RunRecord
from nlbench_leaderboard.ranking.currency import Currency, Installed, currencies, versions_text
from nlbench_leaderboard.ranking.grouping import RowKey, digest, row_key, tag_rows


@dataclass(frozen=True)
class Entry:
    """One record of a board; `right_labels` is the hash that its labels should have had, if any."""

    record: RunRecord
    currency: Currency
    right_labels: str = ""


@dataclass(frozen=True)
class Group:
    """The records of one row, oldest first; they share selector, parameters and versions."""

    key: RowKey
    versions: str
    entries: tuple[Entry, ...]

    @property
    def currency(self) -> Currency:
        """How the versions of the group compare with the current ones."""
        return self.entries[0].currency


def entries_of(records: Sequence[RunRecord], installed: Installed) -> list[Entry]:
    """Judge each record by its versions and its noisy labels.

    Labels are compared among runs whose noise and data source have the same version: another
    version may make other labels.
    """
    by_source: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        parts = {part: record.versions.get(part, "") for part in ("noise", "dataset")}
        by_source.setdefault(versions_text(parts), []).append(i)
    right: dict[int, str] = {}
    for members in by_source.values():
        odd = odd_noise([records[i] for i in members])
        right |= {members[place]: sha for place, sha in odd.items()}
    standing = currencies(records, installed)
    return [
        Entry(record, currency, right.get(i, ""))
        for i, (record, currency) in enumerate(zip(records, standing, strict=True))
    ]


def grouped(entries: Iterable[Entry]) -> list[Group]:
    """Return the entries row by row."""
    groups: dict[tuple[RowKey, str], list[Entry]] = {}
    for entry in entries:
        key = (row_key(entry.record), versions_text(entry.record.versions))
        groups.setdefault(key, []).append(entry)
    return [Group(key, versions, tuple(some)) for (key, versions), some in groups.items()]


def row_names(groups: Sequence[Group]) -> list[str]:
    """Return a name for each row, unique on the board: the label, with a tag where it needs one."""
    tags = tag_rows(group.key for group in groups)
    n_versions = Counter(group.key for group in groups)
    names = []
    for group in groups:
        parts = [tags[group.key], group.currency.tag if n_versions[group.key] > 1 else ""]
        tag = ", ".join(part for part in parts if part)
        names.append(f"{group.key.label} [{tag}]" if tag else group.key.label)
    taken = Counter(names)
    return [
        # A label may look like one with a tag.
        name if taken[name] == 1 else f"{name} [{digest(*group.key, group.versions)}]"
        for name, group in zip(names, groups, strict=True)
    ]


def odd_noise(records: Sequence[RunRecord]) -> dict[int, str]:
    """Find the finished runs whose noisy labels are not those of their seed.

    One vote per row, so that a selector with many runs cannot outvote the others. A tie goes to
    the labels of the run that finished first. A run without a hash never wins.

    Args:
        records: The records of one board, oldest first.

    Returns:
        The index of each deviating record, with the hash it should have had.
    """
    votes: dict[int, dict[str, set[RowKey]]] = {}
    for record in filter(counts, records):
        votes.setdefault(record.seed, {}).setdefault(record.noise.sha256, set()).add(
            row_key(record)
        )
    # max() gives the first of equals, and dicts keep the order of insertion: oldest first.
    winner = {
        seed: max(by_hash, key=lambda sha: len(by_hash[sha]) if sha else 0)
        for seed, by_hash in votes.items()
    }
    return {
        i: winner[r.seed]
        for i, r in enumerate(records)
        if counts(r) and r.noise.sha256 != winner[r.seed]
    }


def counts(record: RunRecord) -> bool:
    """Return whether a record has a result; what a diverged training predicts is none."""
    finished = record.status == "finished" and record.metrics is not None
    return finished and record.diverged_at is None
