"""Records of one run that do not agree are kept apart, and reported with their size."""

from __future__ import annotations

from mlflow_records import make_metrics, make_record

from nlbench.contribution import disagreements, merged
from nlbench.results.record import RunRecord


def at(record: RunRecord, moment: str, f1: float, loss: float) -> RunRecord:
    changes = {
        "finished_at": moment, "metrics": make_metrics(f1=f1),
        "curves": {"train_loss": [2.0, loss]},
    }  # fmt: skip
    return record.model_copy(update=changes)


def test_records_that_differ_are_kept_apart_and_measured() -> None:
    run, other = make_record(seed=0), make_record(seed=1)
    old, middle, new = (
        at(run, f"2026-01-0{day}T00:00:00+00:00", f1, loss)
        for day, f1, loss in ((1, 0.80, 1.0), (2, 0.90, 1.5), (3, 0.85, 1.0))
    )
    copy = old.model_copy(update={"finished_at": "2026-01-04T00:00:00+00:00"})
    records = merged([new, copy], [old, middle, other])
    assert len(records) == 4  # the copy of `old` is the same result
    (disagreement,) = disagreements(records)
    assert [r.fingerprint for r in disagreement.records] == [run.fingerprint] * 3
    assert disagreement.test_accuracy == 0.0
    assert round(disagreement.selection_f1, 6) == 0.10
    assert disagreement.first_epoch == 2


def test_equal_results_and_failed_runs_do_not_disagree() -> None:
    run = make_record(seed=0)
    later = run.model_copy(update={"finished_at": "2027-01-01T00:00:00+00:00"})
    failed = run.model_copy(update={"status": "failed", "metrics": None})
    assert disagreements([run, later, failed]) == []
