"""Boards as JSON, CSV and Markdown. JSON and CSV carry every number in full precision."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from nlbench_leaderboard.escape import clean, csv_text, json_safe, markdown, shorten
from nlbench_leaderboard.model import COLUMNS, RANKED_BY, Board, Row, SeedRun
from nlbench_leaderboard.reported import HEADING, Reported, reported_for
from nlbench_leaderboard.stats import Summary

FORMAT = "nlbench-leaderboard/1"
NEXT_COMMAND = "nlbench sweep"

_BOUNDS = {"upper": "upper bound", "lower": "no selection", "": ""}
_CSV_COLUMNS = (
    "board",
    "title",
    "rank",
    "selector",
    "bound",
    "status",
    "n",
    "n_expected",
    "failed",
    "missing_seeds",
    "knowledge",
    "notes",
)
_MARKDOWN_COLUMNS = {
    "selection_precision": "Precision",
    "selection_recall": "Recall",
    "selection_f1": "F1",
    "selection_auroc": "AUROC",
    "kept_fraction": "Kept",
    "noise_rate_after": "Noise after",
}


def to_json(boards: Iterable[Board], problems: Sequence[str] = ()) -> str:
    """Give the whole leaderboard as JSON text; shares in [0, 1], times in seconds."""
    content = {
        "format": FORMAT,
        "ranked_by": RANKED_BY,
        "problems": list(problems),
        "boards": [_board(board) for board in boards],
    }
    return json.dumps(json_safe(content), indent=1, allow_nan=False) + "\n"


def to_csv(boards: Iterable[Board]) -> str:
    """Give one line per board and selector, with mean, SD, interval and n of every number."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    parts = ("mean", "sd", "ci95_half_width", "n")
    numbers = [f"{column.key}_{part}" for column in COLUMNS for part in parts]
    writer.writerow([*_CSV_COLUMNS, *numbers])
    for board in boards:
        for row in board.rows:
            writer.writerow([csv_text(board.id), csv_text(board.title), *_csv_cells(row)])
    return stream.getvalue()


def to_markdown(boards: Sequence[Board], problems: Sequence[str] = ()) -> str:
    """Give one table per board, in percent, as it can be pasted into an issue or a README."""
    lines = ["# nlbench leaderboard", ""]
    if not boards:
        lines += [f"No runs yet. Next: `{NEXT_COMMAND}`."]
    else:
        lines += [
            "Test accuracy after the last epoch in percent; ± is half the 95 % t-interval over "
            "seeds. Bounds are not ranked; a rank in parentheses lacks seeds.",
        ]
    if problems:
        lines += ["", *(f"- Left out: {markdown(shorten(p, 400))}" for p in problems)]
    for board in boards:
        lines += ["", *_markdown_board(board)]
    return "\n".join(lines).rstrip() + "\n"


def percent(share: float | None, digits: int = 2) -> str:
    """Give a share as percent without the sign, a dash for None.

    >>> percent(0.93412)
    '93.41'
    """
    return "–" if share is None else f"{100 * share:.{digits}f}"


def accuracy_text(row: Row) -> str:
    """Give ``93.41 ± 0.35 (n=3)``, or the status of a row without a finished run."""
    if row.accuracy is None:
        return row.status
    n = f"n={row.n}" if row.is_complete else f"n={row.n} of {row.n_expected}"
    half = row.accuracy.half_width
    spread = "" if half is None else f" ± {percent(half)}"
    return f"{percent(row.accuracy.mean)}{spread} ({n})"


def mean_percent(row: Row, key: str) -> str:
    """Give the mean of one share of a row in percent, a dash where nothing was measured."""
    return percent(row.stats[key].mean) if key in row.stats else "–"


def _board(board: Board) -> dict[str, Any]:
    return {
        "id": board.id,
        "title": board.title,
        "dataset": board.dataset.model_dump(mode="json"),
        "noise": board.noise.model_dump(mode="json", include={"kind", "nominal_rate", "params"}),
        "protocol": board.protocol.model_dump(mode="json"),
        "seeds": list(board.seeds),
        "notes": list(board.notes),
        "rows": [_row(row) for row in board.rows],
        "reported": [_reported(row) for row in reported_for(board)],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "rank_is_provisional": row.rank is not None and not row.is_complete,
        "selector": row.label,
        "tag": row.tag,
        "bound": row.bound or None,
        "status": row.status,
        "knowledge": list(row.knowledge),
        "n": row.n,
        "n_expected": row.n_expected,
        "missing_seeds": list(row.missing_seeds),
        "notes": list(row.notes),
        "metrics": {key: _summary(summary) for key, summary in row.stats.items()},
        "runs": [_run(run) for run in row.runs],
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
        "source_sha256": record.selector.source_sha256,
        "command": record.command,
        "values": {c.key: c.read(metrics, record.times) for c in COLUMNS} if metrics else {},
        "other_tests": metrics.test.other_tests if metrics else {},
    }


def _csv_cells(row: Row) -> list[Any]:
    cells: list[Any] = [
        "" if row.rank is None else row.rank,
        csv_text(row.name),
        _BOUNDS[row.bound],
        row.status,
        row.n,
        row.n_expected,
        len(row.seeds_with("failed")),
        " ".join(map(str, row.missing_seeds)),
        csv_text("; ".join(row.knowledge)),
        csv_text("; ".join(shorten(note, 400) for note in row.notes)),
    ]
    for column in COLUMNS:
        s = row.stats.get(column.key)
        # An empty cell, not 0: nothing was measured.
        cells += [s.mean, s.sd, s.half_width, s.n] if s else ["", "", "", ""]
    return cells


def _markdown_board(board: Board) -> list[str]:
    head = ["Rank", "Selector", "Accuracy, %", *_MARKDOWN_COLUMNS.values(), "Knows", "Notes"]
    lines = [f"## {markdown(board.title)}", ""]
    if board.notes:
        lines += [*(f"- {markdown(shorten(note, 400))}" for note in board.notes), ""]
    lines += [_line(head), _line(["---:", "---", *["---:"] * 7, "---", "---"])]
    for row in board.rows:
        bound = f" ({_BOUNDS[row.bound]})" if row.bound else ""
        lines.append(
            _line(
                [
                    row.rank_text,
                    markdown(shorten(row.name, 120)) + bound,
                    accuracy_text(row),
                    *(mean_percent(row, key) for key in _MARKDOWN_COLUMNS),
                    markdown(", ".join(row.knowledge)),
                    markdown("; ".join(shorten(note, 200) for note in row.notes)),
                ]
            )
        )
    return lines + _markdown_reported(reported_for(board))


def _markdown_reported(rows: Sequence[Reported]) -> list[str]:
    if not rows:
        return []
    head = ["Method", "Best epoch on test, %", "Last epoch, %", "Network", "Source", "Protocol"]
    lines = ["", f"### {HEADING}", "", _line(head), _line(["---", "---:", "---:", *["---"] * 3])]
    for row in rows:
        numbers = (row.result.accuracy_best, row.result.accuracy_last)
        texts = (row.result.network, row.source.text, row.protocol)
        cells = [markdown(shorten(row.result.method, 120)), *map(percent, numbers)]
        lines.append(_line([*cells, *(markdown(shorten(text, 400)) for text in texts)]))
    return lines


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(clean(cell) for cell in cells) + " |"
