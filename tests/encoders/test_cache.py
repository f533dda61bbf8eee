"""The embedding cache: computed once, checked on reading, repaired when damaged."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from nlbench.data.images import CENTRE, Fit, TensorImages
from nlbench.encoders.cache import EmbeddingCache, cache_dir
from nlbench.encoders.features import FeatureBank
from nlbench.errors import ConfigError, PluginError

IDENTITY = {
    "data": "digits",
    "data_key": "d0",
    "encoder": "bundled-clip",
    "encoder_version": "1",
    "weights_sha256": "w0",
    "activations": "ReLU",
    "preprocessing": "p0",
    "precision": "float32",
}
VALUE = torch.arange(12, dtype=torch.float32).reshape(4, 3)


class Counted:
    """Computes VALUE and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, shards: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        self.calls += 1
        return (VALUE[shard] for shard in shards)


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


def entry(cache: EmbeddingCache) -> Path:
    (path,) = cache.folder.glob("*/*.safetensors")
    return path


def used(cache: EmbeddingCache) -> int:
    return sum(path.stat().st_size for path in entry(cache).parent.iterdir())


def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLBENCH_CACHE", str(tmp_path / "big disk"))
    EmbeddingCache().get(IDENTITY, 4, Counted())
    assert len(list((tmp_path / "big disk" / "embeddings").glob("*/*.safetensors"))) == 1
    monkeypatch.delenv("NLBENCH_CACHE")
    assert cache_dir() == tmp_path / "home" / "cache"


def test_computed_once(cache: EmbeddingCache) -> None:
    compute = Counted()
    assert torch.equal(cache.get(IDENTITY, 4, compute), VALUE)
    assert torch.equal(cache.get(dict(reversed(IDENTITY.items())), 4, compute), VALUE)
    assert torch.equal(EmbeddingCache(cache.folder.parent).get(IDENTITY, 4, compute), VALUE)
    assert compute.calls == 1


@pytest.mark.parametrize("part", [name for name in IDENTITY if name != "data"])
def test_every_part_of_the_identity_counts(cache: EmbeddingCache, part: str) -> None:
    compute = Counted()
    cache.get(IDENTITY, 4, compute)
    cache.get({**IDENTITY, part: "other"}, 4, compute)
    assert compute.calls == 2
    # An entry is an encoder's; what the images are known by is the data's.
    assert len(cache.info()) == (1 if part == "data_key" else 2)


def test_the_same_images_under_another_name_are_one_entry(cache: EmbeddingCache) -> None:
    compute = Counted()
    cache.get(IDENTITY, 4, compute)
    cache.get({**IDENTITY, "data": "digits with human labels"}, 4, compute)
    assert compute.calls == 1
    assert len(cache.info()) == 1


def test_a_crash_while_writing_leaves_nothing(
    cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk_full)
        with pytest.raises(OSError, match="No space left"):
            cache.get(IDENTITY, 4, Counted())
    assert [p.name for p in cache.folder.rglob("*") if p.is_file() and p.suffix != ".lock"] == []
    compute = Counted()
    assert torch.equal(cache.get(IDENTITY, 4, compute), VALUE)
    assert compute.calls == 1


