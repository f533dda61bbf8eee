"""Run records -> ranked boards. Pure functions: no files, no clock, no printing.

The rules, in the order in which they are applied to a board:

1. Finished runs with one seed must have the same noisy labels. The hash that most rows share
   wins; runs with another one are excluded, and named.
2. A seed counts once per row: of several records the newest finished one.
3. Selectors are ranked by mean test accuracy after the last epoch. Bounds and stale rows are not
   ranked; a row with missing seeds is ranked in parentheses; a row without a finished run comes
   last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from nlbench.results.record import RunRecord
from nlbench_leaderboard.ranking.board import COLUMNS, RANKED_BY, Board, Bound, Row, SeedRun
from nlbench_leaderboard.ranking.grouping import (
    RowKey,
    board_ids,
    board_titles,
    group_boards,
    group_rows,
    row_key,
    tag_rows,
)
from nlbench_leaderboard.ranking.notes import board_notes, row_notes, short_hash, stale_reasons
from nlbench_leaderboard.ranking.stats import Summary, summarize
from nlbench_leaderboard.ranking.verdict import compare_rows, judge


@dataclass(frozen=True)
class _Facts:
    """What the rows of a board must know of the whole.

    Every row is to have the seeds that are `expected`: those of which a run has ended. One that
    was only begun takes nothing from the rows that are complete without it.
    """

    seeds: tuple[int, ...]
    expected: tuple[int, ...]
    excluded: dict[int, str]
    stale: dict[RowKey, str]
    killed: Collection[str]


def rank_boards(records: Iterable[RunRecord], killed: Collection[str] = ()) -> list[Board]:
    """Group records into boards and rank each, in a fixed order whatever the input's order.

    Args:
        records: Records from anywhere; exact copies count once.
        killed: Fingerprints of running records whose process is gone.

    Returns:
        Boards in order of data set, noise and rate; the rows of each as they are shown.
    """
    groups = group_boards(_unique(records))
    titles = board_titles(groups)
    ids = board_ids(titles)
    boards = [_board(ids[key], titles[key], groups[key], killed) for key in groups]
    return sorted(boards, key=lambda b: (b.dataset.name, b.noise.kind, _rate(b), b.title))


def odd_noise(records: Sequence[RunRecord]) -> dict[int, str]:
    """Find the finished runs whose noisy labels are not those of their seed.

    One vote per row, so that a selector that ran often cannot outvote the others. A tie goes to
    the labels that were finished first. A run that recorded no hash never wins.

    Args:
        records: The records of one board, oldest first.

    Returns:
        The index of each deviating record, with the hash it should have had.
    """
    votes: dict[int, dict[str, set[RowKey]]] = {}
    for record in filter(_counts, records):
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
        if _counts(r) and r.noise.sha256 != winner[r.seed]
    }


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
    board_id: str, title: str, records: Sequence[RunRecord], killed: Collection[str]
) -> Board:
    odd = odd_noise(records)
    grouped = group_rows(records)
    tags = tag_rows(list(grouped))
    seeds = tuple(sorted({record.seed for record in records}))
    ended = {record.seed for record in records if record.status != "running"}
    facts = _Facts(
        seeds=seeds,
        expected=tuple(seed for seed in seeds if seed in ended) or seeds,
        excluded={id(records[i]): wanted for i, wanted in odd.items()},
        stale=stale_reasons(grouped),
        killed=killed,
    )
    rows = _in_order([_row(key, tags[key], grouped[key], facts) for key in grouped])
    newest = records[-1]
    board = Board(
        id=board_id,
        title=title,
        # A failed run may know less about the data than a finished one.
        dataset=next((r.dataset for r in records if r.metrics), newest.dataset),
        noise=next((r.noise for r in records if r.metrics), newest.noise),
        protocol=newest.protocol,
        seeds=facts.expected,
        rows=rows,
        notes=board_notes(rows, tags, records),
        comparisons=compare_rows(rows),
    )
    judged, verdict = judge(rows, board.best, board.comparisons)
    return dataclasses.replace(board, rows=judged, verdict=verdict)


def _row(key: RowKey, tag: str, records: Sequence[RunRecord], facts: _Facts) -> Row:
    runs = [run for seed in facts.seeds for run in _runs_of_seed(seed, records, facts)]
    row = Row(
        key=key,
        tag=tag,
        bound=_bound(records[-1]),
        knowledge=tuple(sorted({k for r in records for k in r.selector.knowledge})),
        runs=tuple(runs),
        missing_seeds=tuple(s for s in facts.expected if all(r.seed != s for r in records)),
        n_expected=len(facts.expected),
        stats=_stats(runs),
        notes=(),
        stale=facts.stale.get(key, ""),
    )
    return dataclasses.replace(row, notes=row_notes(row))


def _runs_of_seed(seed: int, records: Sequence[RunRecord], facts: _Facts) -> list[SeedRun]:
    """Decide which of a row's records of one seed counts; the others are kept, with the reason."""
    mine = [record for record in records if record.seed == seed]
    fair = [record for record in mine if id(record) not in facts.excluded]
    # The list is oldest first; a finished run beats a newer failed one.
    best = max(enumerate(fair), key=lambda pair: (_counts(pair[1]), pair[0]), default=None)
    runs = []
    for record in mine:
        if id(record) in facts.excluded:
            reason = (
                f"noisy labels {short_hash(record.noise.sha256)} differ from "
                f"{short_hash(facts.excluded[id(record)])}, which the other runs of this seed have"
            )
            runs.append(SeedRun(record, "excluded", reason))
        elif best and record is best[1]:
            runs.append(_judge(record, facts.killed))
        else:
            runs.append(SeedRun(record, "superseded", "another record of this seed is shown"))
    return runs


