"""Completing or closing in MLflow what a killed process left open there."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from nlbench.errors import DataError, NlbenchError
from nlbench.results.markers import Trace
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore
from nlbench.tracking.store import mask, resolve_uri

if TYPE_CHECKING:
    from nlbench.tracking.tracker import MlflowTracker

log = logging.getLogger("nlbench")


def settle(store: RunStore, tracker: MlflowTracker) -> None:
    """Bring MLflow up to date with what became of killed runs.

    One whose record was written is completed there from the record, its means with it; one that
    has no record is closed. Never raises: what cannot be settled now is left to the next command.

    Args:
        store: The local records, and the traces of killed runs.
        tracker: The MLflow store; runs that were logged to another one are left alone.
    """
    for trace in store.traces():
        if trace.mlflow_uri != tracker.uri:
            continue
        try:
            with store.settling(trace) as is_held:
                if is_held:
                    _settle(store, tracker, trace)
        except NlbenchError as error:
            log.warning("Run %s stays open in MLflow: %s", trace.fingerprint[:12], error)


def settle_left_open(store: RunStore, uri: str | None) -> None:
    """Settle as `settle` does; the store is opened only where a killed run left something open.

    Args:
        store: The local records.
        uri: The tracking URI; None takes ``MLFLOW_TRACKING_URI``, then the store in the home.
    """
    from nlbench.tracking.tracker import MlflowTracker

    traces = store.traces()
    if not traces:
        return
    try:
        address = resolve_uri(uri, store.home)
        if any(trace.mlflow_uri == mask(address) for trace in traces):
            settle(store, MlflowTracker.open(address, store.home))
    except NlbenchError as error:
        log.warning("Killed runs stay open in MLflow: %s", error)


def _settle(store: RunStore, tracker: MlflowTracker, trace: Trace) -> None:
    record = _record_of(store, trace)
    if record is None:
        tracker.close_dead(trace.fingerprint, trace.mlflow_run)
        return
    folder = store.folder(trace.fingerprint)
    tracked = tracker.finish(record, folder, tracker.begun(record, trace.mlflow_run))
    store.note_mlflow(record.fingerprint, {"uri": tracker.uri, **asdict(tracked)})


def _record_of(store: RunStore, trace: Trace) -> RunRecord | None:
    """Return what the killed attempt recorded; None if it did not get so far."""
    try:
        record = store.read(trace.fingerprint)
    except DataError:
        return None
    return record if record is not None and record.attempt >= trace.attempt else None
