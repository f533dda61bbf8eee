"""Records: to JSON and back, and what is refused on the way."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nlbench.errors import DataError
from nlbench.files import canonical_json, write_atomic
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
    TrainerInfo,
)


def make_record(fingerprint: str = "ab" * 32, **changes: Any) -> RunRecord:
    selection = {
        "precision": 0.75,
        "recall": 0.5,
        "f1": 0.6,
        "auroc": None,
        "auprc": 0.1 + 0.2,
        "kept_fraction": 0.4,
        "noise_rate_before": 0.4,
        "noise_rate_after": 0.25,
        "worst_class_recall": 0.0,
        "recall_per_class": [0.5, None],
    }
    test = {"accuracy_last": 0.8, "accuracy_noisy_val": None, "accuracy_best_oracle": 0.81}
    content: dict[str, Any] = {
        "fingerprint": fingerprint,
        "status": "finished",
        "selector": SelectorInfo(name="clip-knn", params={"k": 5}, variant={"k": 5}),
        "dataset": DatasetInfo(
            name="Kätzchen", fingerprint="d", n_train=90, n_test=10, n_classes=2
        ),
        "noise": NoiseInfo(kind="pair", nominal_rate=0.4, realized_rate=0.4, sha256="n"),
        "seed": 3,
        "protocol": ProtocolInfo(id="v1", sha256="p", version=1, settings={"lr": 5e-4}),
        "metrics": Metrics(selection=SelectionMetrics(**selection), test=TestMetrics(**test)),
        "curves": {"train_loss": [1.5, None]},
        "diagnostics": {"nested": {"a": [1, 2.5, "x", None, True]}},
    }
    return RunRecord(**{**content, **changes})


def test_round_trip() -> None:
    record = make_record()
    again = RunRecord.from_json(record.to_json())
    assert again == record
    assert again.to_json() == record.to_json()
    assert again.metrics is not None
    assert again.metrics.selection.auprc == 0.1 + 0.2


def test_round_trip_of_a_failed_run() -> None:
    error = ErrorInfo(type="ValueError", message="k must be ≥ 1", traceback="line 1\nline 2")
    record = make_record(status="failed", metrics=None, error=error, attempt=2)
    assert RunRecord.from_json(record.to_json().encode()) == record


def test_the_schema_is_the_first_thing_in_the_file() -> None:
    content = json.loads(make_record().to_json())
    assert next(iter(content.items())) == ("schema", 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", ["curves", "diagnostics"])
def test_nan_and_infinity_are_refused(part: str, value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        make_record(**{part: {"train_loss": [value]}}).to_json()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_no_share(value: float) -> None:
    with pytest.raises(ValidationError):
        NoiseInfo(kind="pair", nominal_rate=0.4, realized_rate=value, sha256="n")


@pytest.mark.parametrize("value", [-0.01, 1.01, 40.0])
def test_a_percentage_is_no_share(value: float) -> None:
    with pytest.raises(ValidationError, match="realized_rate"):
        NoiseInfo(kind="pair", nominal_rate=0.4, realized_rate=value, sha256="n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 1: schema:"),
        ({"schema": "1.0"}, "schema:"),
        ({"surprise": True}, "surprise:"),
        ({"status": "fine"}, "status:"),
        ({"seed": "three"}, "seed:"),
        ({"selector": {"name": "x", "colour": "red"}}, r"selector\.colour:"),
    ],
)
def test_an_unknown_schema_is_refused_by_file(change: dict[str, Any], message: str) -> None:
    content = {**json.loads(make_record().to_json()), **change}
    with pytest.raises(DataError, match=message) as caught:
        RunRecord.from_json(json.dumps(content), source="/data/record.json")
    assert "/data/record.json" in str(caught.value)
    assert "Re-run the command" in str(caught.value)


@pytest.mark.parametrize("key", ["fingerprint", "status", "selector", "noise", "seed", "protocol"])
def test_a_missing_part_is_named(key: str) -> None:
    content = json.loads(make_record().to_json())
    del content[key]
    with pytest.raises(DataError, match=f"{key}: Field required"):
        RunRecord.from_json(json.dumps(content))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema": 1'])
def test_damaged_text_is_refused_by_file(text: bytes) -> None:
    with pytest.raises(DataError, match=r"here\.json is not a run record"):
        RunRecord.from_json(text, source="here.json")


def test_label_shows_what_differs_from_the_defaults() -> None:
    plain = make_record().model_copy(
        update={"method": "clip-knn+elr", "selector": SelectorInfo(name="clip-knn")}
    )
    assert plain.label == "clip-knn+elr"
    info = SelectorInfo(name="clip-knn", variant={"tau": 0.10000000001, "k": 5, "p": "x" * 40})
    trainer = TrainerInfo(name="elr", params={"beta": 0.9, "lr": 0.05}, variant={"beta": 0.9})
    record = plain.model_copy(update={"selector": info, "trainer": trainer})
    assert record.label == f"clip-knn+elr (beta=0.9, k=5, p={'x' * 23}…, tau=0.1)"


def test_canonical_json_does_not_depend_on_the_order() -> None:
    assert canonical_json({"b": {"d": 1, "c": 2}, "a": "ü"}) == canonical_json(
        {"a": "ü", "b": {"c": 2, "d": 1}}
    )
    assert canonical_json({"a": 1}) != canonical_json({"a": 1.5})


def test_write_atomic_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "file.json"
    write_atomic(path, "ein Kätzchen")
    assert path.read_text(encoding="utf-8") == "ein Kätzchen"
    write_atomic(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_crash_while_writing_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file.json"
    write_atomic(path, "old")

    def crash(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os if call == "fsync" else Path, call, crash)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new and longer")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_write_atomic_syncs_before_it_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "file.json", []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append((path.exists(), os.fstat(descriptor).st_size))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(path, "12345")
    assert seen == [(False, 5)]
