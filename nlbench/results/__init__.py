"""What a run leaves: its record, its files and the local store of both; not MLflow's copy.

``record`` has the record, ``store`` the folder per run, ``samples`` and ``gallery`` the files
beside it, ``metrics`` what is measured.
"""

from __future__ import annotations

from nlbench.results.record import RunRecord

__all__ = ["RunRecord"]
