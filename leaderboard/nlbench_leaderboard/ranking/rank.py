"""Run records -> ranked boards. Pure functions: no files, no clock, no printing.

The rules, in the order in which they are applied to a board:

1. Runs that an older version of some component made are not ranked (`currency`).
2. Finished runs with one seed must have the same noisy labels. The hash that most rows share
   wins; runs with another one are excluded, and named.
3. A seed counts once per row: of several records the newest finished one.
4. Methods are ranked by mean test accuracy after the last epoch; means that are equal but for
   rounding share a rank. Bounds are not ranked; a row with missing seeds is ranked in
   parentheses; a row without a finished run comes last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from nlbench.results.record import RunRecord
from nlbench_leaderboard.ranking.board import COLUMNS, RANKED_BY, Board, Bound, Row, SeedRun
from nlbench_leaderboard.ranking.currency import Installed, selector_version
from nlbench_leaderboard.ranking.disagreements import disagreements
from nlbench_leaderboard.ranking.entries import (
    Entry,
    Group,
    counts,
    entries_of,
    grouped,
    row_names,
)
from nlbench_leaderboard.ranking.grouping import board_ids, group_boards
from nlbench_leaderboard.ranking.levels import levels
from nlbench_leaderboard.ranking.notes import board_notes, older_runs, row_notes, short_hash
from nlbench_leaderboard.ranking.stats import Summary, summarize
from nlbench_leaderboard.ranking.titles import BoardWords, board_words
from nlbench_leaderboard.ranking.verdict import compare_rows, judge


@dataclass(frozen=True)
class _Seeds:
    """The seeds of the current rows of a board, or of the others.

    Every row should have the seeds that are `expected`: those of which a run has ended. A seed
    that is only running does not make other rows incomplete.
    """

    every: tuple[int, ...]
    expected: tuple[int, ...]


def rank_boards(
    records: Iterable[RunRecord],
    killed: Collection[str] = (),
    installed: Installed | None = None,
    names: Mapping[str, str] | None = None,
) -> list[Board]:
    """Group records into boards and rank each, in a fixed order whatever the input's order.

    Args:
        records: Records from anywhere; exact copies count once.
        killed: Fingerprints of running records whose process has ended.
        installed: By fingerprint, the versions that a run would have with what is installed here.
        names: Data sets in their usual spelling, by their name in records.

    Returns:
        Boards whose labels people gave first, the most wrong ones before the others; then by data
        set, noise and rate. The rows of each are as they are shown.
    """
    groups = group_boards(_unique(records))
    words, ids = board_words(groups, names or {}), board_ids(groups)
    boards = [_board(ids[key], words[key], groups[key], killed, installed or {}) for key in groups]
    return sorted(boards, key=_place)


def _place(board: Board) -> tuple[bool, str, str, float, str]:
    people = board.noise.kind == "human"
    rate = -(board.noise.realized_rate or 0.0) if people else _rate(board)
    return not people, board.dataset.name, board.noise.kind, rate, board.title


def _unique(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Return each record once, oldest first, in an order that does not depend on the input's."""
    groups: dict[tuple[str, str, int], list[RunRecord]] = {}
    for record in records:
        # A running record has not ended: it is as new as its start.
        when = record.finished_at or record.started_at
        twins = groups.setdefault((when, record.fingerprint, record.seed), [])
        if record not in twins:
            twins.append(record)
    ordered = []
    for key in sorted(groups):
        twins = groups[key]
        ordered += sorted(twins, key=RunRecord.model_dump_json) if len(twins) > 1 else twins
    return ordered


def _board(
    board_id: str,
    words: BoardWords,
    records: Sequence[RunRecord],
    killed: Collection[str],
    installed: Installed,
) -> Board:
    entries = entries_of(records, installed)
    groups = grouped(entries)
    names = row_names(groups)
    current, older = (
        _seeds([e.record for e in entries if e.currency.is_current is which])
        for which in (True, False)
    )
    rows = _in_order(
        _row(group, names[i], current if group.currency.is_current else older, killed)
        for i, group in enumerate(groups)
    )
    main = [e.record for e in entries if e.currency.is_current] or list(records)
    # A failed run may know less about the data than a finished one.
    newest = next((r for r in reversed(main) if r.metrics), main[-1])
    board = Board(
        id=board_id,
        title=words.title,
        words=words,
        dataset=newest.dataset,
        noise=newest.noise,
        protocol=newest.protocol,
        seeds=(current if current.every else older).expected,
        rows=rows,
        notes=board_notes(rows, main),
        older=older_runs((entry.record, entry.currency) for entry in entries),
        disagreements=disagreements(
            {names[i]: [e.record for e in group.entries] for i, group in enumerate(groups)}
        ),
        comparisons=compare_rows(rows),
    )
    return judge(board)


