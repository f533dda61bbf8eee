"""Whether the process that an MLflow run belongs to is still there."""

from __future__ import annotations

import os
from typing import Any

from nlbench.tracking.schema import host_hash


def is_dead(run: Any) -> bool:
    """Return whether a run's process is known to be gone: it was of this machine, or is this one.

    Args:
        run: A run of MLflow, with its tags.
    """
    tags = run.data.tags
    pid = tags.get("nlbench.pid", "")
    if tags.get("nlbench.host") != host_hash() or not pid.isdigit():
        return False
    return int(pid) == os.getpid() or not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
