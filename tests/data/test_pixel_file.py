"""Images that do not fit in memory: decoded once into a file, trained on from there."""

from __future__ import annotations

import logging
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.data.file_images import FileImages
from nlbench.data.folder import Folder
from nlbench.data.image_data import ImageData
from nlbench.data.images import MappedImages, part_of
from nlbench.data.pixel_file import decoded_file
from nlbench.data.pixels import check_space, fits_in_memory, load_all, stored_images
from nlbench.errors import ConfigError, DataError

CPU = torch.device("cpu")
SIDE = 6


def write_images(root: Path, n: int = 40) -> Path:
    """Two classes, bright and dark, wider than high."""
    rng = np.random.default_rng(0)
    for i in range(n):
        pixels = rng.integers(0, 120, (9, 12, 3), dtype=np.uint8) + np.uint8(120 * (i % 2))
        file = root / ("bright" if i % 2 else "dark") / f"{i:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return root


@pytest.fixture
def data(tmp_path: Path) -> ImageData:
    return Folder(path=str(write_images(tmp_path / "two"))).load(None)


class Counting:
    """Images that are counted as they are read, and may end early."""

    def __init__(self, n: int = 700, last: int = 10_000) -> None:
        self.n, self.last, self.seen = n, last, []  # type: ignore[var-annotated]

    def __len__(self) -> int:
        return self.n

    def load(self, indices: Tensor, size: int | None = None) -> Tensor:
        if int(indices.max()) > self.last:
            raise KeyboardInterrupt
        self.seen += indices.tolist()
        values = (indices % 251).to(torch.uint8)
        return values[:, None, None, None].expand(-1, 3, size, size).clone()


def test_a_file_holds_what_memory_would(data: ImageData, tmp_path: Path) -> None:
    path = tmp_path / "a.uint8"
    found = decoded_file(data.train_images, SIDE, path)
    assert torch.equal(found, load_all(data.train_images, SIDE))
    found[:] = 0
    assert torch.equal(
        decoded_file(data.train_images, SIDE, path), load_all(data.train_images, SIDE)
    )


def test_a_file_is_decoded_once(tmp_path: Path) -> None:
    images, steps = Counting(), []
    for _ in range(2):
        decoded_file(images, 2, tmp_path / "a.uint8", lambda done, total: steps.append(done))
    # Before each, one image tells the number of channels.
    assert sorted(images.seen) == sorted([0, 0, *range(700)])
    assert steps == [256, 512, 700]


def test_a_killed_writer_is_followed_by_one_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.uint8"
    with pytest.raises(KeyboardInterrupt):
        decoded_file(Counting(last=600), 2, path)
    assert not path.exists()
    with path.with_suffix(".part").open("ab") as half:
        half.write(b"half an image")
    again = Counting()
    found = decoded_file(again, 2, path)
    assert again.seen == [0, *range(512, 700)]
    assert torch.equal(found[:, 0, 0, 0], (torch.arange(700) % 251).to(torch.uint8))
    assert sorted(f.suffix for f in tmp_path.glob("a.*")) == [".lock", ".safe", ".uint8"]


@pytest.mark.parametrize("note", ["many", "-3 0", "9999 0", "5 0", "5"])
def test_a_note_that_cannot_be_right_starts_from_the_beginning(tmp_path: Path, note: str) -> None:
    path = tmp_path / "a.uint8"
    path.with_suffix(".part").write_bytes(b"x" * 100)
    path.with_suffix(".safe").write_text(note)
    path.write_bytes(b"cut off")
    found = decoded_file(Counting(), 2, path)
    assert torch.equal(found[:, 2, 1, 1], (torch.arange(700) % 251).to(torch.uint8))


def test_a_flipped_bit_is_noticed_and_the_file_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, rng = tmp_path / "a.uint8", Random(0)  # noqa: S311 - no secret
    whole = decoded_file(Counting(), 2, path).clone()
    decoded_file(Counting(), 2, path)
    assert caplog.messages == []
    for _ in range(50):
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        caplog.clear()
        assert torch.equal(decoded_file(Counting(), 2, path), whole)
        assert [m for m in caplog.messages if "its images are decoded again" in m] == [
            f"'{path}' is damaged or has no checksum: its images are decoded again."
        ]


