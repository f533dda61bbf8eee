"""Small pictures of images: whole, upright, without metadata; what is damaged is left out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from audit_page import samples_of
from PIL import Image

from nlbench.audit.samples import JoinedImages, Samples
from nlbench.audit.thumbnails import thumbnails
from nlbench.data.images import TensorImages

HALVES = np.zeros((60, 120, 3), dtype=np.uint8)
HALVES[:, :60] = (250, 0, 0)
"""Red on the left, black on the right."""


def in_folder(folder: Path, pictures: dict[str, Image.Image | bytes], **options: object) -> Samples:
    for name, picture in pictures.items():
        if isinstance(picture, bytes):
            (folder / name).write_bytes(picture)
        else:
            picture.save(folder / name, **options)
    n = len(pictures)
    return samples_of(n, names=list(pictures), images=None, root=folder, files=list(pictures))


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def pixels(content: bytes) -> npt.NDArray[np.int64]:
    return np.asarray(opened(content).convert("RGB")).astype(np.int64)


def test_a_large_picture_is_scaled_whole_and_a_small_one_stays(tmp_path: Path) -> None:
    samples = in_folder(tmp_path, {"large.png": Image.fromarray(HALVES),
                                   "small.png": Image.new("RGB", (9, 4))})  # fmt: skip
    made = thumbnails(samples, {0: 40, 1: 40})
    assert opened(made[0]).size == (40, 20)
    assert opened(made[1]).size == (9, 4)
    assert (pixels(made[0])[10, 5] > [200, -1, -1]).all()
    assert pixels(made[0])[10, 35].max() < 40


def test_a_turned_photograph_is_upright_and_tells_nothing_of_its_origin(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "the maker"
    samples = in_folder(tmp_path, {"turned.jpg": Image.fromarray(HALVES)}, exif=exif)
    content = thumbnails(samples, {0: 40})[0]
    assert opened(content).size == (20, 40)
    assert pixels(content)[5, 10, 0] > 200, "what was left is on top"
    assert not dict(opened(content).getexif())
    assert b"the maker" not in content


def test_sixteen_bits_are_scaled_as_the_data_are(tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((9, 9), 40_000, dtype=np.uint16))
    content = thumbnails(in_folder(tmp_path, {"grey.png": grey}), {0: 40})[0]
    assert abs(int(pixels(content).mean()) - 40_000 // 257) < 6


def test_what_cannot_be_read_is_left_out_and_the_rest_is_there(tmp_path: Path) -> None:
    samples = in_folder(tmp_path, {"good.png": Image.fromarray(HALVES), "bad.png": b"no picture",
                                   "empty.jpg": b"", "gone.png": b"x"})  # fmt: skip
    (tmp_path / "gone.png").unlink()
    assert list(thumbnails(samples, {0: 40, 1: 40, 2: 40, 3: 40})) == [0]


def test_rows_of_several_parts_and_one_channel_are_found(tmp_path: Path) -> None:
    first = TensorImages(torch.full((3, 1, 8, 8), 10, dtype=torch.uint8))
    second = TensorImages(torch.full((2, 1, 8, 8), 240, dtype=torch.uint8))
    samples = samples_of(5, images=JoinedImages((first, second)))
    made = thumbnails(samples, {4: 8, 2: 8})
    assert pixels(made[2]).mean() == pytest.approx(10, abs=6)
    assert pixels(made[4]).mean() == pytest.approx(240, abs=6)


def test_progress_is_told_until_all_are_made() -> None:
    told: list[tuple[int, int]] = []
    thumbnails(samples_of(600), dict.fromkeys(range(600), 8), lambda *done: told.append(done))
    assert told == [(256, 600), (512, 600), (600, 600)]


def test_a_side_must_be_positive() -> None:
    with pytest.raises(ValueError, match="sides must be positive, got 0"):
        thumbnails(samples_of(), {0: 0})
