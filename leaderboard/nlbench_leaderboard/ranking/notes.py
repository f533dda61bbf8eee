"""What is said about a row or a board: failures, missing seeds, older versions, mixed devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from nlbench.results.record import RunRecord
from nlbench_leaderboard.ranking.again import sweep_command
from nlbench_leaderboard.ranking.board import AGAINST_NOISY_LABELS, OlderRuns, Row
from nlbench_leaderboard.ranking.currency import Currency
from nlbench_leaderboard.ranking.grouping import row_key, stable_text

_PACKAGES = ("nlbench", "torch")
_MOST_NAMES = 3
_MOST_LISTED = 12
SEVERAL = "several records"
"""Marks the note of a row that its board's own note already has."""


def row_notes(row: Row) -> tuple[str, ...]:
    """Return the notes of a row, the most important first."""
    notes = [f"older version: {row.older}"] if row.older else []
    if not row.is_complete:
        notes.append(f"n = {row.n} of {row.n_expected} seeds finished")
    if row.n == 1:
        notes.append("single seed: no standard deviation")
    for status in ("failed", "running", "interrupted", "excluded"):
        reasons = {run.reason: None for run in row.runs if run.status == status}
        notes += [
            f"{_seeds([r.seed for r in row.runs if (r.status, r.reason) == (status, reason)])} "
            f"{status}: {reason}"
            for reason in reasons
        ]
    if row.missing_seeds:
        notes.append(f"not run: {_seeds(row.missing_seeds)}")
    deviations = {run.record.deviation: None for run in row.runs}
    notes += [f"not its paper's method: {text}" for text in deviations if text]
    return (*notes, *_duplicate_notes(row))


