"""Means over seeds, in experiments of their own: one beside each board, a run per method.

In the board's own experiment they would count as one more seed in every grouping, and nested runs
there cannot be sorted. So the seeds name their summary as parent, from the experiment beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlbench.results.record import RunRecord
from nlbench.tracking import schema
from nlbench.tracking.board import board_of, means_board_of
from nlbench.tracking.schema import Point
from nlbench.tracking.view import links_in_notes
from nlbench.tracking.write import NOTE_TAG, dataset_input, experiment_for, log

PARENT_TAG = "mlflow.parentRunId"
_SUMMARISED = {
    "test/acc_last": "acc",
    "sel/f1": "f1",
    "sel/precision": "precision",
    "sel/recall": "recall",
    "sel/kept": "kept",
    "time/total_s": "seconds",
}


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return the mean, and from two values on the sample SD and the 95 % t-interval.

    >>> {key: round(value, 2) for key, value in interval([1.0, 2.0, 3.0]).items()}
    {'mean': 2.0, 'sd': 1.0, 'ci95_low': -0.48, 'ci95_high': 4.48}
    """
    from scipy.stats import t

    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return {"mean": mean}
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    return {"mean": mean, "sd": sd, "ci95_low": mean - half, "ci95_high": mean + half}


class Means:
    """The summaries in one store; where they are is looked up once per process.

    Args:
        client: An ``MlflowClient``.
        artifacts: Where files would go; None leaves that to the server.
    """

    def __init__(self, client: Any, artifacts: Path | None) -> None:
        self._client, self._artifacts = client, artifacts
        self._experiments: dict[str, str] = {}
        self._runs: dict[str, str] = {}

    def run_of(self, record: RunRecord) -> str:
        """Return the run that holds the means of a record's method, created on first use.

        Raises:
            MlflowException, RunError: if it can be neither found nor written.
        """
        group = group_of(record)
        if group not in self._runs:
            experiment = self._experiment(record)
            self._runs[group] = _summary_run(self._client, record, group, experiment)
        return self._runs[group]

    def update(self, record: RunRecord, experiment_id: str) -> None:
        """Bring the means of a record's method up to date, and name them as parent of its seeds.

        Args:
            record: A finished run of the method.
            experiment_id: Its board's experiment.

        Raises:
            MlflowException, RunError: if they cannot be written.
        """
        from mlflow.exceptions import MlflowException

        runs = self._client.search_runs(
            [experiment_id],
            f"tags.`nlbench.group` = '{group_of(record)}' AND tags.`nlbench.state` = 'complete' "
            "AND attributes.status = 'FINISHED'",
            max_results=1000,
        )
        if not runs:
            return
        by_seed = {run.data.params["seed"]: run.data.metrics for run in runs}
        points = _points(by_seed, at=max(run.info.end_time or 0 for run in runs))
        seeds = ", ".join(sorted(by_seed, key=int))
        note = f"Mean of {len(by_seed)} seeds: {seeds}. Its board: {links_in_notes(experiment_id)}."
        tags = {NOTE_TAG: note}
        try:
            log(self._client, self.run_of(record), metrics=points, tags=tags)
        except MlflowException:
            # Somebody deleted it since it was looked up.
            self._runs.clear()
            self._experiments.clear()
            log(self._client, self.run_of(record), metrics=points, tags=tags)
        parent = self.run_of(record)
        for run in runs:
            if run.data.tags.get(PARENT_TAG) != parent:
                self._client.set_tag(run.info.run_id, PARENT_TAG, parent)

    def _experiment(self, record: RunRecord) -> str:
        board = means_board_of(record)
        if board.key not in self._experiments:
            self._experiments[board.key] = experiment_for(self._client, board, self._artifacts)
        return self._experiments[board.key]


def group_of(record: RunRecord) -> str:
    """Return what a method has in common over its seeds: the tag `nlbench.group`."""
    return schema.tags_of(record, board_of(record).key)["nlbench.group"]


def _points(by_seed: Mapping[str, Mapping[str, float]], at: int) -> list[Point]:
    # The step is the number of seeds: the newest value is that of most seeds.
    n = len(by_seed)
    points = [Point("seeds", float(n), at, n)]
    for metric, short in _SUMMARISED.items():
        values = [metrics[metric] for metrics in by_seed.values() if metric in metrics]
        statistics = interval(values) if values else {}
        points += [Point(f"{short}/{k}", round(v, 4), at, n) for k, v in statistics.items()]
    return points


def _summary_run(client: Any, record: RunRecord, group: str, experiment: str) -> str:
    oldest, *younger = _summaries(client, experiment, group) or [None]
    if oldest is None:
        _create(client, record, group, experiment)
        # Two processes may have done so at once; both then keep the same one.
        oldest, *younger = _summaries(client, experiment, group)
    for run in younger:
        client.delete_run(run.info.run_id)
    if oldest.info.status == "RUNNING":  # whoever created it was killed
        _complete(client, record, oldest.info.run_id)
    return str(oldest.info.run_id)


def _summaries(client: Any, experiment: str, group: str) -> list[Any]:
    runs = client.search_runs([experiment], f"tags.`nlbench.group` = '{group}'")
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def _create(client: Any, record: RunRecord, group: str, experiment: str) -> None:
    tags = {
        "nlbench.schema": schema.SCHEMA,
        "nlbench.group": group,
        "nlbench.bound": str(record.selector.is_bound).lower(),
        "mlflow.source.name": "nlbench",
        "mlflow.source.type": "LOCAL",
    }
    name = f"{schema.cut(record.label, 200)} mean"
    _complete(client, record, client.create_run(experiment, tags=tags, run_name=name).info.run_id)


def _complete(client: Any, record: RunRecord, run_id: str) -> None:
    log(client, run_id, params=_shared(schema.params_of(record)))
    client.log_inputs(run_id, datasets=[dataset_input(record)])
    client.set_terminated(run_id, "FINISHED")


def _shared(params: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in params.items() if key not in ("seed", "device")}
