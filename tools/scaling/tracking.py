"""MLflow with many runs: committed runs are imported, logged by `nlbench sync`, and listed.

Seconds are the processor's: the store is in the same process, and the machine may be busy.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Store:
    """MLflow's local store (SQLite and files) with so many runs.

    Attributes:
        n_runs: In it.
        list_s: To read all runs, a thousand at a time, as the leaderboard of a team would.
        page_s: To read the first 100 of the largest board, as MLflow's page does.
        database: Bytes of the database for each run.
        artifacts: Bytes of the files for each run.
        n_files: Files for each run.
    """

    n_runs: int
    list_s: float
    page_s: float
    database: float
    artifacts: float
    n_files: float


def fill(home: Path, records: Path) -> tuple[int, float]:
    """Import a file of runs and log them; return how many are new, and seconds for each."""
    _nlbench(home, "import", str(records))
    before = _of_children()
    said = _nlbench(home, "sync")
    seconds = _of_children() - before
    found = re.search(r"(\d+) uploaded", said)
    n_new = int(found[1]) if found else 0
    return n_new, seconds / max(1, n_new)


def look(home: Path) -> Store:
    """Measure a store as it is."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    address = f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"
    client = MlflowClient(address)
    boards = [e.experiment_id for e in client.search_experiments(view_type=ViewType.ACTIVE_ONLY)]
    started, runs, token = time.process_time(), [], None
    while True:
        page = client.search_runs(boards, max_results=1000, page_token=token)
        runs += list(page)
        token = page.token
        if not token:
            break
    list_s = time.process_time() - started
    ids = [run.info.experiment_id for run in runs]
    started = time.process_time()
    client.search_runs([max(set(ids), key=ids.count)], max_results=100)
    page_s = time.process_time() - started
    files = [path for path in (home / "mlflow" / "artifacts").rglob("*") if path.is_file()]
    n = max(1, len(runs))
    return Store(
        n_runs=len(runs),
        list_s=list_s,
        page_s=page_s,
        database=(home / "mlflow" / "mlflow.db").stat().st_size / n,
        artifacts=sum(path.stat().st_size for path in files) / n,
        n_files=len(files) / n,
    )


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _nlbench(home: Path, *words: str) -> str:
    environment = {**os.environ, "NLBENCH_HOME": str(home), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "nlbench", *words],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout + done.stderr
