"""How far the numbers of a repeated run may move, and why. All tolerances are here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nlbench.results.record import RunRecord

# What decides which kernels sum in which order.
_PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn")
_FIELDS = ("system", "cpu", "device")

ROUNDING = 1e-6
ONLINE = 0.03
TEST = 0.03


@dataclass(frozen=True)
class Tolerance:
    """Largest absolute difference of a share that counts as rounding, with the reason as text."""

    selection: float
    test: float
    reason: str

    @property
    def is_exact(self) -> bool:
        """Whether only equal numbers pass."""
        return self.selection == self.test == 0.0


def tolerance_for(stated: RunRecord, repeated: RunRecord) -> Tolerance:
    """Return the tolerance between two records of one run.

    Args:
        stated: The record that is checked.
        repeated: The record that was made here.
    """
    changes = environment_changes(stated.environment, repeated.environment)
    if not changes:
        return Tolerance(
            0.0, 0.0, "same versions, CPU and device: the same bits are promised, so none"
        )
    cause = f"sums are rounded otherwise with another {' and '.join(changes)}"
    if is_online(stated):
        return Tolerance(
            ONLINE, TEST,
            f"{cause}; training amplifies that, and this selector chooses by training losses",
        )  # fmt: skip
    return Tolerance(
        ROUNDING, TEST,
        f"{cause}; training amplifies that, and this selector chooses before training",
    )  # fmt: skip


def environment_changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs between two environments and can move the last bits.

    What a record does not name counts as different: records did not always name the CPU.
    """
    return [
        *(name for name in _PACKAGES if not _same(_packages(first), _packages(second), name)),
        *(name for name in _FIELDS if not _same(first, second, name)),
    ]


def is_online(record: RunRecord) -> bool:
    """Return whether the run's selector chose after every epoch: its share kept is a curve."""
    return "kept_fraction" in record.curves


def _same(first: Mapping[str, Any], second: Mapping[str, Any], name: str) -> bool:
    return bool(first.get(name)) and first.get(name) == second.get(name)


def _packages(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    packages = environment.get("packages")
    return packages if isinstance(packages, Mapping) else {}