def _judge(record: RunRecord, killed: Collection[str]) -> SeedRun:
    if _counts(record):
        return SeedRun(record, "finished")
    if record.status == "running" and record.fingerprint in killed:
        return SeedRun(record, "stale", "its process is gone; the next sweep does the run again")
    if record.status == "running":
        return SeedRun(record, "running", "not finished yet")
    if record.error is None:
        return SeedRun(record, "failed", "the record holds neither metrics nor an error")
    return SeedRun(record, "failed", f"{record.error.type}: {record.error.message}")


def _counts(record: RunRecord) -> bool:
    return record.status == "finished" and record.metrics is not None


def _stats(runs: Iterable[SeedRun]) -> dict[str, Summary]:
    records = [run.record for run in runs if run.status == "finished"]
    stats = {}
    for column in COLUMNS:
        summary = summarize(column.read(r.metrics, r.times) for r in records if r.metrics)
        if summary is not None:
            stats[column.key] = summary
    return stats


def _bound(record: RunRecord) -> Bound:
    if record.selector.name == "none":
        return "lower"
    return "upper" if record.selector.is_bound else ""


def _in_order(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return rank to the rows and put all in the order in which they are shown."""
    by_name = sorted(rows, key=lambda row: row.name)
    done = [row for row in by_name if row.accuracy]
    fresh = [row for row in done if not row.stale]
    contest = sorted((r for r in fresh if not r.bound), key=lambda r: -_mean(r))
    ranked = [
        # Equal means share the better rank.
        dataclasses.replace(row, rank=1 + sum(_mean(other) > _mean(row) for other in contest))
        for row in contest
    ]
    undone = [row for row in by_name if not row.accuracy]
    return (
        *(row for row in fresh if row.bound == "upper"),
        *ranked,
        *(row for row in fresh if row.bound == "lower"),
        *(row for row in done if row.stale),
        *(row for row in undone if row.status != "failed"),
        *(row for row in undone if row.status == "failed"),
    )


def _mean(row: Row) -> float:
    return row.stats[RANKED_BY].mean


def _rate(board: Board) -> float:
    return -1.0 if board.noise.nominal_rate is None else board.noise.nominal_rate
