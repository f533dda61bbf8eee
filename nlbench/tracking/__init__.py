"""MLflow, filled from run records and read back; no other room imports it.

The record on disk decides what is finished; MLflow is the team's view of it and can be filled
again at any time. Only this package imports mlflow, and it does so inside functions: the import
takes more than a second.
"""

from nlbench.tracking.reader import LoggedRun, read_records, store_summary, ui_links
from nlbench.tracking.refill import SyncReport, sync
from nlbench.tracking.settle import settle, settle_left_open
from nlbench.tracking.store import (
    check_alive,
    default_tracking_uri,
    mask,
    public_base,
    resolve_uri,
    ui_command,
    ui_environment,
)
from nlbench.tracking.tracker import MlflowTracker, TrackedRun
from nlbench.tracking.view import run_link

__all__ = [
    "LoggedRun",
    "MlflowTracker",
    "SyncReport",
    "TrackedRun",
    "check_alive",
    "default_tracking_uri",
    "mask",
    "public_base",
    "read_records",
    "resolve_uri",
    "run_link",
    "settle",
    "settle_left_open",
    "store_summary",
    "sync",
    "ui_command",
    "ui_environment",
    "ui_links",
]
