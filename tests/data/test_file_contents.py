"""Files count by their contents: what is read, what is remembered, and when it is read again."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import nlbench
from nlbench.data import file_contents, file_memory
from nlbench.data.file_contents import contents_sha256, digests
from nlbench.errors import DataError
from nlbench.plugins.registry import make_component


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read; files just written are trusted."""
    names: list[str] = []
    plain = file_contents._sha256

    def counted(path: str) -> bytes:
        names.append(Path(path).name)
        return plain(path)

    monkeypatch.setattr(file_contents, "_sha256", counted)
    monkeypatch.setattr(file_memory, "_TICK_NS", 0)
    return names


def put(root: Path, n: int = 5) -> list[str]:
    root.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        (root / f"{i}.bin").write_bytes(f"content {i}".encode())
    return [f"{i}.bin" for i in range(n)]


def expected(root: Path, names: list[str]) -> list[bytes]:
    return [hashlib.sha256((root / name).read_bytes()).digest() for name in names]


def swap(one: Path, other: Path) -> None:
    """Exchange two files of equal size in place, and set their times back."""
    times = [(p.stat().st_atime_ns, p.stat().st_mtime_ns) for p in (one, other)]
    contents = one.read_bytes(), other.read_bytes()
    assert len(contents[0]) == len(contents[1])
    for path, content, ns in zip((one, other), reversed(contents), times, strict=True):
        path.write_bytes(content)
        os.utime(path, ns=ns)


def test_digests_are_sha256_and_read_once(tmp_path: Path, reads: list[str]) -> None:
    root = tmp_path / "own"
    names = put(root)
    for _ in range(2):
        assert [d.tobytes() for d in digests(root, names)] == expected(root, names)
    assert sorted(reads) == names


def test_only_what_changed_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    root = tmp_path / "own"
    names = put(root)
    digests(root, names)
    reads.clear()
    swap(root / "1.bin", root / "3.bin")
    (root / "new.bin").write_bytes(b"more")
    (root / "4.bin").unlink()
    now = ["new.bin", "3.bin", "2.bin", "1.bin", "0.bin"]
    assert [d.tobytes() for d in digests(root, now)] == expected(root, now)
    assert sorted(reads) == ["1.bin", "3.bin", "new.bin"]
    reads.clear()
    assert [d.tobytes() for d in digests(root, ["2.bin"])] == expected(root, ["2.bin"])
    assert [d.tobytes() for d in digests(root, now)] == expected(root, now)
    assert not reads


def test_a_file_that_just_changed_is_not_trusted_yet(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "own"
    names = put(root)
    monkeypatch.setattr(file_memory, "_TICK_NS", 10**12)
    digests(root, names)
    digests(root, names)
    assert sorted(reads) == sorted(names * 2)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half", "bit", "other"])
def test_a_damaged_memory_is_built_again_and_reported(
    tmp_path: Path, reads: list[str], caplog: pytest.LogCaptureFixture, damage: bytes | str
) -> None:
    root = tmp_path / "own"
    names = put(root)
    digests(root, names)
    (memory,) = (tmp_path / "cache" / "files").glob("*.npz")
    if damage == "bit":
        content = bytearray(memory.read_bytes())
        content[content.index(b"3.bin")] ^= 1
        damage = bytes(content)
    elif damage == "other":
        stream = io.BytesIO()
        np.savez(stream, names=np.zeros(3, np.uint8), stats=np.zeros((1, 4)), values=np.zeros(1))
        damage = stream.getvalue()
    assert isinstance(damage, bytes)
    memory.write_bytes(damage)
    reads.clear()
    with caplog.at_level(logging.WARNING, "nlbench"):
        assert [d.tobytes() for d in digests(root, names)] == expected(root, names)
    assert "is damaged and is built again" in caplog.text
    assert sorted(reads) == names
    digests(root, names)
    assert sorted(reads) == names


def test_several_at_once_read_each_file_once(tmp_path: Path, reads: list[str]) -> None:
    root = tmp_path / "own"
    names = put(root, 40)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: contents_sha256(root, names), range(4)))
    assert len(set(answers)) == 1
    assert sorted(reads) == sorted(names)


def test_without_a_cache_folder_files_are_read_every_time_and_that_is_said(
    tmp_path: Path, reads: list[str], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    root = tmp_path / "own"
    names = put(root)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("NLBENCH_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "nlbench"):
        digests(root, names)
        digests(root, names)
    assert "Set NLBENCH_CACHE" in caplog.text
    assert len(reads) == 10


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    root = tmp_path / "own"
    with pytest.raises(DataError, match=r"gone\.bin' cannot be read: No such file"):
        digests(root, [*put(root), "gone.bin"])


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), (shade, 90, 40)).save(path)


def folder(root: Path) -> tuple[str, Path, Path]:
    for part, n in (("train", 4), ("test", 2)):
        for i in range(n):
            picture(root / "own" / part / "cat" / f"{i}.bmp", i)
            picture(root / "own" / part / "dog" / f"{i}.bmp", 200 + i)
    return "folder:own", root / "own/train/cat/0.bmp", root / "own/train/dog/0.bmp"


def parquet(root: Path) -> tuple[str, Path, Path]:
    (root / "own").mkdir()
    files = [root / "own" / f"train-0000{i}-of-00002.parquet" for i in (0, 1)]
    for i, file in enumerate((*files, root / "own" / "test.parquet")):
        rows = []
        for shade in (10, 200):
            stream = io.BytesIO()
            Image.new("RGB", (6, 6), (shade + i, 90, 40)).save(stream, "bmp")
            rows.append({"bytes": stream.getvalue(), "path": None})
        pq.write_table(pa.table({"image": rows * 3, "label": [0, 1] * 3}), file, compression=None)
    return "parquet:own", *files


def animal10n(root: Path) -> tuple[str, Path, Path]:
    for part in ("training", "testing"):
        for i in range(20):
            picture(root / "animal10n" / part / f"{i % 10}_{i:05d}.bmp", 5 * i)
            plain = root / "animal10n" / part / f"{i % 10}_{i:05d}"
            plain.with_suffix(".bmp").rename(plain.with_suffix(".jpg"))
    training = root / "animal10n" / "training"
    return "animal10n", training / "1_00001.jpg", training / "2_00002.jpg"


@pytest.mark.parametrize("make", [folder, parquet, animal10n])
def test_exchanged_images_are_other_data_and_are_run_again(tmp_path: Path, make: object) -> None:
    name, one, other = make(tmp_path)  # type: ignore[operator]
    plain, _, path = name.partition(":")
    source = make_component("datasets", plain, {"path": path} if path else {})
    before = source.content_key(tmp_path), source.load(tmp_path).fingerprint

    def started_at() -> str:
        record = nlbench.run(
            "none", name, "none", data_dir=tmp_path, epochs=1, device="cpu", track=False,
            settings={
                "image_size": 32, "val_fraction": 0, "batch_size": 4, "network": "small-cnn",
            },
        )  # fmt: skip
        return record.started_at

    first = started_at()
    assert started_at() == first
    swap(one, other)
    after = source.content_key(tmp_path), source.load(tmp_path).fingerprint
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert started_at() != first
    swap(one, other)
    assert (source.content_key(tmp_path), source.load(tmp_path).fingerprint) == before
    assert started_at() == first
