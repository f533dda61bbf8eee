"""All runs as a DataFrame: a row per run, the same columns whatever was measured."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

import nlbench
from nlbench.results.frame import COLUMNS
from nlbench.results.record import ErrorInfo
from nlbench.results.store import RunStore

DOCS = Path(__file__).parents[2] / "docs" / "results.md"


def test_a_row_says_what_its_record_says() -> None:
    record = nlbench.run(
        "random:keep_fraction=0.5", noise="asymmetric", noise_rate=0.4, seed=3, epochs=2,
        trainer="label-smoothing", track=False,
    )  # fmt: skip
    failed = record.model_copy(
        update={
            "fingerprint": "f" * 64, "status": "failed", "metrics": None,
            "error": ErrorInfo(type="ValueError", message="no idea"),
        }
    )  # fmt: skip
    RunStore().folder(failed.fingerprint).mkdir()
    RunStore().write(failed)
    runs = nlbench.load_records()
    assert list(runs.columns) == list(COLUMNS)
    row = runs[runs.status == "finished"].iloc[0]
    assert record.metrics is not None
    assert (row.dataset, row.noise, row.noise_rate, row.seed) == ("digits", "asymmetric", 0.4, 3)
    assert (row.selector, row.trainer) == ("random", "label-smoothing")
    assert (row.method, row.label) == (record.method, record.label)
    assert json.loads(row.selector_params) == {"keep_fraction": 0.5}
    assert json.loads(row.trainer_params) == record.trainer.params
    assert row.realized_noise_rate == record.noise.realized_rate
    assert row.accuracy_last == record.metrics.test.accuracy_last
    assert row.selection_precision == record.metrics.selection.precision
    assert row.total_s == record.times.total_s
    assert row.error == ""
    (bad,) = runs[runs.status == "failed"].to_dict("records")
    assert bad["error"] == "ValueError: no idea"
    assert bad["accuracy_last"] != bad["accuracy_last"]  # NaN
    assert runs[["accuracy_last", "selection_auroc", "noise_rate"]].dtypes.eq("float64").all()


def test_an_empty_home_and_a_damaged_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty = nlbench.load_records(tmp_path)
    assert list(empty.columns) == list(COLUMNS)
    assert len(empty) == 0
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "record.json").write_text("{")
    with caplog.at_level(logging.WARNING, logger="nlbench"):
        assert len(nlbench.load_records(tmp_path)) == 0
    assert "record.json" in caplog.text


def test_every_column_is_documented() -> None:
    section = DOCS.read_text(encoding="utf-8").partition("## Records in pandas")[2]
    table = section.partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", table))
    assert {name for name in COLUMNS if not name.startswith("selection_")} <= named
