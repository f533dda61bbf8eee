"""The files of a run's checkpoints: the last two, whole or not at all, checked when they are read.

A checkpoint is a pair, ``<number>.pt`` (torch's format, loaded with `weights_only`: tensors and
plain data, no code) and ``<number>.json`` (its SHA-256, and what it was made with). The second is
written last: without it there is no checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from nlbench.errors import RefusedError, refusals
from nlbench.files import (
    atomic_stream,
    canonical_json,
    delete_all,
    entries_of,
    read_file,
    write_atomic,
)

FORMAT = 1
KEPT = 2
_MOST_FACTS = 2**20


@dataclass(frozen=True)
class Checkpoint:
    """A saved state.

    Attributes:
        number: Of this run's checkpoints, from 1.
        facts: What was said of it when it was written.
        content: Plain data.
    """

    number: int
    facts: Mapping[str, Any]
    content: Any


class CheckpointFolder:
    """Checkpoints of one run, under the run's lock.

    Args:
        folder: It may not exist yet.
        made_with: What must be the same for a checkpoint to be taken up: versions, device.
        say: Told of each checkpoint that is not taken up, and why.
    """

    def __init__(
        self, folder: Path, made_with: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self._folder, self._made_with, self._say = folder, dict(made_with), say
        self._damaged: set[int] = set()

    def write(self, content: Any, facts: Mapping[str, Any]) -> None:
        """Add a checkpoint; the last two stay.

        Raises:
            RefusedError: if the operating system does not take it; those before it stay.
        """
        number = max(self._numbers(), default=0) + 1
        path = self._folder / f"{number:06}.pt"
        with refusals(path), atomic_stream(path) as stream:
            hashing: Any = _Hashing(stream)
            torch.save(content, hashing)
        sha256 = hashing.digest.hexdigest()
        told = {"format": FORMAT, "sha256": sha256, **facts, "made_with": self._made_with}
        told["own_sha256"] = _own_digest(told)
        write_atomic(path.with_suffix(".json"), json.dumps(told))
        whole = set(self._numbers(".json")) - self._damaged
        self._clear(sorted(whole)[-KEPT:])

    def newest_first(self, device: torch.device) -> Iterator[Checkpoint]:
        """Yield the checkpoints that can be taken up; what is damaged or of another version is not.

        Args:
            device: Where tensors go that were on a device of the same kind.
        """
        for number in sorted(self._numbers(".json"), reverse=True):
            path = self._folder / f"{number:06}.pt"
            try:
                facts = _facts(path.with_suffix(".json"))
                other = self._what_differs(facts)
                content = None if other else _content(path, facts["sha256"], device)
            except Exception as error:  # whatever a damaged file makes its reader raise
                reason = " ".join(f"{error}".split())[:200] or type(error).__name__
                self._damaged.add(number)
                self._say(f"checkpoint '{path}' is damaged ({reason}), and is passed over.")
                continue
            if other:
                self._say(f"checkpoint '{path}' is passed over: it was made with {other}.")
                continue
            yield Checkpoint(number, facts, content)

    def discard(self) -> None:
        """Delete all of them; what cannot be deleted is left, and harms nobody."""
        delete_all([self._folder] if self._folder.is_dir() else [])

    def _what_differs(self, facts: Mapping[str, Any]) -> str:
        made_with = dict(facts["made_with"])
        if facts["format"] != FORMAT:
            return f"another format ({facts['format']})"
        return ", ".join(
            f"{name} {made_with.get(name) or 'missing'} (now {now or 'missing'})"
            for name, now in self._made_with.items()
            if made_with.get(name) != now
        )

    def _numbers(self, ending: str = "") -> list[int]:
        """Return the numbers of files with an ending; of all, also of half a pair, without one."""
        try:
            stems = {path.stem for path in entries_of(self._folder) if path.name.endswith(ending)}
        except RefusedError as error:
            self._say(str(error))
            return []
        return [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]

    def _clear(self, kept: Iterable[int]) -> None:
        names = {f"{number:06}{end}" for number in kept for end in (".pt", ".json")}
        delete_all(path for path in self._folder.iterdir() if path.name not in names)


class _Hashing:
    """A stream that takes note of what is written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.digest = stream, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self._stream.write(content)

    def flush(self) -> None:
        self._stream.flush()


def _own_digest(facts: Mapping[str, Any]) -> str:
    told = {name: value for name, value in facts.items() if name != "own_sha256"}
    return hashlib.sha256(canonical_json(told).encode()).hexdigest()


def _facts(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(read_file(path, _MOST_FACTS))
    if facts["own_sha256"] != _own_digest(facts):
        raise ValueError("its digest differs")
    return facts


def _content(path: Path, stated: str, device: torch.device) -> Any:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while part := stream.read(2**20):
            digest.update(part)
    if digest.hexdigest() != stated:
        raise ValueError("its digest differs")

    def place(storage: Any, location: str) -> Any:
        return storage if location == "cpu" else storage.to(device)

    return torch.load(path, map_location=place, weights_only=True)
