"""Curves of a selection that changes while a network learns."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


class SelectionCurves:
    """Takes note of what the first network trains on, epoch by epoch.

    Attributes:
        curves: ``kept_fraction`` and, where the clean labels are known, ``selection_f1``.
    """

    def __init__(self, is_clean: Tensor | None) -> None:
        self._is_clean = is_clean
        names = ("kept_fraction",) if is_clean is None else ("selection_f1", "kept_fraction")
        self.curves: dict[str, list[float | None]] = {name: [] for name in names}

    def note(self, keep: Tensor) -> None:
        """Add an epoch's decision, (N,) bool."""
        if self._is_clean is not None:
            hits = float((keep & self._is_clean).sum())
            total = float(keep.sum() + self._is_clean.sum())
            self.curves["selection_f1"].append(2 * hits / total if total else 0.0)
        self.curves["kept_fraction"].append(float(keep.float().mean()))

    def restore(self, curves: Mapping[str, list[float | None]]) -> None:
        """Go on with these."""
        self.curves.clear()
        self.curves.update(curves)

    def clear(self) -> None:
        """Begin again: curves are of the training that is measured."""
        for values in self.curves.values():
            values.clear()