def board_notes(rows: Sequence[Row], records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Return the notes of a board: its protocol, equal names, excluded runs, mixed devices.

    Args:
        rows: All rows.
        records: The current records, oldest first; all where none is current.
    """
    notes = [*_test_label_notes(records[-1]), *_protocol_notes(records[-1])]
    labels = Counter(key.label for key in {row.key for row in rows})
    notes += [
        f"Several methods are called {label}: they differ in their parameters, have one row "
        "each, and are never averaged together."
        for label, n in sorted(labels.items())
        if n > 1
    ]
    notes += [*swept_notes(rows), *_excluded_notes(rows), *_duplicates_note(rows)]
    return (*notes, *_mixed_notes(records))


def swept_notes(rows: Iterable[Row]) -> list[str]:
    """Return a note for each method that is on the board with several settings."""
    tried: dict[str, list[Mapping[str, object]]] = {}
    for row in rows:
        if row.older:
            continue
        record = row.runs[-1].record
        settings = {**record.trainer.params, **record.selector.params}
        tried.setdefault(record.method or record.selector.name, []).append(settings)
    notes = []
    for name, points in sorted(tried.items()):
        swept = [_swept(key, points) for key in sorted({key for point in points for key in point})]
        if any(swept):
            notes.append(
                f"{name}: {', '.join(filter(None, swept))}; choosing the best of these rows "
                "afterwards favours it."
            )
    return notes


def _swept(key: str, points: Iterable[Mapping[str, object]]) -> str:
    """Return what values a hyper-parameter has; nothing where it is the same everywhere."""
    values = {stable_text(point[key]): point[key] for point in points if key in point}
    if len(values) < 2:
        return ""
    numbers = {text: v for text, v in values.items() if type(v) in (int, float)}
    others = sorted(values.keys() - numbers.keys())
    texts = [*sorted(numbers, key=float), *others]
    return f"{key} swept over {', '.join(texts)}"


def older_runs(standing: Iterable[tuple[RunRecord, Currency]]) -> OlderRuns | None:
    """Return what is said of the runs of older versions; None where every run is current."""
    pairs = list(standing)
    older = [(record, currency) for record, currency in pairs if not currency.is_current]
    if not older:
        return None
    current = {(row_key(r), r.seed) for r, c in pairs if c.is_current and r.metrics}
    to_repeat = [r for r, _ in older if (row_key(r), r.seed) not in current]
    n_without = sum(not currency.has_versions for _, currency in older)
    parts = _older_parts(older)
    return OlderRuns(
        n_runs=len(older),
        n_without_versions=n_without,
        parts=parts,
        line=f"{_how_many(len(older), len(pairs), n_without, parts)} {_next_step(to_repeat)}",
    )


def short_hash(sha: str) -> str:
    """Return the start of a hash, or say that there is none."""
    return sha[:12] or "(none recorded)"


def plural(n: int, noun: str) -> str:
    """Return a number with its noun.

    >>> plural(1, "run"), plural(2, "run")
    ('1 run', '2 runs')
    """
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _older_parts(older: Iterable[tuple[RunRecord, Currency]]) -> tuple[str, ...]:
    names: dict[str, set[str]] = {}
    for record, currency in older:
        for stale in currency.older:
            names.setdefault(stale.part, set()).add(record.selector.name)
    texts = []
    for part in sorted(names):
        if part != "selector":
            texts.append(part.replace("_", " "))
        elif len(names[part]) > _MOST_NAMES:
            texts.append(f"{len(names[part])} selectors")
        else:
            texts += [f"selector {name}" for name in sorted(names[part])]
    return tuple(texts)


def _how_many(n: int, n_all: int, n_without: int, parts: Sequence[str]) -> str:
    share = f"{n} of {plural(n_all, 'run')}"
    verb = "is" if n == 1 else "are"
    if n_without == n:
        return f"{share} {verb} from before component versions were recorded: not ranked."
    details = ", ".join(parts)
    if n_without:
        details += f"; {n_without} recorded no versions"
    source = "an older version" if n == 1 else "older versions"
    return f"{share} {verb} from {source} ({details}): not ranked."


def _next_step(to_repeat: Sequence[RunRecord]) -> str:
    if not to_repeat:
        return "All of these have been run again with the current versions."
    what = "it" if len(to_repeat) == 1 else "them"
    command = sweep_command(to_repeat)
    if command is None:
        return f"Run {what} again to rank {what}, with the command of each run."
    return f"Run {what} again to rank {what}: {command}"


def _test_label_notes(record: RunRecord) -> list[str]:
    if record.dataset.test_labels_are_clean:
        return []
    return [
        f"Test accuracy is {AGAINST_NOISY_LABELS}: the labels of the test set are not known to be "
        "right, so that even a perfect model stays below 100 %."
    ]


def _protocol_notes(record: RunRecord) -> list[str]:
    share = record.protocol.settings.get("equal_keep")
    if not isinstance(share, float | int):
        return []
    return [
        f"Equal kept share: every method trains on the {100 * share:g} % of the samples with its "
        "highest scores, whatever it would keep itself."
    ]


def _duplicate_notes(row: Row) -> list[str]:
    """Return at most two notes: one for seeds with a result, one for those without."""
    seeds: dict[str, dict[int, list[str]]] = {}
    for run in row.runs:
        if run.status == "superseded":
            newest = "newest finished one" if run.seed in row.seeds_with("finished") else "newest"
            left_out = seeds.setdefault(newest, {}).setdefault(run.seed, [])
            left_out.append(short_hash(run.record.fingerprint))
    notes = []
    for newest, by_seed in seeds.items():
        names = [name for seed in sorted(by_seed) for name in by_seed[seed]]
        have = "has" if len(by_seed) == 1 else "have"
        numbers = _seeds(sorted(by_seed))
        notes.append(f"{numbers} {have} {SEVERAL}: the {newest} counts, not {_some(names)}")
    return notes


def _duplicates_note(rows: Sequence[Row]) -> list[str]:
    """Return one note for all records of the board that newer ones of their seed replace."""
    replaced = {row.name: row.seeds_with("superseded") for row in rows}
    parts = [f"{name}, {_seeds(sorted(set(replaced[name])))}"
             for name in sorted(replaced) if replaced[name]]  # fmt: skip
    n = sum(map(len, replaced.values()))
    if not n:
        return []
    verb = "is" if n == 1 else "are"
    return [
        f"{plural(n, 'record')} of a seed that has {SEVERAL} {verb} left out, the newest counts: "
        f"{_some(parts, '; ')}."
    ]


def _excluded_notes(rows: Sequence[Row]) -> list[str]:
    """Return one note for each pair of hashes of noisy labels that differ."""
    by_reason: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row.name):
        for run in row.runs:
            if run.status == "excluded":
                place = f"{row.name}, seed {run.seed}, run {short_hash(run.record.fingerprint)}"
                by_reason.setdefault(run.reason, []).append(place)
    return [
        f"Excluded for different noisy labels: {_some(places, '; ')}: {reason}."
        for reason, places in by_reason.items()
    ]


def _mixed_notes(records: Sequence[RunRecord]) -> list[str]:
    """Point out runs side by side that were made on different devices or with other packages."""
    environments = [r.environment for r in records if r.metrics]
    notes = []
    for name in ("device", *_PACKAGES):
        values = Counter(_fact(environment, name) for environment in environments)
        values.pop("", None)
        if len(values) > 1:
            parts = ", ".join(
                f"{value} ({plural(n, 'run')})" for value, n in sorted(values.items())
            )
            what = "devices" if name == "device" else f"versions of {name}"
            notes.append(f"Made with different {what}: {parts}.")
    return notes


def _fact(environment: Mapping[str, object], name: str) -> str:
    packages = environment.get("packages")
    home = packages if name in _PACKAGES and isinstance(packages, Mapping) else environment
    return str(home.get(name) or "")


def _some(names: Sequence[str], between: str = ", ") -> str:
    """Return the names; of many only the first ones and how many there are."""
    if len(names) <= _MOST_LISTED:
        return between.join(names)
    rest = len(names) - _MOST_LISTED
    return f"{between.join(names[:_MOST_LISTED])}{between}and {rest} more"


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
