"""The whole leaderboard as JSON, every number in full precision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nlbench_leaderboard.escape import json_safe
from nlbench_leaderboard.formats.headline import headline
from nlbench_leaderboard.formats.warnings import NEXT_STEPS
from nlbench_leaderboard.ranking.across import Across
from nlbench_leaderboard.ranking.board import COLUMNS, RANKED_BY, Board, Row, SeedRun
from nlbench_leaderboard.ranking.gap import Gap
from nlbench_leaderboard.ranking.matrix import Line, Matrix, matrices_of
from nlbench_leaderboard.ranking.stats import Summary
from nlbench_leaderboard.sources.reported import Reported, reported_for

FORMAT = "nlbench-leaderboard/4"


def to_json(
    boards: Sequence[Board], problems: Sequence[str] = (), across: Sequence[Across] = ()
) -> str:
    """Return the whole leaderboard as JSON text; shares in [0, 1], times in seconds."""
    content = {
        "format": FORMAT,
        "ranked_by": RANKED_BY,
        "problems": list(problems),
        "boards": [_board(board) for board in boards],
        "matrices": [_matrix(one) for one in matrices_of(boards, across)],
        "across": [asdict(one) for one in across],
    }
    # One line: with an indent, Python's encoder takes seconds for some thousand runs.
    return json.dumps(json_safe(content), allow_nan=False) + "\n"


def _board(board: Board) -> dict[str, Any]:
    return {
        "id": board.id,
        "title": board.title,
        "dataset": board.dataset.model_dump(mode="json"),
        "noise": board.noise.model_dump(mode="json", include={"kind", "nominal_rate", "params"}),
        "protocol": board.protocol.model_dump(mode="json"),
        "seeds": list(board.seeds),
        "accuracy_against_noisy_labels": board.against_noisy_labels,
        "older_versions": asdict(board.older) if board.older else None,
        "disagreements": [asdict(one) for one in board.disagreements],
        "next_for_disagreements": NEXT_STEPS if board.disagreements else None,
        "notes": list(board.notes),
        "headline": asdict(headline(board)),
        "room": asdict(board.room) if board.room else None,
        "no_gap": board.no_gap or None,
        "saturation": asdict(board.saturation) if board.saturation else None,
        "rows": [_row(row) for row in board.rows],
        "comparisons": [vars(comparison) for comparison in board.comparisons],
        "reported": [_reported(row) for row in reported_for(board)],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "rank_is_provisional": row.rank is not None and not row.is_complete,
        "method": row.label,
        "name": row.name,
        "bound": row.bound or None,
        "status": row.status,
        "versus_best": row.verdict or None,
        "versus_none": row.none_verdict or None,
        "to_best": asdict(row.to_best) if row.to_best else None,
        "to_none": asdict(row.to_none) if row.to_none else None,
        "gap_closed": _gap(row.gap),
        "older_versions": row.older or None,
        "knowledge": list(row.knowledge),
        "n": row.n,
        "n_expected": row.n_expected,
        "missing_seeds": list(row.missing_seeds),
        "notes": list(row.notes),
        "metrics": {key: _summary(summary) for key, summary in row.stats.items()},
        "runs": [_run(run) for run in row.runs],
    }


def _gap(gap: Gap | None) -> dict[str, Any] | None:
    return {"closed": gap.closed, **asdict(gap)} if gap else None


def _matrix(matrix: Matrix) -> dict[str, Any]:
    return {
        "protocol_id": matrix.protocol_id,
        "protocol_sha256": matrix.protocol_sha256,
        "boards": [board.id for board in matrix.boards],
        "settings": dict(matrix.settings),
        "counted": list(matrix.counted),
        "methods": [_line(line, matrix) for line in matrix.lines],
    }


def _line(line: Line, matrix: Matrix) -> dict[str, Any]:
    overall = line.overall
    cells = zip(matrix.boards, line.cells, strict=True)
    return {
        "method": line.name,
        "overall": {"closed": overall.closed, **asdict(overall)} if overall else None,
        "average_rank": line.rank,
        "knowledge": list(line.knowledge),
        "gap_closed": {board.id: _gap(row.gap) for board, row in cells if row},
    }


def _reported(row: Reported) -> dict[str, Any]:
    shown = {"method", "network", "noise_text", "accuracy_best", "accuracy_last", "n_seeds"}
    return {
        **row.result.model_dump(mode="json", include=shown),
        "protocol": row.protocol,
        "source": row.source.model_dump(mode="json"),
        "comparable": False,
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "n": summary.n,
        "mean": summary.mean,
        "sd": summary.sd,
        "ci95_half_width": summary.half_width,
    }


def _run(run: SeedRun) -> dict[str, Any]:
    record = run.record
    metrics = record.metrics
    return {
        "seed": run.seed,
        "status": run.status,
        "reason": run.reason,
        "fingerprint": record.fingerprint,
        "noise_sha256": record.noise.sha256,
        "realized_noise_rate": record.noise.realized_rate,
        "versions": record.versions,
        "command": record.command,
        "values": {c.key: c.read(metrics, record.times) for c in COLUMNS} if metrics else {},
        "other_tests": metrics.test.other_tests if metrics else {},
    }
