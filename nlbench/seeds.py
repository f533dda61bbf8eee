"""Seeds derived from named axes, so that no draw depends on what was drawn before it."""

from __future__ import annotations

import hashlib
import operator

import numpy as np
import numpy.typing as npt


def derive_seed(*parts: str | int) -> int:
    """Return a 63-bit seed that depends on every part and on nothing else.

    >>> derive_seed("noise", 0) == derive_seed("noise", 0)
    True
    >>> derive_seed("noise", 0) == derive_seed("noise", 1)
    False
    """
    # Text and number are told apart; numpy's integers are the integers that they equal.
    text = "\x1f".join(
        f"str:{part}" if isinstance(part, str) else f"int:{operator.index(part)}" for part in parts
    )
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def uniform_by_key(keys: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    """Return one uniform number in [0, 1) per key, independent of the order of the keys.

    A sample keeps its number when the data set is permuted or cut, which a generator that draws
    by position cannot offer.

    Args:
        keys: (N,) one integer per sample.
        seed: Seed of the stream.

    Returns:
        (N,) float64.

    Source: splitmix64 (Steele, Lea, Flood, OOPSLA 2014, "Fast splittable pseudorandom number
    generators"), the published constants, applied to key + seed.
    """
    with np.errstate(over="ignore"):
        z = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        for _ in range(2):
            z += np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
