"""Mean, sample SD and 95 % t-interval of a handful of seeds."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

# Times and memory come from plugins and clocks: a value beyond this is a fault, and would make
# the sum overflow.
_LARGEST = 1e15


@dataclass(frozen=True)
class Summary:
    """What n runs say about one number; `sd` and `half_width` are None for a single run."""

    n: int
    mean: float
    sd: float | None
    half_width: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean; not clipped, so it may pass 0 or 1."""
        if self.half_width is None:
            return None
        return self.mean - self.half_width, self.mean + self.half_width


def summarize(values: Iterable[float | None]) -> Summary | None:
    """Return mean, SD and interval of the values, or None without a usable value.

    Args:
        values: One number per seed; None, NaN and infinite values are left out and lower `n`.

    >>> summarize([0.5])
    Summary(n=1, mean=0.5, sd=None, half_width=None)
    >>> print(f"{summarize([0.90, 0.92, 0.94]).half_width:.4f}")
    0.0497
    """
    usable = [v for v in values if v is not None and is_usable(v)]
    if not usable:
        return None
    n = len(usable)
    mean = math.fsum(usable) / n
    if n == 1:
        return Summary(1, mean, None, None)
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in usable) / (n - 1))
    return Summary(n, mean, sd, t_quantile(n - 1) * sd / math.sqrt(n))


def is_usable(value: float) -> bool:
    """Return whether a number can be averaged and written as JSON."""
    return math.isfinite(value) and abs(value) <= _LARGEST


@functools.cache
def t_quantile(degrees_of_freedom: int, level: float = 0.05) -> float:
    """Return the quantile of Student's t that is passed with a probability of `level`, two-sided.

    >>> print(f"{t_quantile(4):.3f} {t_quantile(4, 0.01):.3f}")
    2.776 4.604
    """
    from scipy.stats import t  # takes a second to import; a single-seed board never needs it

    return float(t.isf(level / 2, degrees_of_freedom))
