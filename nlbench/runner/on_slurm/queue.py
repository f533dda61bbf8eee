"""What Slurm says of jobs, by its own commands; no accounting, which many clusters lack."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable

from nlbench.errors import RunError

# From squeue's man page; in these a job will not do anything more.
ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    }
)
_PATIENCE_S = 60.0
_LEAST_ARRAY = 1000  # Slurm's own MaxArraySize, less 1


def states_of(job_ids: Iterable[str]) -> dict[str, str]:
    """Return the states of jobs by their numbers, such as ``12_3``; those it has forgotten lack.

    Raises:
        RunError: if Slurm does not answer.
    """
    arrays = sorted({job_id.partition("_")[0] for job_id in job_ids})
    if not arrays:
        return {}
    ask = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T"]
    try:
        said = _asked([*ask, f"--jobs={','.join(arrays)}"])
    except RunError as error:
        if "Invalid job id" in str(error):  # it has forgotten them all
            return {}
        raise
    return {words[0]: words[1] for line in said.splitlines() if len(words := line.split()) == 2}


def cancel(job_ids: Iterable[str]) -> None:
    """Cancel jobs, whole arrays of them; those that have ended do not mind.

    Raises:
        RunError: if Slurm does not answer.
    """
    arrays = sorted({job_id.partition("_")[0] for job_id in job_ids})
    if arrays:
        _asked(["scancel", "--quiet", *arrays])


def largest_array() -> int:
    """Return how many jobs one array may have.

    Raises:
        RunError: if Slurm does not answer.
    """
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _asked(["scontrol", "show", "config"]))
    return max(1, int(found[1]) - 1) if found else _LEAST_ARRAY


def _asked(words: list[str]) -> str:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except FileNotFoundError:
        raise RunError(
            f"{words[0]} is not on the path: --executor slurm must be used where jobs can be "
            "submitted, as on a login node. Or leave it out, to run here."
        ) from None
    except subprocess.TimeoutExpired:
        raise RunError(f"Slurm does not answer: {words[0]} took {_PATIENCE_S:g} s.") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        text = "; ".join(line.removeprefix(f"{words[0]}: ") for line in said)
        raise RunError(f"{words[0]} failed: {text}. Look whether `sinfo` answers here.")
    return done.stdout
