"""What is said aloud of a row or a board: what failed, lacks, is old, or was made differently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from nlbench.results.record import RunRecord
from nlbench_leaderboard.ranking.board import Row
from nlbench_leaderboard.ranking.grouping import RowKey

_VERSIONS = ("nlbench", "torch")


def row_notes(row: Row) -> tuple[str, ...]:
    """Return the notes of a row, the most important first."""
    notes = [f"stale, not ranked: {row.stale}"] if row.stale else []
    if not row.is_complete:
        notes.append(f"n = {row.n} of {row.n_expected} seeds finished")
    if row.n == 1:
        notes.append("single seed: no spread can be given")
    for status in ("failed", "running", "stale", "excluded"):
        reasons = {run.reason: None for run in row.runs if run.status == status}
        notes += [
            f"{_seeds([r.seed for r in row.runs if (r.status, r.reason) == (status, reason)])} "
            f"{status}: {reason}"
            for reason in reasons
        ]
    if row.missing_seeds:
        notes.append(f"not run: {_seeds(row.missing_seeds)}")
    return (*notes, *_duplicate_notes(row))


def board_notes(
    rows: Iterable[Row], tags: Mapping[RowKey, str], records: Sequence[RunRecord]
) -> tuple[str, ...]:
    """Return the notes of a board: its protocol, equal names, excluded runs, mixed versions."""
    notes = _protocol_notes(records[-1])
    notes += [
        f"More than one selector is called {label}: they differ in their source or parameters, "
        "have a row each, and are never averaged together."
        for label in sorted({key.label for key, tag in tags.items() if tag})
    ]
    for row in sorted(rows, key=lambda row: row.name):
        notes += [
            f"Excluded for unequal noisy labels: {row.name}, seed {run.seed}, "
            f"run {short_hash(run.record.fingerprint)}: {run.reason}."
            for run in row.runs
            if run.status == "excluded"
        ]
    return (*notes, *_mixed_notes(records))


def stale_reasons(grouped: Mapping[RowKey, Sequence[RunRecord]]) -> dict[RowKey, str]:
    """Find the rows whose selector has since been run from another source file.

    Parameters play no part: a newer source may have others. A source without a result, or one that
    finished at the same time, makes nothing stale.

    Returns:
        The reason per stale row.
    """
    newest = {
        key: max((r.finished_at for r in records if r.metrics), default="")
        for key, records in grouped.items()
    }
    reasons = {}
    for key in grouped:
        others = [k for k in grouped if k.label == key.label and _another_source(k, key)]
        latest = max(others, key=lambda k: (newest[k], k), default=key)
        if newest[latest] > max(r.finished_at or r.started_at for r in grouped[key]):
            reasons[key] = (
                f"made with source {key.source_sha256[:8]}, source {latest.source_sha256[:8]} of "
                "the same selector ran later"
            )
    return reasons


def short_hash(sha: str) -> str:
    """Return the start of a hash, or say that there is none."""
    return sha[:12] or "(none recorded)"


def _another_source(one: RowKey, other: RowKey) -> bool:
    both = one.source_sha256 and other.source_sha256
    return bool(both) and one.source_sha256 != other.source_sha256


def _protocol_notes(record: RunRecord) -> list[str]:
    share = record.protocol.settings.get("equal_keep")
    if not isinstance(share, float | int):
        return []
    return [
        f"Equal kept share: every selector trains on the {100 * share:g} % of the samples that it "
        "scores highest, whatever it would keep itself."
    ]


def _duplicate_notes(row: Row) -> list[str]:
    notes = []
    for seed in sorted(set(row.seeds_with("superseded"))):
        left_out = [r.record for r in row.runs if (r.seed, r.status) == (seed, "superseded")]
        names = ", ".join(short_hash(record.fingerprint) for record in left_out)
        newest = "newest finished" if seed in row.seeds_with("finished") else "newest"
        notes.append(f"seed {seed} has more than one record: the {newest} counts, not {names}")
    return notes


def _mixed_notes(records: Sequence[RunRecord]) -> list[str]:
    """Say where runs that stand side by side were made on another device or with other versions."""
    environments = [r.environment for r in records if r.metrics]
    notes = []
    for name in ("device", *_VERSIONS):
        found = Counter(_fact(environment, name) for environment in environments)
        found.pop("", None)
        if len(found) > 1:
            parts = ", ".join(f"{value} ({n} runs)" for value, n in sorted(found.items()))
            notes.append(f"Made with more than one {name}: {parts}.")
    return notes


def _fact(environment: Mapping[str, object], name: str) -> str:
    packages = environment.get("packages")
    home = packages if name in _VERSIONS and isinstance(packages, Mapping) else environment
    return str(home.get(name) or "")


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
