"""What a cell of a label file says: a class id or the name of a class."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from nlbench.errors import DataError, did_you_mean
from nlbench.noise.labels import Labels

_SHOWN = 3


class ClassWords:
    """The ids and names of K classes, as people write them."""

    def __init__(self, n_classes: int, class_names: Sequence[str] | None) -> None:
        self._n_classes = n_classes
        self._names = {_plain(name): i for i, name in enumerate(class_names or ())}

    def is_label(self, cell: str) -> bool:
        """Return whether a cell is a whole number or the name of a class."""
        return _plain(cell) in self._names or _whole(cell) is not None

    def ids(self, what: str, cells: Sequence[str], lines: Sequence[int]) -> Labels:
        """Return (N,) class ids.

        Args:
            what: Where the cells are from, for messages.
            cells: N cells: all ids, or all names.
            lines: N line numbers, for messages.

        Raises:
            DataError: if a cell is neither, or if all could be both and would differ.
        """
        numbers = [_whole(cell) for cell in cells]
        in_range = [n is not None and 0 <= n < self._n_classes for n in numbers]
        # "1.0" is the class named "1".
        by_name = [
            self._names.get(_plain(cell), self._names.get(str(number)))
            for cell, number in zip(cells, numbers, strict=True)
        ]
        if all(in_range) and None not in by_name and numbers != by_name:
            raise DataError(
                f"{what}: the class names of this data set are numbers, so the labels could be "
                f"names or ids (name {cells[0]!r} has id {by_name[0]}). Save ids as a .npy file, "
                "where numbers are always ids."
            )
        if None not in by_name:
            return np.array(by_name, dtype=np.int64)
        if all(in_range):
            return np.array(numbers, dtype=np.int64)
        named = [label is not None for label in by_name]
        right = named if sum(named) > sum(in_range) else in_range
        raise DataError(f"{what}: {self._refusal(cells, lines, right)}")

    def _refusal(self, cells: Sequence[str], lines: Sequence[int], right: Sequence[bool]) -> str:
        wrong = [i for i, ok in enumerate(right) if not ok]
        first = ", ".join(f"{cells[i]!r} in row {lines[i]}" for i in wrong[:_SHOWN])
        numbers = {_whole(cell) for cell in cells}
        hint = " Ids start at 0." if numbers == {*range(1, self._n_classes + 1)} else ""
        names = did_you_mean(cells[wrong[0]], self._names) if self._names else ""
        return (
            f"labels must be class ids in [0, {self._n_classes}) or class names, one kind for all, "
            f"got {len(wrong)} other of {len(cells)}: {first}.{hint} {names}".rstrip()
        )


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _whole(cell: str) -> int | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
