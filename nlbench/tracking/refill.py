"""Filling MLflow with the local records that it does not hold yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nlbench.errors import NlbenchError
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore
from nlbench.tracking.board import board_of
from nlbench.tracking.schema import millis, run_name, sha256

if TYPE_CHECKING:
    from nlbench.tracking.tracker import MlflowTracker

GIVE_UP_AFTER = 3


@dataclass(frozen=True)
class SyncReport:
    """How many records `sync` filled and found, and a message per record it could not fill."""

    uploaded: int
    already_there: int
    failed: list[str]


def sync(
    store: RunStore,
    tracker: MlflowTracker,
    progress: Callable[[str], None] | None = None,
) -> SyncReport:
    """Fill MLflow with every local record that it does not hold yet.

    Args:
        store: The local records.
        tracker: Where they go.
        progress: Called with a line per record.

    Returns:
        Counts, and a message per record that could not be filled or read. After three failures
        in a row the rest is not tried: the store is gone.
    """
    records, failed = store.records()
    uploaded = already_there = in_a_row = 0
    for number, record in enumerate(records, start=1):
        line = f"[{number}/{len(records)}] {board_of(record).name} {run_name(record)}"
        try:
            new = _fill_once(tracker, record, store.folder(record.fingerprint))
        except NlbenchError as error:
            failed.append(f"{line}: {error}")
            in_a_row += 1
            outcome = "failed"
        else:
            uploaded, already_there, in_a_row = uploaded + new, already_there + (not new), 0
            outcome = "filled" if new else "already there"
        if progress is not None:
            progress(f"{line}: {outcome}")
        if in_a_row >= GIVE_UP_AFTER:
            failed.append(f"gave up; {len(records) - number} records were not tried")
            break
    return SyncReport(uploaded, already_there, failed)


def _fill_once(tracker: MlflowTracker, record: RunRecord, folder: Path) -> bool:
    digest = sha256(record.to_json())
    there = tracker.runs_of(record.fingerprint)
    if any(run.record_sha256 == digest for run in there):
        return False
    # The store went away in the middle of this very run: what was begun is completed.
    begun = millis(record.started_at)
    started = [r.run_id for r in there if r.status == "RUNNING" and r.start_time == begun]
    tracker.finish(record, folder, next(iter(started), None))
    return True
