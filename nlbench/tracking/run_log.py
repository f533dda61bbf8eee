"""A run's line to MLflow: a store that is gone costs a warning, never the run."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from nlbench.results.record import RunRecord
from nlbench.results.store import Claim, RunStore

if TYPE_CHECKING:
    from nlbench.tracking import MlflowTracker

log = logging.getLogger("nlbench")


class RunLog:
    """Logging that never costs a run: a store that is gone leaves a warning and work for sync."""

    def __init__(self, tracker: MlflowTracker | None, store: RunStore, claim: Claim) -> None:
        self._tracker, self._store, self._claim = tracker, store, claim
        self._run_id: str | None = None

    def begin(self, record: RunRecord) -> None:
        """Open the MLflow run, and close the one that a killed process left open."""
        if self._tracker is None:
            return
        try:
            # Noted before there is a run: whoever finds the note looks for one.
            self._store.mark(self._claim, self._tracker.uri)
            killed = self._claim.previous_mlflow_run
            if killed:
                self._tracker.close_killed(killed, "the process was killed")
            self._run_id = self._tracker.begin(record, retry_of=killed)
            self._store.mark(self._claim, self._tracker.uri, self._run_id)
        except Exception as error:
            self._give_up(error)

    def finish(self, record: RunRecord) -> None:
        """Fill the MLflow run from the record."""
        if self._tracker is None:
            return
        try:
            tracked = self._tracker.finish(record, self._claim.folder, self._run_id)
            place = {"uri": self._tracker.uri, **asdict(tracked)}
            self._store.note_mlflow(record.fingerprint, place)
        except Exception as error:
            self._give_up(error)

    def abandon(self, reason: str) -> None:
        """Close the MLflow run of a run that could not be recorded."""
        if self._tracker is None or self._run_id is None:
            return
        try:
            self._tracker.close_killed(self._run_id, reason)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._tracker = None
        log.warning("%s The run goes on; its record is kept here.", error)
