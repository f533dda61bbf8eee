"""Going on after a kill: live state as plain data, and the files that hold it; no training."""

from nlbench.checkpoints.folder import Checkpoint, CheckpointFolder
from nlbench.checkpoints.plain_state import (
    ResumeError,
    restored,
    saved,
    stateful_parts,
    storable,
)
from nlbench.checkpoints.resumable import Resumable

__all__ = [
    "Checkpoint",
    "CheckpointFolder",
    "Resumable",
    "ResumeError",
    "restored",
    "saved",
    "stateful_parts",
    "storable",
]
