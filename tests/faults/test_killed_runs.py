"""Kills at random moments: NLBENCH_KILLS=50 for as many as docs/reliability.md has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "killed_runs.py"


def test_killed_runs_end_with_the_result_of_a_quiet_one(tmp_path: Path) -> None:
    n_kills = int(os.environ.get("NLBENCH_KILLS", "3"))
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(n_kills), "0", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