def test_a_failed_computation_is_not_stored(cache: EmbeddingCache) -> None:
    def fail(shards: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cache.get(IDENTITY, 4, fail)
    assert list(cache.folder.glob("*/*.safetensors")) == []
    assert torch.equal(cache.get(IDENTITY, 4, Counted()), VALUE)


def flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "last byte flipped": lambda content: flip(content, len(content) - 2),
    "first number flipped": lambda content: flip(content, len(content) - 48),
    "cut in the middle": lambda content: content[: len(content) // 2],
    "last byte missing": lambda content: content[:-1],
    "empty": lambda content: b"",
    "something else": lambda content: b"<html></html>",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_entry_is_reported_and_repaired(
    cache: EmbeddingCache, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    cache.get(IDENTITY, 4, Counted())
    name = entry(cache).name
    entry(cache).write_bytes(damage(entry(cache).read_bytes()))
    compute = Counted()
    with caplog.at_level(logging.WARNING, logger="nlbench"):
        assert torch.equal(cache.get(IDENTITY, 4, compute), VALUE)
    assert compute.calls == 1
    assert f"{name} are damaged and are computed again" in caplog.text
    assert entry(cache).name != name
    caplog.clear()
    assert torch.equal(cache.get(IDENTITY, 4, compute), VALUE)
    assert compute.calls == 1
    assert caplog.text == ""


def test_no_flipped_byte_changes_what_is_read(cache: EmbeddingCache) -> None:
    cache.get(IDENTITY, 4, Counted())
    whole = entry(cache).read_bytes()
    for position in range(0, len(whole), 3):
        entry(cache).write_bytes(flip(whole, position))
        assert torch.equal(cache.get(IDENTITY, 4, Counted()), VALUE), f"byte {position}"


def test_a_file_of_another_origin_is_computed_again(cache: EmbeddingCache) -> None:
    from safetensors.torch import save_file

    cache.get(IDENTITY, 4, Counted())
    save_file({"embeddings": VALUE + 1}, entry(cache))
    assert torch.equal(cache.get(IDENTITY, 4, Counted()), VALUE)


OTHER_PROCESS = dedent("""
    import sys, time
    from pathlib import Path
    import torch
    from nlbench.encoders.cache import EmbeddingCache

    folder = Path(sys.argv[1])

    def compute(shards):
        with (folder / "computed").open("a") as file:
            file.write("other")
        time.sleep(1)
        return iter([torch.ones(3, 2)])

    print("ready", flush=True)
    sys.stdin.readline()
    value = EmbeddingCache(folder).get({"encoder": "e", "data": "d"}, 3, compute)
    print(float(value.sum()), flush=True)
""")


def test_two_processes_compute_once(tmp_path: Path) -> None:
    def compute(shards: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        with (tmp_path / "computed").open("a") as file:
            file.write("this")
        time.sleep(1)
        return iter([torch.ones(3, 2)])

    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        mine = EmbeddingCache(tmp_path).get({"encoder": "e", "data": "d"}, 3, compute)
        assert float(mine.sum()) == 6
        assert other.stdout.readline() == "6.0\n"
    assert (tmp_path / "computed").read_text() in ("this", "other")


def test_info_and_clear(cache: EmbeddingCache) -> None:
    assert cache.info() == []
    assert cache.clear() == (0, [])
    cache.get(IDENTITY, 4, Counted())
    size = used(cache)
    expected = {
        "encoder": "bundled-clip",
        "data": "digits",
        "rows": 4,
        "dimensions": 3,
        "outdated": False,
    }
    assert cache.info() == [{**expected, "bytes": size}]
    broken = cache.folder / "broken" / "0000000000.safetensors"
    broken.parent.mkdir()
    broken.write_bytes(b"1234")
    assert {"encoder": "damaged", "data": "broken", "bytes": 4} in cache.info()
    assert cache.clear() == (size + 4, [])
    assert list(cache.folder.iterdir()) == []
    assert cache.info() == []


def test_info_names_a_file_of_another_origin(cache: EmbeddingCache) -> None:
    from safetensors.torch import save_file

    cache.get(IDENTITY, 4, Counted())
    save_file({"x": VALUE}, entry(cache))
    assert [row["encoder"] for row in cache.info()] == ["damaged"]


def test_clear_removes_what_a_killed_process_left_half_written(cache: EmbeddingCache) -> None:
    cache.get(IDENTITY, 4, Counted())
    size = used(cache)
    entry(cache).with_name(f".{entry(cache).name}.k3l4m5").write_bytes(b"123456")
    assert cache.clear() == (size + 6, [])
    assert list(cache.folder.iterdir()) == []


class CountedImages(TensorImages):
    loads = 0

    def load(
        self, indices: torch.Tensor, size: int | None = None, fit: Fit = CENTRE
    ) -> torch.Tensor:
        type(self).loads += 1
        return super().load(indices, size, fit)


def bank(tmp_path: Path, **changes: object) -> FeatureBank:
    pixels = torch.randint(0, 256, (5, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    settings: dict[str, object] = {
        "images": CountedImages(pixels.to(torch.uint8)),
        "data_key": "k",
        "data_name": "five",
        "rows": torch.tensor([4, 0]),
        "class_names": ("cat", "dog"),
        "roles": {"image-text": "bundled-clip", "image": "bundled-glyphs", "none": ""},
        "prompts": "default",
        "device": torch.device("cpu"),
        "cache": EmbeddingCache(tmp_path / "cache"),
    }
    return FeatureBank(**{**settings, **changes})  # type: ignore[arg-type]


def test_a_second_run_on_the_same_data_reads_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CountedImages, "loads", 0)
    first = bank(tmp_path).embeddings("image-text")
    assert CountedImages.loads == 1
    second = bank(tmp_path, rows=torch.tensor([0, 1, 4])).embeddings("bundled-clip")
    assert CountedImages.loads == 1
    assert torch.equal(second[[2, 0]], first)
    bank(tmp_path).embeddings("image")
    bank(tmp_path, data_key="other").embeddings("image-text")
    assert CountedImages.loads == 3


def test_text_embeddings_come_class_by_class(tmp_path: Path) -> None:
    groups = bank(tmp_path).text_embeddings([["one"], ["two", "three"]], "image-text")
    assert [len(group) for group in groups] == [1, 2]
    assert [len(group) for group in bank(tmp_path).text_embeddings("auto", "image-text")] == [5, 5]


def test_a_role_without_an_encoder_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--set protocol\.none_encoder=NAME"):
        bank(tmp_path).embeddings("none")


def old(cache: EmbeddingCache, **changes: str | None) -> None:
    identity = {**IDENTITY, "data": "old", **changes}
    cache.get({key: value for key, value in identity.items() if value is not None}, 4, Counted())


@pytest.mark.parametrize("version", [None, "0"])
def test_entries_of_an_older_encoder_are_named_and_can_be_dropped(
    cache: EmbeddingCache, version: str | None
) -> None:
    cache.get(IDENTITY, 4, Counted())
    old(cache, encoder_version=version)
    assert {row["data"]: row["outdated"] for row in cache.info()} == {"digits": False, "old": True}
    size = next(row["bytes"] for row in cache.info() if row["data"] == "old")
    assert cache.clear(outdated_only=True) == (size, [])
    assert [row["data"] for row in cache.info()] == ["digits"]


def test_entries_of_an_encoder_that_is_not_installed_are_kept(cache: EmbeddingCache) -> None:
    old(cache, encoder="somebodys:model", encoder_version="3")
    assert [row["outdated"] for row in cache.info()] == [False]


def test_what_a_bank_stores_is_of_the_present_version(tmp_path: Path) -> None:
    made = bank(tmp_path)
    made.embeddings("image-text")
    assert [row["outdated"] for row in made.cache.info()] == [False]


def test_a_bank_that_is_gone_never_answers_for_another(tmp_path: Path) -> None:
    """`id` is given again as soon as an object is gone."""
    first = bank(tmp_path).sealed()
    others = [bank(tmp_path) for _ in range(20)]
    assert first.number not in {other.sealed().number for other in others}
    with pytest.raises(PluginError, match="that run is over"):
        first.embeddings("image-text")
    with pytest.raises(PluginError, match="that run is over"):
        first.text_embeddings("auto", "image-text")


def test_two_sealed_views_of_a_bank_both_answer(tmp_path: Path) -> None:
    made = bank(tmp_path)
    one, two = made.sealed(), made.sealed()
    assert torch.equal(one.embeddings("image-text"), two.embeddings("image-text"))
