"""Writing runs to one MLflow store: announced when they begin, filled from their records."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlbench.errors import RunError
from nlbench.results.record import RunRecord
from nlbench.tracking import schema
from nlbench.tracking.board import board_of
from nlbench.tracking.filling import close, upload
from nlbench.tracking.grouping import tell_versions_apart
from nlbench.tracking.liveness import is_dead
from nlbench.tracking.location import artifact_root, file_of
from nlbench.tracking.means import Means
from nlbench.tracking.opening import open_client
from nlbench.tracking.reader import LoggedRun, all_runs, experiments_of, logged_run, runs_in
from nlbench.tracking.store import (
    SYNC_HINT,
    check_alive,
    guarded,
    mask,
    public_base,
    resolve_uri,
)
from nlbench.tracking.view import links_in_notes, run_link, runs_link
from nlbench.tracking.write import NOTE_TAG, experiment_for, log

_log = logging.getLogger("nlbench")


@dataclass(frozen=True)
class TrackedRun:
    """Where a run is in MLflow; the links are None where the store has no server."""

    run_id: str
    experiment_id: str
    url: str | None
    view_url: str | None


class MlflowTracker:
    """Writes runs to one MLflow store. Every call names its run: there is no active run."""

    def __init__(self, client: Any, uri: str, home: Path) -> None:
        self._client = client
        self._address = uri
        self._file = file_of(uri)
        self._artifacts = artifact_root(uri, home)
        self._means = Means(client, self._artifacts)
        self._experiments: dict[str, str] = {}
        self._all_experiments: list[str] = []
        self._grouped: set[tuple[str, str, str]] = set()

    @classmethod
    def open(cls, uri: str | None, home: Path) -> MlflowTracker:
        """Open a store, creating a SQLite one where there is none.

        Args:
            uri: The tracking URI; None takes ``MLFLOW_TRACKING_URI``, then the store in `home`.
            home: The folder for everything that nlbench writes.

        Raises:
            ConfigError: if the URI is malformed or a plain folder.
            RunError: if the store does not answer.
        """
        address = resolve_uri(uri, home)
        return cls(open_client(address), address, home)

    @property
    def address(self) -> str:
        """The store's URI as `open` takes it, credentials included."""
        return self._address

    @property
    def uri(self) -> str:
        """The store's URI without credentials."""
        return mask(self._address)

    def _check_alive(self) -> None:
        check_alive(self._address)
        if file_of(self._address) != self._file:
            raise RunError(
                f"the MLflow store {self.uri} was deleted or replaced after it was opened. "
                f"{SYNC_HINT}"
            )

    def begin(self, record: RunRecord, retry_of: str | None = None) -> str:
        """Announce a run that starts now.

        Args:
            record: The run with status "running": everything but results.
            retry_of: The MLflow run of the attempt that this one repeats.

        Returns:
            The id of the MLflow run, for `finish`.

        Raises:
            RunError: if the store does not take it.
        """
        self._check_alive()
        with guarded(self._address):
            run_id = self._create(record, {"nlbench.retry_of": retry_of} if retry_of else {})
            log(self._client, run_id, params=schema.params_of(record))
        return run_id

    def finish(self, record: RunRecord, folder: Path, run_id: str | None) -> TrackedRun:
        """Fill a run from its record and its files, and close it.

        Repeating the call for the same run changes nothing, so a filling that was cut off can
        be repeated.

        Args:
            record: The run with status "finished" or "failed".
            folder: The run's local folder.
            run_id: The id from `begin`; without it, or where that run is gone, a new one is made.

        Returns:
            Where the run is now.

        Raises:
            RunError: if the store does not take it; the run then stays open.
        """
        self._check_alive()
        with guarded(self._address):
            run = self._get(run_id) if run_id else None
            if run is None:
                run = self._client.get_run(self._create(record, {}))
            problems = upload(self._client, record, folder, run.info.run_id)
            parent = self._parent(record)
            close(self._client, record, run, parent, problems)
            self._retire_others(record, run.info)
            if record.status == "finished":
                self._tell_versions_apart(record, run.info.experiment_id)
            if parent is not None:
                self._summarise(record, run.info.experiment_id)
        return self._tracked(run)

    def close_killed(self, run_id: str, reason: str) -> None:
        """Mark a run whose process died; a run that is gone or has ended stays as it is."""
        with guarded(self._address):
            run = self._get(run_id)
            if run is not None and run.info.status == "RUNNING":
                tags = {"nlbench.state": "stale", "nlbench.error": schema.cut(reason)}
                log(self._client, run_id, tags=tags)
                self._client.set_terminated(run_id, "KILLED")

    def begun(self, record: RunRecord, run_id: str | None) -> str | None:
        """Return the run that was begun for a record: `run_id`, else one that is open for it."""
        if run_id is not None:
            return run_id
        begun = schema.millis(record.started_at)
        there = self.runs_of(record.fingerprint)
        return next((r.run_id for r in there if r.is_open and r.start_time == begun), None)

    def close_dead(self, fingerprint: str, run_id: str | None) -> None:
        """Close the runs of a fingerprint that no process is at any more.

        Args:
            fingerprint: Of a run that no process of this home is at.
            run_id: The one that was noted for it, if any.
        """
        with guarded(self._address):
            runs = list(all_runs(self._client, _with_fingerprint(fingerprint)))
        for run in runs:
            number = run.info.run_id
            if logged_run(run).is_open and (number == run_id or is_dead(run)):
                self.close_killed(number, "the process was killed")

    def refresh_means(self, record: RunRecord) -> None:
        """Bring the means of a logged run's method up to date.

        Raises:
            RunError: if the store does not answer.
        """
        with guarded(self._address):
            self._summarise(record, self._experiment(record))

    def find(self, fingerprint: str) -> list[LoggedRun]:
        """Return the finished runs with a fingerprint that count, newest first."""
        return [r for r in self.runs_of(fingerprint) if r.counts and r.status == "FINISHED"]

    def runs_of(self, fingerprint: str) -> list[LoggedRun]:
        """Return all runs with a fingerprint whatever became of them, newest first."""
        text = _with_fingerprint(fingerprint)
        with guarded(self._address):
            runs = [logged_run(run) for run in all_runs(self._client, text)]
        return sorted(runs, key=lambda run: (run.start_time, run.end_time), reverse=True)

    def _create(self, record: RunRecord, more_tags: Mapping[str, str]) -> str:
        experiment_id = self._experiment(record)
        tags = {
            **schema.tags_of(record, board_of(record).key),
            "nlbench.state": "running",
            NOTE_TAG: schema.note_of(record, links_in_notes(experiment_id)),
            **more_tags,
        }
        run = self._client.create_run(
            experiment_id,
            start_time=schema.millis(record.started_at) or None,
            tags=tags,
            run_name=schema.run_name(record),
        )
        return str(run.info.run_id)

    def _retire_others(self, record: RunRecord, info: Any) -> None:
        """Tag older results of the same run as superseded, and close what died half-way."""
        if info.experiment_id not in self._all_experiments:
            self._all_experiments = [e.experiment_id for e in experiments_of(self._client)]
        started = schema.millis(record.started_at)
        text = _with_fingerprint(record.fingerprint)
        for run in runs_in(self._client, self._all_experiments, text):
            other = logged_run(run)
            if other.run_id == info.run_id:
                continue
            if other.counts and other.start_time <= started:
                self._client.set_tag(other.run_id, "nlbench.state", "superseded")
            elif other.status == "RUNNING" and is_dead(run):
                self.close_killed(other.run_id, "its process ended before it was logged")

    def _parent(self, record: RunRecord) -> str | None:
        from mlflow.exceptions import MlflowException

        if record.status != "finished":
            return None
        try:
            return self._means.run_of(record)
        except (MlflowException, RunError) as error:
            # Someone who may only add runs cannot write the means.
            _log.debug("The means over seeds could not be written: %s", error)
            return None

    def _summarise(self, record: RunRecord, experiment_id: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._means.update(record, experiment_id)
        except (MlflowException, RunError) as error:
            # The result itself is logged.
            _log.debug("The means over seeds could not be written: %s", error)

    def _tell_versions_apart(self, record: RunRecord, experiment_id: str) -> None:
        params = schema.params_of(record)
        selector = params["selector"]
        seen = (experiment_id, selector, params["versions"])
        if seen not in self._grouped:
            tell_versions_apart(self._client, experiment_id, selector)
            self._grouped.add(seen)

    def _tracked(self, run: Any) -> TrackedRun:
        base, info = public_base(self._address), run.info
        return TrackedRun(
            run_id=info.run_id,
            experiment_id=info.experiment_id,
            url=run_link(base, info.experiment_id, info.run_id) if base else None,
            view_url=runs_link(base, info.experiment_id) if base else None,
        )

    def _experiment(self, record: RunRecord) -> str:
        board = board_of(record)
        if board.key not in self._experiments:
            experiment_id = experiment_for(self._client, board, self._artifacts)
            self._experiments[board.key] = experiment_id
        return self._experiments[board.key]

    def _get(self, run_id: str) -> Any | None:
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None


def _with_fingerprint(fingerprint: str) -> str:
    hexadecimal = "".join(c for c in fingerprint if c.isalnum())
    return f"tags.`nlbench.fingerprint` = '{hexadecimal}'"
