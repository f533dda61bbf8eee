"""Arrays as text in JSON: a type, a length, and the compressed values; no pickles."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbench.errors import DataError

MAX_ITEMS = 20_000_000

Array = npt.NDArray[Any]

# Little-endian, whatever the machine; "bits" are eight to a byte.
_TYPES = {"u1": "<u1", "u2": "<u2", "i4": "<i4", "f4": "<f4", "f8": "<f8"}


def pack(values: Array) -> dict[str, Any]:
    """Return a 1-D array as JSON content; whole numbers take the smallest type that holds them.

    >>> pack(np.array([True, False]))["type"], pack(np.array([3, 300]))["type"]
    ('bits', 'u2')
    """
    name, raw = _to_bytes(values)
    data = base64.b64encode(zlib.compress(raw, 9)).decode()
    return {"type": name, "n": len(values), "data": data}


def key_of(values: Array) -> str:
    """Return the name of an array: a hash of its type, length and values."""
    name, raw = _to_bytes(values)
    return hashlib.sha256(f"{name} {len(values)} ".encode() + raw).hexdigest()[:32]


def packed_length(packed: Any) -> int:
    """Return how many values a packed array says it has; 0 where it is not one."""
    n = packed.get("n") if isinstance(packed, dict) else None
    return n if type(n) is int and n > 0 else 0


def unpack(packed: Any) -> Array:
    """Return what `pack` packed; whole numbers as int64.

    Raises:
        DataError: if it is anything else, or not finite.
    """
    try:
        name, n, data = packed["type"], packed["n"], packed["data"]
        # A bool is an int too, and a length decides how much memory is taken.
        if type(n) is not int or not 0 <= n <= MAX_ITEMS:
            raise ValueError(f"its length must be in [0, {MAX_ITEMS}]")
        values = _from_bytes(name, n, base64.b64decode(data, validate=True))
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise DataError(f"not a packed array: {type(error).__name__}: {error}") from None
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("a packed array has a number that is not finite")
    return values.astype(np.int64) if values.dtype.kind in "iu" else values


def _to_bytes(values: Array) -> tuple[str, bytes]:
    if values.dtype.kind == "b":
        return "bits", np.packbits(values).tobytes()
    if values.dtype.kind == "f":
        name = "f8" if values.dtype.itemsize == 8 else "f4"
        return name, values.astype(_TYPES[name]).tobytes()
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    name = "i4" if low < 0 or high >= 2**16 else "u1" if high < 2**8 else "u2"
    if not -(2**31) <= low <= high < 2**31:
        raise DataError(f"whole numbers must fit 32 bits, got {low} to {high}.")
    return name, values.astype(_TYPES[name]).tobytes()


def _from_bytes(name: str, n: int, compressed: bytes) -> Array:
    size = (n + 7) // 8 if name == "bits" else n * np.dtype(_TYPES[name]).itemsize
    unzip = zlib.decompressobj()
    # The limit keeps a small text from filling the memory.
    raw = unzip.decompress(compressed, size + 1)
    if len(raw) != size or unzip.unconsumed_tail or not unzip.eof:
        raise ValueError(f"{n} values of type {name} need {size} bytes")
    if name == "bits":
        return np.unpackbits(np.frombuffer(raw, np.uint8), count=n).astype(bool)
    return np.frombuffer(raw, _TYPES[name])
