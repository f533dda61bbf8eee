"""Which training sample a name in a user's file means."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

NO_SAMPLE, SEVERAL = -1, -2


class SampleNames:
    """Finds training samples by name: the whole path, its end, or more than the path.

    Names are compared without the difference between ``/`` and ``\\``, or between the two ways
    to write an accent. The extension may be left out.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._whole: dict[str, int] = {}
        self._stems: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        for position, name in enumerate(names):
            path = _plain(name)
            self._whole[path] = position
            _add(self._stems, _without_extension(path), position)
            for end in _ends_of(path):
                _add(self._ends, end, position)
                _add(self._ends, _without_extension(end), position)

    def find(self, name: str) -> int:
        """Return a sample's position, `NO_SAMPLE`, or `SEVERAL` where the name fits more than one.

        >>> names = SampleNames(["train/cat/1.png", "train/dog/1.png", "train/dog/2.png"])
        >>> [names.find(name) for name in ("dog/1.png", "/data/train/cat/1.png", "2", "1.png")]
        [1, 0, 2, -2]
        """
        path = _plain(name)
        for end in _ends_of(path):
            at = self._whole.get(end, self._stems.get(end))
            if at is not None:
                return at
        return self._ends.get(path, NO_SAMPLE)


def _add(positions: dict[str, int], key: str, position: int) -> None:
    if positions.setdefault(key, position) != position:
        positions[key] = SEVERAL


def _plain(name: str) -> str:
    path = unicodedata.normalize("NFC", name).replace("\\", "/")
    return path.removeprefix("./").strip("/")


def _ends_of(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


def _without_extension(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)