def test_a_flipped_bit_in_what_a_killed_writer_left_starts_from_the_beginning(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.uint8"
    with pytest.raises(KeyboardInterrupt):
        decoded_file(Counting(last=600), 2, path)
    content = bytearray(path.with_suffix(".part").read_bytes())
    content[77] ^= 1
    path.with_suffix(".part").write_bytes(content)
    found = decoded_file(Counting(), 2, path)
    assert torch.equal(found[:, 0, 0, 0], (torch.arange(700) % 251).to(torch.uint8))


def test_a_file_of_an_earlier_version_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.uint8"
    path.write_bytes(b"x" * 700 * 12)
    found = decoded_file(Counting(), 2, path)
    assert torch.equal(found[:, 0, 0, 0], (torch.arange(700) % 251).to(torch.uint8))
    assert "has no checksum" in caplog.text


def test_a_damaged_image_and_a_full_disk_are_named(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = data.train_images
    assert isinstance(images, FileImages)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DataError, match=r"a.uint8'.* No space left.* NLBENCH_CACHE"):
            decoded_file(images, SIDE, tmp_path / "a.uint8")
    (images.root / images.names[3]).write_bytes(b"no image")
    with pytest.raises(DataError, match=f"{images.names[3]}' cannot be decoded"):
        decoded_file(images, SIDE, tmp_path / "a.uint8")


def test_mapped_images_stand_in_for_a_tensor() -> None:
    pixels = torch.randint(0, 256, (10, 3, 4, 4), dtype=torch.uint8)
    mapped = MappedImages(pixels, torch.arange(10), CPU)
    rows = torch.tensor([7, 2, 2])
    for images, expected in ((mapped, pixels), (part_of(mapped, rows), pixels[rows])):
        assert isinstance(images, MappedImages)
        assert (len(images), images.shape) == (len(expected), expected.shape)
        assert torch.equal(images[torch.tensor([2, 0])], expected[[2, 0]])
        assert torch.equal(torch.cat(list(images.split(3))), expected)
        assert images.load(torch.tensor([1]), size=8).shape == (1, 3, 8, 8)
    assert torch.equal(torch.as_tensor(part_of(pixels, rows)), pixels[rows])  # type: ignore[arg-type]


def test_the_limit_decides_where_images_go(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fits_in_memory(data, 64)
    assert isinstance(stored_images(data, "test", SIDE, CPU, tmp_path), Tensor)
    monkeypatch.setenv("NLBENCH_MAX_IMAGES_GIB", "0.000001")
    assert not fits_in_memory(data, SIDE)
    parts = {part: stored_images(data, part, SIDE, CPU, tmp_path) for part in ("train", "test")}
    for part, images in parts.items():
        assert isinstance(images, MappedImages)
        assert torch.equal(images.pixels, load_all(getattr(data, f"{part}_images"), SIDE))
    monkeypatch.setenv("NLBENCH_MAX_IMAGES_GIB", "1")
    assert fits_in_memory(data, SIDE)
    for wrong in ("much", "0", "-1", "nan"):
        monkeypatch.setenv("NLBENCH_MAX_IMAGES_GIB", wrong)
        with pytest.raises(ConfigError, match=f"NLBENCH_MAX_IMAGES_GIB must be .* got '{wrong}'"):
            fits_in_memory(data, 8)


def test_a_disk_that_is_too_small_is_said_before_anything_is_decoded(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_space(data, 64, tmp_path / "not" / "yet")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(ConfigError, match=r"'folder:two' take 11.2 GiB .* 1.0 GiB free"):
        check_space(data, 10_000, tmp_path / "not" / "yet")


def run(root: Path, **options: Any) -> nlbench.RunRecord:
    settings = {"image_size": SIDE, "image_text_encoder": "bundled-clip"}
    settings |= {"batch_size": 8, "input_size": 5, "augmentation": "crop-flip"}
    return nlbench.run(
        "small-loss", f"folder:{root}", "symmetric", 0.2, device="cpu", track=False,
        settings={"warmup_epochs": 1, **settings}, epochs=3, **options,
    )  # fmt: skip


def test_a_run_from_a_file_gives_what_a_run_in_memory_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_images(tmp_path / "two")
    in_memory = run(root)
    monkeypatch.setenv("NLBENCH_MAX_IMAGES_GIB", "0.000001")
    stages: set[str] = set()
    with caplog.at_level(logging.WARNING, "nlbench"):
        mapped = run(root, force=True, progress=lambda stage, done, total: stages.add(stage))
        run(root, force=True)
    assert mapped.curves == in_memory.curves
    assert mapped.metrics == in_memory.metrics
    assert "decode" in stages
    told = [m for m in caplog.messages if "they are decoded once into" in m]
    assert len(told) == 1
    cli = CliRunner()
    assert "decoded images" in cli.invoke(app, ["cache", "info"]).stdout
    assert "2 entries" in cli.invoke(app, ["cache", "info"]).stdout
    assert "freed" in cli.invoke(app, ["cache", "clear"]).stdout
    assert "0 entries, 0.0 MiB" in cli.invoke(app, ["cache", "info"]).stdout
