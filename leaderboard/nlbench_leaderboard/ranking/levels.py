"""When two measured numbers are equal: means of counts differ in their last bits by rounding only.

Accuracies are counts over the size of a test set, and their means over seeds are sums in some
order. Three rows with 1060 of 1080 right must share a rank, whatever the order of the sums.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

TOLERANCE = 1e-10
"""Rounding is below 1e-15; unequal means over up to 100 seeds of 100 000 images differ by more."""


def levels(values: Sequence[float]) -> list[float]:
    """Return the values, with those made exactly equal that differ by rounding only.

    >>> levels([0.1 + 0.2, 0.3, 0.4])
    [0.3, 0.3, 0.4]
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    result = list(values)
    for before, at in itertools.pairwise(order):
        if values[at] - values[before] <= TOLERANCE:
            result[at] = result[before]
    return result
