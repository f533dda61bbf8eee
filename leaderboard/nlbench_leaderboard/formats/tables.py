"""The leaderboard as four flat tables, for CSV and Parquet: every number in full precision.

`boards` has a line per board, `leaderboard` one per board and method, `comparisons` one per board
and pair of methods, `runs` one per record. Shares are in [0, 1], times in seconds; a cell is
empty where nothing was measured.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from nlbench.files import canonical_json
from nlbench_leaderboard.escape import clean, csv_text, json_safe, shorten
from nlbench_leaderboard.formats.headline import headline
from nlbench_leaderboard.formats.numbers import BOUNDS
from nlbench_leaderboard.formats.warnings import disagreement_lines
from nlbench_leaderboard.ranking.board import (
    AGAINST_NOISY_LABELS,
    COLUMNS,
    Board,
    Row,
    SeedRun,
)
from nlbench_leaderboard.ranking.currency import versions_text
from nlbench_leaderboard.ranking.gap import Gap
from nlbench_leaderboard.ranking.paired import Comparison
from nlbench_leaderboard.ranking.versus import Difference

_SUMMARY = {"mean": float, "sd": float, "ci95_half_width": float, "n": int}
_DIFFERENCE = ("mean", "low", "high", "p_holm")
_GAP = ("gap_closed", "gap_closed_low", "gap_closed_high")
_BOARDS: dict[str, type] = {
    "board": str,
    "title": str,
    "n_seeds": int,
    "n_runs": int,
    "best": str,
    "test_labels": str,
    "n_older_runs": int,
    "older_versions": str,
    "n_disagreements": int,
    "disagreements": str,
    "notes": str,
    "headline": str,
    "room": float,
    "no_gap": str,
    "saturation": str,
}
_RESULTS: dict[str, type] = {
    "board": str,
    "title": str,
    "rank": int,
    "method": str,
    "bound": str,
    "status": str,
    "n": int,
    "n_expected": int,
    "failed": int,
    "missing_seeds": str,
    "knowledge": str,
    "notes": str,
    "versus_best": str,
    "versus_none": str,
    **{f"{name}_{part}": float for name in ("to_best", "to_none") for part in _DIFFERENCE},
    **dict.fromkeys(_GAP, float),
    "older_versions": str,
    "test_labels": str,
    **{f"{c.key}_{part}": kind for c in COLUMNS for part, kind in _SUMMARY.items()},
}
_RUNS: dict[str, type] = {
    "board": str,
    "method": str,
    "dataset": str,
    "noise": str,
    "noise_rate": float,
    "noise_params": str,
    "selector": str,
    "selector_params": str,
    "trainer": str,
    "trainer_params": str,
    "seed": int,
    "status": str,
    "reason": str,
    "fingerprint": str,
    "noise_sha256": str,
    "realized_noise_rate": float,
    "protocol_sha256": str,
    "versions": str,
    "command": str,
    **{c.key: float for c in COLUMNS},
}
_KINDS = {"first": str, "second": str, "n": int}
_COMPARISONS: dict[str, type] = {
    "board": str,
    **{f.name: _KINDS.get(f.name, float) for f in fields(Comparison)},
}


@dataclass(frozen=True)
class Table:
    """A flat table: the type of each column, and its lines; an absent value is None."""

    columns: Mapping[str, type]
    lines: Sequence[Mapping[str, Any]]


def tables_of(boards: Sequence[Board]) -> dict[str, Table]:
    """Return the tables by name, which is the name of their file."""
    return {
        "boards": Table(_BOARDS, [_board(board) for board in boards]),
        "leaderboard": Table(_RESULTS, [_result(b, r) for b in boards for r in b.rows]),
        "comparisons": Table(_COMPARISONS, list(_comparisons(boards))),
        "runs": Table(_RUNS, [_run(b, r, run) for b in boards for r in b.rows for run in r.runs]),
    }


def to_csv(table: Table) -> str:
    """Return the table as CSV with a header; no cell is run as a formula by a spreadsheet."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    for line in table.lines:
        writer.writerow([_csv_cell(line.get(name)) for name in table.columns])
    return stream.getvalue()


