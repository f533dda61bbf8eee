"""One try at a run, and its clock; a run that was killed is tried again from its checkpoint."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

import torch

from nlbench.machine import PeakMemory
from nlbench.results.record import Times


@dataclass(frozen=True, eq=False)
class Attempt:
    """One try at a run: which, and since when.

    Attributes:
        number: Of the tries at this fingerprint, from 1.
        started_at: In UTC, as ISO 8601.
        began: The same by `time.perf_counter`.
        memory: The peak since then.
        earlier: Seconds and peak memory of earlier processes, whose work this one goes on from, by
            the names of `Times`.
        n_resumed: How often the run was taken up after its process had ended.
    """

    number: int
    started_at: str
    began: float
    memory: PeakMemory
    earlier: Mapping[str, float] = field(default_factory=dict)
    n_resumed: int = 0

    @classmethod
    def begin(cls, number: int, device: torch.device) -> Attempt:
        """Start the clock."""
        return cls(number, now(), time.perf_counter(), PeakMemory(device))

    def times(self, **seconds: float) -> Times:
        """Return the seconds by stage, with the total and the peak memory, of all processes."""
        now = {**seconds, "total_s": time.perf_counter() - self.began}
        added = {name: value + self.earlier.get(name, 0.0) for name, value in now.items()}
        peak = max(self.memory.mib(), self.earlier.get("peak_memory_mb", 0.0))
        return Times(**added, peak_memory_mb=peak)


def now() -> str:
    """Return the time in UTC as ISO 8601 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
