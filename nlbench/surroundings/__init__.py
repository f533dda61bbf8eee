"""Torch, NumPy and the process around a call of a plugin, compared and put back; no call itself.

A switch that one plugin leaves behind changes the numbers of all that run after it, under a
fingerprint that knows nothing of it.
"""

from nlbench.surroundings.keeping import (
    keep_switches,
    kept,
    noting,
    switches_before,
    watched,
)
from nlbench.surroundings.process import PROCESS, start_method
from nlbench.surroundings.switches import SWITCHES

__all__ = [
    "PROCESS",
    "SWITCHES",
    "keep_switches",
    "kept",
    "noting",
    "start_method",
    "switches_before",
    "watched",
]
