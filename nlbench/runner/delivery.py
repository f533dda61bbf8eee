"""What comes home of work that was done elsewhere.

Imports nothing heavy: processes on the way, such as a cluster's proxy, unpack it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nlbench.runner.work import Status


@dataclass(frozen=True)
class Delivery:
    """What comes home of one piece of work, as plain content that any wire takes.

    Attributes:
        status: How it ended there.
        record: Of a run, as JSON; "" where it did not get as far as a record.
        message: Why it failed.
        wall_s: Seconds it took there.
        files: Content of the files beside the record, by name.
    """

    status: Status
    record: str = ""
    message: str = ""
    wall_s: float = 0.0
    files: Mapping[str, bytes] = field(default_factory=dict)
