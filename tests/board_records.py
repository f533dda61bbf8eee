"""Records and boards built by hand, for tests of the leaderboard and of what it reads."""

from __future__ import annotations

from typing import Any

from nlbench.results.record import RunRecord
from nlbench_leaderboard.formats.tables import tables_of, to_csv
from nlbench_leaderboard.ranking.board import Board, Row
from nlbench_leaderboard.ranking.rank import rank_boards


def make(
    name: str = "knn", seed: int = 0, accuracy: float | None = 0.9, **change: Any
) -> RunRecord:
    """Build a record; `accuracy=None` fails it, keys like `noise__sha256` reach into its parts."""
    status = change.pop("status", "finished" if accuracy is not None else "failed")
    metrics = None if status != "finished" else _metrics(accuracy or 0.0)
    record: dict[str, Any] = {
        "fingerprint": f"{name}-{seed}",
        "status": status,
        "selector": {"name": name, "is_reference": name == "none"},
        "dataset": {"name": "digits", "fingerprint": "d1", "n_train": 80, "n_test": 20,
                    "n_classes": 2},
        "noise": {"kind": "symmetric", "nominal_rate": 0.4, "realized_rate": 0.39,
                  "sha256": f"labels of seed {seed}"},
        "seed": seed,
        "protocol": {"id": "v1", "sha256": "p1", "version": 1},
        "versions": {"selector": 1, "trainer": 1, "training": 1},
        "metrics": metrics,
        "error": {"type": "ValueError", "message": "it broke"} if status == "failed" else None,
        "finished_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    for key, value in change.items():
        *parts, last = key.split("__")
        target = record
        for part in parts:
            target = target[part]
        target[last] = value
    return RunRecord.model_validate(record)


def _metrics(accuracy: float) -> dict[str, Any]:
    selection = {"precision": 0.9, "recall": 0.8, "f1": 0.85, "auroc": 0.95, "auprc": None,
                 "kept_fraction": 0.5, "noise_rate_before": 0.4, "noise_rate_after": 0.1,
                 "worst_class_recall": 0.7}  # fmt: skip
    test = {"accuracy_last": accuracy, "accuracy_noisy_val": None, "accuracy_best_oracle": 1.0}
    return {"selection": selection, "test": test}


def only(records: list[RunRecord]) -> Board:
    (board,) = rank_boards(records)
    return board


def row_of(board: Board, label: str) -> Row:
    (row,) = (row for row in board.rows if row.label == label)
    return row


def results_csv(boards: list[Board]) -> str:
    return to_csv(tables_of(boards)["leaderboard"])
