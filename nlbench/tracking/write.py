"""Writing to MLflow in few calls: experiments, batches, data set inputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nlbench.errors import RunError
from nlbench.results.record import RunRecord
from nlbench.tracking.board import Board
from nlbench.tracking.grouping import refresh_view
from nlbench.tracking.schema import Point, cut, noise_label
from nlbench.tracking.view import links_in_notes

MAX_METRICS, MAX_PARAMS, MAX_TAGS = 800, 100, 100  # per call; together MLflow takes 1000
NOTE_TAG = "mlflow.note.content"

T = TypeVar("T")


def log(
    client: Any,
    run_id: str,
    metrics: Sequence[Point] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write metrics, params and tags of one run in as few calls as MLflow's limits allow.

    Tags go with the last call, so that a state tag is never written before its numbers.
    """
    from mlflow.entities import Metric, Param, RunTag

    rows = [Metric(p.key, p.value, p.time_ms, p.step) for p in metrics]
    pairs = [Param(key, value) for key, value in (params or {}).items()]
    labels = [RunTag(key, value) for key, value in (tags or {}).items()]
    *metric_parts, last_metrics = list(_chunks(rows, MAX_METRICS)) or [[]]
    *param_parts, last_params = list(_chunks(pairs, MAX_PARAMS)) or [[]]
    for part in metric_parts:
        client.log_batch(run_id, metrics=part)
    for part in param_parts:
        client.log_batch(run_id, params=part)
    first, *more = list(_chunks(labels, MAX_TAGS)) or [[]]
    for part in more:
        client.log_batch(run_id, tags=part)
    if last_metrics or last_params or first:
        client.log_batch(run_id, metrics=last_metrics, params=last_params, tags=first)


def experiment_for(client: Any, board: Board, artifacts: Path | None) -> str:
    """Return the experiment of a board's runs or of their means, created on first use.

    Args:
        client: An ``MlflowClient``.
        board: What all runs in the experiment share, from `board_of` or `means_board_of`.
        artifacts: Where files go; None leaves that to the server.

    Returns:
        The experiment id. Another board with the same name keeps its experiment, and this one
        gets a longer name.

    Raises:
        RunError: if the experiment was deleted, since MLflow keeps its name taken.
    """
    for name in (board.name, board.distinct_name):
        experiment = client.get_experiment_by_name(name) or _create(client, name, board, artifacts)
        if experiment.tags.get("nlbench.board") != board.key:
            continue
        if experiment.lifecycle_stage != "active":
            raise RunError(
                f"the MLflow experiment {name!r} is deleted, and its name stays taken. Restore it "
                f"with `mlflow experiments restore --experiment-id {experiment.experiment_id}`, "
                "or remove it for good with `mlflow gc`; then run `nlbench sync`."
            )
        refresh_view(client, experiment)
        return str(experiment.experiment_id)
    raise RunError(
        f"the MLflow experiments {board.name!r} and {board.distinct_name!r} are taken by other "
        "boards. Rename them in MLflow, then run `nlbench sync`."
    )


def dataset_input(record: RunRecord) -> Any:
    """Return the noisy data set as MLflow shows it; equal noisy labels have an equal digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    realized = record.noise.realized_rate
    profile = {
        "num_rows": record.dataset.n_train,
        "num_classes": record.dataset.n_classes,
        "noise_kind": record.noise.kind,
        "noise_rate_nominal": record.noise.nominal_rate,
        "noise_rate_realized": None if realized is None else round(realized, 6),
        "seed": record.seed,
    }
    source = {"fingerprint": record.dataset.fingerprint, "noise_sha256": record.noise.sha256}
    dataset = Dataset(
        name=cut(f"{record.dataset.name}-{noise_label(record)}", 200),
        digest=record.noise.sha256[:16] or "unknown",
        source_type="nlbench",
        source=json.dumps(source),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "train")])


def _create(client: Any, name: str, board: Board, artifacts: Path | None) -> Any:
    from mlflow.exceptions import MlflowException

    location = (artifacts / name).as_uri() if artifacts else None
    try:
        number = client.create_experiment(name, location, board.tags)
        note = f"Open: {links_in_notes(number)}. {board.tags[NOTE_TAG]}"
        client.set_experiment_tag(number, NOTE_TAG, note)
        return client.get_experiment(number)
    except MlflowException:
        # Another process was faster; anything else that went wrong is raised again below.
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise
        return experiment


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