def _seeds(records: Sequence[RunRecord]) -> _Seeds:
    every = tuple(sorted({record.seed for record in records}))
    ended = {record.seed for record in records if record.status != "running"}
    return _Seeds(every, tuple(seed for seed in every if seed in ended) or every)


def _row(group: Group, name: str, seeds: _Seeds, killed: Collection[str]) -> Row:
    records = [entry.record for entry in group.entries]
    runs = [run for seed in seeds.every for run in _runs_of_seed(seed, group.entries, killed)]
    row = Row(
        key=group.key,
        name=name,
        bound=_bound(records[-1]),
        knowledge=tuple(sorted({k for r in records for k in r.selector.knowledge})),
        runs=tuple(runs),
        missing_seeds=tuple(s for s in seeds.expected if all(r.seed != s for r in records)),
        n_expected=len(seeds.expected),
        stats=_stats(runs),
        notes=(),
        older="" if group.currency.is_current else str(group.currency),
        selector_version=selector_version(records[-1].versions),
    )
    return dataclasses.replace(row, notes=row_notes(row))


def _runs_of_seed(seed: int, entries: Sequence[Entry], killed: Collection[str]) -> list[SeedRun]:
    """Decide which of a row's records of one seed counts; the others are kept, with the reason."""
    mine = [entry for entry in entries if entry.record.seed == seed]
    fair = [place for place, entry in enumerate(mine) if not entry.right_labels]
    # The list is oldest first; a finished run beats a newer failed one.
    best = max(fair, key=lambda place: (counts(mine[place].record), place), default=None)
    return [
        _judge(entry.record, killed) if place == best else _passed_over(entry)
        for place, entry in enumerate(mine)
    ]


def _passed_over(entry: Entry) -> SeedRun:
    record = entry.record
    if not entry.right_labels:
        return SeedRun(record, "superseded", "another record of this seed counts")
    reason = (
        f"noisy labels {short_hash(record.noise.sha256)} differ from "
        f"{short_hash(entry.right_labels)}, which the other runs of this seed have"
    )
    return SeedRun(record, "excluded", reason)


def _judge(record: RunRecord, killed: Collection[str]) -> SeedRun:
    if counts(record):
        return SeedRun(record, "finished")
    if record.status == "running" and record.fingerprint in killed:
        reason = "its process has ended; the next sweep repeats the run"
        return SeedRun(record, "interrupted", reason)
    if record.status == "running":
        return SeedRun(record, "running", "not finished yet")
    if record.diverged_at is not None:
        reason = f"diverged at epoch {record.diverged_at}: its training loss is NaN or infinite"
        return SeedRun(record, "failed", reason)
    if record.error is None:
        return SeedRun(record, "failed", "the record has neither metrics nor an error")
    return SeedRun(record, "failed", f"{record.error.type}: {record.error.message}")


def _stats(runs: Iterable[SeedRun]) -> dict[str, Summary]:
    records = [run.record for run in runs if run.status == "finished"]
    stats = {}
    for column in COLUMNS:
        summary = summarize(column.read(r.metrics, r.times) for r in records if r.metrics)
        if summary is not None:
            stats[column.key] = summary
    return stats


def _bound(record: RunRecord) -> Bound:
    if record.selector.is_reference:
        return "lower"
    return "upper" if record.selector.is_bound else ""


def _in_order(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the rows with their ranks, in the order in which they are shown."""
    by_name = sorted(rows, key=lambda row: row.name)
    current = [row for row in by_name if not row.older]
    done = [row for row in current if row.accuracy]
    undone = [row for row in current if not row.accuracy]
    return (
        *(row for row in done if row.bound == "upper"),
        *_ranked([row for row in done if not row.bound]),
        *(row for row in done if row.bound == "lower"),
        *(row for row in undone if row.status != "failed"),
        *(row for row in undone if row.status == "failed"),
        *_best_first([row for row in by_name if row.older]),
    )


def _ranked(rows: Sequence[Row]) -> list[Row]:
    means = levels([row.stats[RANKED_BY].mean for row in rows])
    placed = sorted(zip(means, rows, strict=True), key=lambda pair: -pair[0])
    # Equal means share the better rank.
    return [
        dataclasses.replace(row, rank=1 + sum(other > mean for other in means))
        for mean, row in placed
    ]


def _best_first(rows: Sequence[Row]) -> list[Row]:
    done = [row for row in rows if row.accuracy]
    means = levels([row.stats[RANKED_BY].mean for row in done])
    placed = sorted(zip(means, done, strict=True), key=lambda pair: -pair[0])
    return [*(row for _, row in placed), *(row for row in rows if not row.accuracy)]


def _rate(board: Board) -> float:
    return -1.0 if board.noise.nominal_rate is None else board.noise.nominal_rate
