"""Results that travel: runs in a file, and what of it can be checked; nothing is ranked here."""

from nlbench.contribution.checks import Check, verify_run
from nlbench.contribution.document import ContributedRun, encode, read_runs
from nlbench.contribution.evidence import Evidence, evidence_of
from nlbench.contribution.merging import merged, read_folder

__all__ = [
    "Check",
    "ContributedRun",
    "Evidence",
    "encode",
    "evidence_of",
    "merged",
    "read_folder",
    "read_runs",
    "verify_run",
]
