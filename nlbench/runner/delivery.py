"""What comes home of a run that took place elsewhere.

Imports nothing heavy: processes on the way, such as a cluster's proxy, unpack it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nlbench.runner.cell import CellStatus


@dataclass(frozen=True)
class Delivery:
    """What comes home of one cell, as plain content that any wire takes.

    Attributes:
        status: How it ended there.
        record: As JSON; "" where the run did not get as far as a record.
        message: Why it failed.
        wall_s: Seconds it took there.
        files: Content of the files beside the record, by name.
    """

    status: CellStatus
    record: str = ""
    message: str = ""
    wall_s: float = 0.0
    files: Mapping[str, bytes] = field(default_factory=dict)