def to_parquet(table: Table) -> bytes:
    """Return the table as a Parquet file; every column is typed, also one without a value."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, types[kind]) for name, kind in table.columns.items()])
    lines = [{k: clean(v) if isinstance(v, str) else v for k, v in row.items()}
             for row in table.lines]  # fmt: skip
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(lines, schema=schema), sink)
    return bytes(sink.getvalue().to_pybytes())


def _csv_cell(value: Any) -> Any:
    # An empty cell, not 0: nothing was measured.
    if value is None:
        return ""
    return csv_text(value) if isinstance(value, str) else value


def _board(board: Board) -> dict[str, Any]:
    return {
        "board": board.id,
        "title": board.title,
        "n_seeds": len(board.seeds),
        "n_runs": board.n_runs,
        "best": board.best.name if board.best else None,
        "test_labels": _test_labels(board),
        "n_older_runs": board.older.n_runs if board.older else 0,
        "older_versions": board.older.line if board.older else "",
        "n_disagreements": len(board.disagreements),
        "disagreements": " ".join(shorten(line, 400) for line in disagreement_lines(board)),
        "notes": "; ".join(shorten(note, 400) for note in board.notes),
        "headline": headline(board).text,
        "room": board.room.mean if board.room else None,
        "no_gap": board.no_gap,
        "saturation": board.saturation.rule if board.saturation else "",
    }


def _test_labels(board: Board) -> str:
    return AGAINST_NOISY_LABELS if board.against_noisy_labels else "clean"


def _result(board: Board, row: Row) -> dict[str, Any]:
    line: dict[str, Any] = {
        "board": board.id,
        "title": board.title,
        "rank": row.rank,
        "method": row.name,
        "bound": BOUNDS[row.bound],
        "status": row.status,
        "n": row.n,
        "n_expected": row.n_expected,
        "failed": len(row.seeds_with("failed")),
        "missing_seeds": " ".join(map(str, row.missing_seeds)),
        "knowledge": "; ".join(row.knowledge),
        "notes": "; ".join(shorten(note, 400) for note in row.notes),
        "versus_best": row.verdict,
        "versus_none": row.none_verdict,
        **_difference("to_best", row.to_best),
        **_difference("to_none", row.to_none),
        **_gap(row.gap),
        "older_versions": row.older,
        "test_labels": _test_labels(board),
    }
    for key, summary in row.stats.items():
        numbers = (summary.mean, summary.sd, summary.half_width, summary.n)
        parts = (f"{key}_{part}" for part in _SUMMARY)
        line |= dict(zip(parts, numbers, strict=True))
    return line


def _difference(name: str, difference: Difference | None) -> dict[str, float | None]:
    if difference is None:
        return {}
    numbers = (difference.mean, difference.low, difference.high, difference.p)
    return {f"{name}_{part}": x for part, x in zip(_DIFFERENCE, numbers, strict=True)}


def _gap(gap: Gap | None) -> dict[str, float | None]:
    return dict(zip(_GAP, (gap.closed, gap.low, gap.high), strict=True)) if gap else {}


def _comparisons(boards: Iterable[Board]) -> Iterator[dict[str, Any]]:
    names = [f.name for f in fields(Comparison)]
    for board in boards:
        for comparison in board.comparisons:
            yield {"board": board.id, **{n: getattr(comparison, n) for n in names}}


def _run(board: Board, row: Row, run: SeedRun) -> dict[str, Any]:
    record = run.record
    metrics = record.metrics
    line = {
        "board": board.id,
        "method": row.name,
        "dataset": record.dataset.name,
        "noise": record.noise.kind,
        "noise_rate": record.noise.nominal_rate,
        "noise_params": canonical_json(json_safe(record.noise.params)),
        "selector": record.selector.name,
        "selector_params": canonical_json(json_safe(record.selector.params)),
        "trainer": record.trainer.name,
        "trainer_params": canonical_json(json_safe(record.trainer.params)),
        "seed": run.seed,
        "status": run.status,
        "reason": run.reason,
        "fingerprint": record.fingerprint,
        "noise_sha256": record.noise.sha256,
        "realized_noise_rate": record.noise.realized_rate,
        "protocol_sha256": record.protocol.sha256,
        "versions": versions_text(record.versions),
        "command": record.command,
    }
    values = {c.key: json_safe(c.read(metrics, record.times)) for c in COLUMNS} if metrics else {}
    return {**line, **values}
