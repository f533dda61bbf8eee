"""How far the numbers of a repeated run may move, and why. All tolerances are here.

What they rest on is measured in docs/validation.md, "The same cell on another CPU".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nlbench.results.record import RunRecord

# What decides which kernels sum in which order.
_PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn")
_FIELDS = ("system", "cpu", "device")

# Largest absolute difference of a share. A selector that chooses before training meets rounding
# at its threshold alone: a sample or two. One that chooses by training losses follows the weights.
BEFORE_TRAINING = {
    **dict.fromkeys(("f1", "precision", "recall", "kept_fraction", "noise_rate_after"), 0.002),
    **dict.fromkeys((f"precision_at_{at}" for at in ("25", "50", "75", "clean_share")), 0.002),
    "auprc": 0.002,
    "auroc": 0.0001,
}
ONLINE = {
    **dict.fromkeys(BEFORE_TRAINING, 0.15),
    "f1": 0.06,
    "auprc": 0.06,
    "auroc": 0.03,
}
# Test accuracy after the last epoch. Wrong labels in training amplify what rounding began.
CLEAN_TRAINING, NOISY_TRAINING = 0.015, 0.06
NEARLY_CLEAN = 0.1  # share of wrong labels among those kept


@dataclass(frozen=True)
class Tolerance:
    """What counts as rounding between two records of one run.

    Attributes:
        limits: Largest absolute difference by metric (``selection.f1``); empty where all
            numbers must be equal. Metrics that are not named are not judged: the accuracy at the
            best noisy validation may be another epoch's, and a class has few images.
        reason: Why, in words.
    """

    limits: Mapping[str, float]
    reason: str

    def limit_of(self, metric: str) -> float | None:
        """Return a metric's limit, None where it is not judged."""
        if metric.startswith("test.other_tests."):
            metric = "test.accuracy_last"
        return self.limits.get(metric)

    @property
    def summary(self) -> str:
        """The limits in words."""
        if not self.limits:
            return "none"
        return (
            f"{self.limits['selection.f1']:g} for F1, {self.limits['selection.auroc']:g} for "
            f"AUROC, {100 * self.limits['test.accuracy_last']:g} percentage points for the last "
            "test accuracy"
        )


def tolerance_for(stated: RunRecord, repeated: RunRecord) -> Tolerance:
    """Return the tolerance between two records of one run.

    Args:
        stated: The record that is checked.
        repeated: The record that was made here.
    """
    changes = environment_changes(stated.environment, repeated.environment)
    if not changes:
        return Tolerance({}, "same CPU, device and versions, so the same bits are promised")
    online = is_online(stated)
    last = NOISY_TRAINING if online or not _is_nearly_clean(stated) else CLEAN_TRAINING
    when = "by training losses" if online else "before training"
    limits = {f"selection.{k}": v for k, v in (ONLINE if online else BEFORE_TRAINING).items()}
    return Tolerance(
        {**limits, "test.accuracy_last": last},
        f"{' and '.join(changes)} may differ, which rounds sums otherwise and parts the training; "
        f"this selector chooses {when}",
    )


def environment_changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs between two environments and can move the last bits.

    What a record does not name counts as different: records did not always name the CPU.
    """
    return [
        *(name for name in _FIELDS if not _same(first, second, name)),
        *(name for name in _PACKAGES if not _same(_packages(first), _packages(second), name)),
    ]


def is_online(record: RunRecord) -> bool:
    """Return whether the run's selector chose after every epoch: its share kept is a curve."""
    return "kept_fraction" in record.curves


def _is_nearly_clean(record: RunRecord) -> bool:
    after = record.metrics.selection.noise_rate_after if record.metrics else None
    return after is not None and after <= NEARLY_CLEAN


def _same(first: Mapping[str, Any], second: Mapping[str, Any], name: str) -> bool:
    return bool(first.get(name)) and first.get(name) == second.get(name)


def _packages(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    packages = environment.get("packages")
    return packages if isinstance(packages, Mapping) else {}
