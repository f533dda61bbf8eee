"""Filling one run of MLflow from its record: files first, then all values, the state last."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlbench.results.record import RunRecord
from nlbench.tracking import schema
from nlbench.tracking.board import board_of
from nlbench.tracking.files import write_files
from nlbench.tracking.means import PARENT_TAG
from nlbench.tracking.view import links_in_notes
from nlbench.tracking.write import NOTE_TAG, dataset_input, log


def upload(client: Any, record: RunRecord, folder: Path, run_id: str) -> list[str]:
    """Upload a run's data set and files; return what could not be drawn or written."""
    client.log_inputs(run_id, datasets=[dataset_input(record)])
    with tempfile.TemporaryDirectory(prefix="nlbench-") as name:
        problems = write_files(record, folder, Path(name))
        client.log_artifacts(run_id, name)
    return problems


def close(
    client: Any, record: RunRecord, run: Any, parent: str | None, problems: Sequence[str]
) -> None:
    """Write all values in one batch, the state last: a reader never sees half a result."""
    finished, run_id = record.status == "finished", run.info.run_id
    curves, dropped = schema.curve_points(record)
    headline, _ = schema.headline_points(record)
    # Params cannot be changed in MLflow: those of an earlier attempt to fill stay.
    params = {k: v for k, v in schema.params_of(record).items() if k not in run.data.params}
    tags = {
        **_last_tags(record, run.info.experiment_id),
        **({PARENT_TAG: parent} if parent else {}),
    }
    notes = {"nlbench.nonfinite": ", ".join(dropped), "nlbench.problems": "; ".join(problems)}
    tags |= {key: schema.cut(text) for key, text in notes.items() if text}
    metrics = [*curves, *(headline if finished else [])]
    log(client, run_id, metrics=metrics, params=params, tags=tags)
    end_time = schema.millis(record.finished_at) or None
    client.set_terminated(run_id, "FINISHED" if finished else "FAILED", end_time)


def _last_tags(record: RunRecord, experiment_id: str) -> dict[str, str]:
    tags = {
        **schema.tags_of(record, board_of(record).key),
        "nlbench.state": "complete" if record.status == "finished" else "failed",
        "nlbench.record_sha256": schema.sha256(record.to_json()),
        NOTE_TAG: schema.note_of(record, links_in_notes(experiment_id)),
    }
    if record.error is not None:
        message = schema.hide_home(record.error.message)
        tags["nlbench.error_type"] = schema.cut(record.error.type)
        tags["nlbench.error"] = schema.cut(message, schema.TAG_LIMIT)
    return tags
