"""Results that travel: runs in a file, and what of it can be checked; nothing is ranked here."""

from nlbench.contribution.checks import Check, verify_run
from nlbench.contribution.comparison import Difference, pair_up, record_differences
from nlbench.contribution.currency import installed_versions, installed_versions_of
from nlbench.contribution.document import ContributedRun, encode, read_runs
from nlbench.contribution.evidence import Evidence, evidence_of
from nlbench.contribution.installed_facts import (
    DataFacts,
    InstalledFacts,
    Paper,
    installed_facts_of,
)
from nlbench.contribution.merging import backed_runs, merged, read_folder, trusted_records
from nlbench.contribution.not_checked import unchecked
from nlbench.contribution.rerun import Rerun, draw_runs, rerun

__all__ = [
    "Check",
    "ContributedRun",
    "DataFacts",
    "Difference",
    "Evidence",
    "InstalledFacts",
    "Paper",
    "Rerun",
    "backed_runs",
    "draw_runs",
    "encode",
    "evidence_of",
    "installed_facts_of",
    "installed_versions",
    "installed_versions_of",
    "merged",
    "pair_up",
    "read_folder",
    "read_runs",
    "record_differences",
    "rerun",
    "trusted_records",
    "unchecked",
    "verify_run",
]
