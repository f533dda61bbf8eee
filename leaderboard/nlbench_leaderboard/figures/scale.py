"""From values to positions in a drawing, with round ticks: the one scale of all figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """From values to positions; `low` and `high` are at `start` and `end`.

    Attributes:
        log: Equal factors are equal distances.
        fixed: Ticks to use instead of round ones.
        most: At most so many round ticks.
        whole: Round ticks are whole numbers, as of epochs.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    fixed: tuple[float, ...] = ()
    most: int = 6
    whole: bool = False

    def __call__(self, value: float) -> float:
        """Return the position of a value, kept between the ends; the middle of an empty range."""
        low, high = self._of(self.low), self._of(self.high)
        part = (self._of(value) - low) / (high - low) if high > low else 0.5
        return round(self.start + (self.end - self.start) * min(max(part, 0.0), 1.0), 1)

    def holds(self, value: float) -> bool:
        """Return whether a value is between the ends."""
        return self.low <= value <= self.high

    def ticks(self) -> list[float]:
        """Return the fixed ticks, else a handful of round values between the ends."""
        if self.fixed:
            return list(self.fixed)
        if self.log:
            return log_ticks(self.low, self.high)
        return linear_ticks(self.low, self.high, self.most, 1.0 if self.whole else 0.0)

    def _of(self, value: float) -> float:
        return math.log10(max(value, 1e-9)) if self.log else value


def focus(
    values: Sequence[float], also: Sequence[float] = (), least: float = 0.02
) -> tuple[float, float]:
    """Return the ends of an axis of shares that follows most values; a few may lie outside.

    What is more than three interquartile ranges from the quartiles (Tukey's outer fences) does not
    stretch the axis: one method that collapsed would squeeze all others together.

    Args:
        values: Shares that the axis is for; at least one.
        also: Shares that are inside where this stretches the axis by at most two thirds.
        least: Smallest length of the axis.

    >>> focus([0.90, 0.91, 0.92, 0.93, 0.10])
    (0.898, 0.932)
    """
    ordered = sorted(values)
    n = len(ordered)
    lower, upper = ordered[n // 4], ordered[-1 - n // 4]
    fence = max(3 * (upper - lower), least)
    near = [value for value in ordered if lower - fence <= value <= upper + fence]
    low, high = near[0], near[-1]
    reach = 2 * max(high - low, least) / 3
    inside = [value for value in also if low - reach <= value <= high + reach]
    low, high = min([low, *inside]), max([high, *inside])
    margin = max((high - low) / 15, 0.001, (least - (high - low)) / 2)
    return round(max(0.0, low - margin), 6), round(min(1.0, high + margin), 6)


def linear_ticks(low: float, high: float, most: int = 6, least: float = 0.0) -> list[float]:
    """Return round values from low to high, counted in whole steps so that no error adds up.

    Args:
        low: Lower end of the axis.
        high: Upper end.
        most: At most so many values.
        least: Smallest distance of two values; a round one.

    >>> linear_ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    size = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (max(size * f, least) for f in (1, 2, 5, 10, 20)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [round(i * step, 12) for i in range(first, last + 1)]
    return [low, high]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten, only powers, or evenly spaced values, as it fits.

    >>> log_ticks(0.9, 30)
    [1.0, 2.0, 5.0, 10.0, 20.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        ticks = [round(f * 10.0**p, 12) for p in powers for f in factors]
        inside = [t for t in ticks if low <= t <= high]
        if len(inside) <= 7:
            break
    return inside if len(inside) > 2 else linear_ticks(low, high)


def tick_text(value: float, percent: bool) -> str:
    """Return a tick as text: shares in percent, without zeros at the end.

    >>> tick_text(0.875, True), tick_text(20.0, False)
    ('87.5', '20')
    """
    return f"{round(100 * value if percent else value, 6):g}"
