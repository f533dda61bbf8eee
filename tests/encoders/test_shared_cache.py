"""A cache at a URL: an image is embedded by one machine, and read by all."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from nlbench.encoders import shards, shared_shards
from nlbench.encoders.cache import EmbeddingCache
from nlbench.errors import RunError

IDENTITY = {"encoder": "x", "data_key": "k", "data": "d"}


class Lab:
    """Machines with a cache folder each, and one cache at a URL."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._root, self._patch = root / "shared", root, monkeypatch
        self.folder.mkdir()
        self.computed: list[int] = []
        monkeypatch.setenv("NLBENCH_CACHE", self.folder.as_uri())
        monkeypatch.setattr(shared_shards, "_LOOK_AGAIN_S", 0.05)
        monkeypatch.setattr(shards, "SHARD_ROWS", 4)

    def at(self, machine: str) -> EmbeddingCache:
        shared_shards.shared_shards.cache_clear()
        shared_shards._SAID.clear()
        self._patch.setenv("XDG_CACHE_HOME", str(self._root / machine))
        return EmbeddingCache()

    def compute(self, parts: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        for part in parts:
            self.computed.append(len(part))
            yield part[:, None].float() * 3

    def get(self, cache: EmbeddingCache, n: int = 10) -> torch.Tensor:
        return cache.get({**IDENTITY, "data_key": f"k{n}"}, n, self.compute, keys=lambda: keys(n))

    def shards(self) -> list[Path]:
        return sorted(self.folder.rglob("*.safetensors"))


def keys(n: int) -> np.ndarray:
    """Return keys of n images; the first ones of a longer data set are those of a shorter one."""
    from nlbench.data.content_keys import as_keys

    raw = np.zeros((n, 32), np.uint8)
    raw[:, 0] = np.arange(n)
    return as_keys(raw)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path, monkeypatch)


def test_what_one_machine_embedded_the_other_reads(lab: Lab) -> None:
    first = lab.get(lab.at("one"))
    assert sum(lab.computed) == 10
    two = lab.at("two")
    assert torch.equal(lab.get(two), first)
    assert sum(lab.computed) == 10
    assert lab.get(two, 12).shape == (12, 1)  # two new images, and only these
    assert sum(lab.computed) == 12
    lab.get(lab.at("one"), 12)
    assert sum(lab.computed) == 12
    assert not list(lab.folder.rglob("lease-*"))


def test_a_shard_is_written_once_and_never_changed(lab: Lab) -> None:
    lab.get(lab.at("one"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in lab.shards()}
    for machine, n in (("two", 12), ("two", 13), ("one", 13), ("three", 13)):
        lab.get(lab.at(machine), n)
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in lab.shards()}
    assert before.items() <= after.items()
    assert sum(lab.computed) == 13
    assert sum(shards.shape_of(path)[0] for path in after) == 13  # no merged copy went there


def test_a_copy_in_hand_needs_no_store(lab: Lab) -> None:
    first = lab.get(lab.at("one"))
    lab.folder.rename(lab.folder.with_name("gone"))
    assert torch.equal(lab.get(lab.at("one")), first)


def test_a_store_that_never_answered_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.folder.rmdir()
    lab.folder.write_text("in the way")
    with pytest.raises(RunError, match=r"shared' cannot be \w+: .*Check the URL"):
        lab.get(lab.at("one"))
    assert lab.computed == []


def test_shards_of_an_outage_are_uploaded_later(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    one = lab.at("one")
    lab.get(one)
    gone = lab.folder.rename(lab.folder.with_name("gone"))
    lab.folder.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        lab.get(one, 13)
    assert "Embeddings are kept here" in caplog.text
    lab.folder.unlink()
    gone.rename(lab.folder)
    lab.get(lab.at("one"), 13)
    assert sum(lab.computed) == 13
    lab.get(lab.at("two"), 13)
    assert sum(lab.computed) == 13


def test_a_damaged_shard_there_is_computed_again(lab: Lab) -> None:
    first = lab.get(lab.at("one"))
    damaged = lab.shards()[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x55")
    assert torch.equal(lab.get(lab.at("two")), first)
    assert sum(lab.computed) > 10
    n = sum(lab.computed)
    assert torch.equal(lab.get(lab.at("three")), first)
    assert sum(lab.computed) == n


def test_a_second_machine_waits_for_the_first(lab: Lab) -> None:
    one, two = lab.at("one"), lab.at("two")
    began = threading.Event()

    def slowly(parts: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        began.set()
        time.sleep(0.5)
        yield from lab.compute(parts)

    worker = threading.Thread(target=lambda: one.get(IDENTITY, 6, slowly, keys=lambda: keys(6)))
    worker.start()
    assert began.wait(10)
    two.get(IDENTITY, 6, lab.compute, keys=lambda: keys(6))
    worker.join()
    assert sum(lab.computed) == 6
