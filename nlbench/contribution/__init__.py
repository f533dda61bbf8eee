"""Results that travel: runs in one JSON file, and what of it can be checked by whoever reads it."""

from nlbench.contribution.checks import Check, verify_run
from nlbench.contribution.currency import installed_versions, installed_versions_of
from nlbench.contribution.document import ContributedRun, encode, read_runs
from nlbench.contribution.evidence import Evidence, evidence_of
from nlbench.contribution.merging import merged, read_folder

__all__ = [
    "Check",
    "ContributedRun",
    "Evidence",
    "encode",
    "evidence_of",
    "installed_versions",
    "installed_versions_of",
    "merged",
    "read_folder",
    "read_runs",
    "verify_run",
]
