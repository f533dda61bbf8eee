"""The gap closed: how much of the way from `none` to the oracle a method goes.

(accuracy - none) / (oracle - none), of means over the seeds that all three have with the same noisy
labels: 0 is training on everything, 1 is knowing the clean labels. The interval is Fieller's for a
ratio of paired means: it holds every ratio g for which the paired t-test of `method - none` against
g times `oracle - none` does not reject at 5 %. It is not corrected for the number of methods.

Where there is nothing to close, a ratio says nothing and is not given.

Source: Fieller, Journal of the Royal Statistical Society B 16 (1954).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nlbench_leaderboard.ranking.levels import TOLERANCE
from nlbench_leaderboard.ranking.paired import Cell
from nlbench_leaderboard.ranking.stats import t_quantile

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """The share of the gap that a method closes, with its 95 % interval if there is one.

    Attributes:
        n: Seeds that the method, `none` and the oracle share.
        gain: Mean of method - none over them, a share.
        room: Mean of oracle - none over them, a share above 0.
        low, high: Fieller's interval of `closed`; None below two seeds, or where it has no end
            because the room itself is uncertain.
    """

    n: int
    gain: float
    room: float
    low: float | None
    high: float | None

    @property
    def closed(self) -> float:
        """The gap closed; below 0 is worse than `none`, above 1 is better than the oracle."""
        return self.gain / self.room


def gap_closed(
    method: Mapping[Cell, float], none: Mapping[Cell, float], oracle: Mapping[Cell, float]
) -> Gap | None:
    """Return what a method closes of the gap, or None where on its seeds there is none to close.

    Args:
        method, none, oracle: Accuracy by noisy labels and seed.
    """
    shared = sorted(method.keys() & none.keys() & oracle.keys())
    if not shared:
        return None
    gains = np.array([method[cell] - none[cell] for cell in shared])
    rooms = np.array([oracle[cell] - none[cell] for cell in shared])
    gain, room = (math.fsum(values) / len(shared) for values in (gains, rooms))
    if room <= TOLERANCE:
        return None
    return Gap(len(shared), gain, room, *(fieller(gains, rooms) or (None, None)))


def fieller(gains: _Array, rooms: _Array) -> tuple[float, float] | None:
    """Return the 95 % interval of mean(gains) / mean(rooms), or None where it has no end."""
    n = len(gains)
    if n < 2:
        return None
    (vgg, vgr), (_, vrr) = np.cov(gains, rooms) / n
    gain, room = float(gains.mean()), float(rooms.mean())
    t2 = t_quantile(n - 1) ** 2
    # (gain - g room)^2 <= t^2 (vgg - 2 g vgr + g^2 vrr) is a g^2 - 2 b g + c <= 0.
    a, b, c = room**2 - t2 * vrr, gain * room - t2 * vgr, gain**2 - t2 * vgg
    if a <= 0:
        return None
    root = math.sqrt(max(0.0, b * b - a * c))
    return float(b - root) / float(a), float(b + root) / float(a)
