"""Records for the tests of MLflow: small, with every part that MLflow is filled from."""

from __future__ import annotations

import hashlib
from typing import Any

from nlbench.results.record import (
    DatasetInfo,
    ErrorInfo,
    Metrics,
    NoiseInfo,
    ProtocolInfo,
    RunRecord,
    SelectionMetrics,
    SelectorInfo,
    TestMetrics,
    Times,
    TrainerInfo,
)


def make_record(**changes: Any) -> RunRecord:
    label, seed = changes.pop("label", "clip-knn"), changes.pop("seed", 0)
    fields: dict[str, Any] = {
        "fingerprint": hashlib.sha256(f"{label} {seed}".encode()).hexdigest(),
        "status": "finished",
        "selector": SelectorInfo(name=label, params={"n_neighbors": 10, "acc@1": None}),
        "method": label,
        "trainer": TrainerInfo(name="cross-entropy", params={"epochs": 3, "lr": 0.1}),
        "dataset": DatasetInfo(
            name="digits", fingerprint="d" * 64, n_train=100, n_test=20, n_classes=2
        ),
        "noise": NoiseInfo(
            kind="symmetric",
            nominal_rate=0.4,
            realized_rate=0.41,
            sha256="0123456789abcdef" * 4,
        ),
        "seed": seed,
        "protocol": ProtocolInfo(
            id="digits-quick",
            sha256="e" * 64,
            version=1,
            settings={"training": {"epochs": 3}},
        ),
        "metrics": make_metrics(),
        "curves": {"train_loss": [2.0, 1.5, 1.0], "test_accuracy": [0.5, None, 0.75]},
        "times": Times(select_s=0.5, train_s=2.0, total_s=3.0, peak_memory_mb=99.5),
        "environment": {"python": "3.12.1", "device": "cpu"},
        "config": {"selector": {"name": label}},
        "command": f"nlbench run --seed {seed}",
        "started_at": "2026-01-02T03:04:05+00:00",
        "finished_at": "2026-01-02T03:04:15+00:00",
    }
    return RunRecord(**{**fields, **changes})


def make_metrics(f1: float = 0.873333333) -> Metrics:
    return Metrics(
        selection=SelectionMetrics(
            precision=0.9,
            recall=0.85,
            f1=f1,
            auroc=0.95,
            auprc=None,
            kept_fraction=0.5,
            noise_rate_before=0.41,
            noise_rate_after=0.1,
            worst_class_recall=0.8,
            recall_per_class=[0.8, None],
        ),
        test=TestMetrics(accuracy_last=0.75, accuracy_noisy_val=None, accuracy_best_oracle=0.8),
    )


def make_failed(**changes: Any) -> RunRecord:
    error = ErrorInfo(type="ValueError", message="no sample was kept", traceback="Traceback: ...")
    return make_record(status="failed", metrics=None, curves={}, error=error, **changes)


def as_running(record: RunRecord) -> RunRecord:
    return record.model_copy(update={"status": "running", "metrics": None, "curves": {}})
