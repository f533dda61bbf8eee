"""Filling MLflow with the local records that it does not hold yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nlbench.errors import NlbenchError
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore
from nlbench.tracking.board import board_of
from nlbench.tracking.means import group_of
from nlbench.tracking.schema import run_name, sha256
from nlbench.tracking.settle import settle
from nlbench.tracking.store import is_of_a_file

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
        in a row, other than for a file of their own, the rest is not tried: the store is gone.
    """
    settle(store, tracker)
    records, failed = store.records()
    uploaded = already_there = in_a_row = 0
    for number, record in enumerate(records, start=1):
        line = f"[{number}/{len(records)}] {board_of(record).name} {run_name(record)}"
        try:
            new = _fill_once(tracker, record, store.folder(record.fingerprint))
        except NlbenchError as error:
            failed.append(f"{line}: {error}")
            in_a_row += not is_of_a_file(error.__cause__)
            outcome = "failed"
        else:
            uploaded, already_there, in_a_row = uploaded + new, already_there + (not new), 0
            outcome = "filled" if new else "already there"
        if progress is not None:
            progress(f"{line}: {outcome}")
        if in_a_row >= GIVE_UP_AFTER:
            failed.append(f"gave up; {len(records) - number} records were not tried")
            return SyncReport(uploaded, already_there, failed)
    failed += _refresh_means(tracker, records)
    return SyncReport(uploaded, already_there, failed)


def _refresh_means(tracker: MlflowTracker, records: Sequence[RunRecord]) -> list[str]:
    """Bring all means up to date, once per method; return a message if the store goes away."""
    finished = (record for record in records if record.status == "finished")
    one_each = {group_of(record): record for record in finished}
    try:
        for record in one_each.values():
            tracker.refresh_means(record)
    except NlbenchError as error:
        return [f"means over seeds: {error}"]
    return []


def _fill_once(tracker: MlflowTracker, record: RunRecord, folder: Path) -> bool:
    digest = sha256(record.to_json())
    there = tracker.runs_of(record.fingerprint)
    if any(run.record_sha256 == digest and not run.is_open for run in there):
        return False
    # The store went away in the middle of this very run: what was begun is completed.
    tracker.finish(record, folder, tracker.begun(record, None))
    return True
