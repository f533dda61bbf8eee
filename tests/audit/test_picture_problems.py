"""Copies, near copies and odd pictures are found by kind; what is hostile stops nothing."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from audit_samples import picture, samples_of, saved
from PIL import Image, ImageEnhance

from nlbench.audit.findings import KINDS, PictureProblem
from nlbench.audit.pictures import picture_problems
from nlbench.audit.pictures.copies import MOST_ROWS
from nlbench.audit.samples import JoinedImages
from nlbench.data.images import TensorImages
from nlbench.data.parquet_images import parquet_images


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLBENCH_CACHE", str(tmp_path / "cache"))


def found(problems: list[PictureProblem]) -> dict[str, list[tuple[int, ...]]]:
    out: dict[str, list[tuple[int, ...]]] = {}
    for problem in problems:
        assert problem.kind in KINDS
        out.setdefault(problem.kind, []).append(problem.rows)
    return out


def as_bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_each_kind_of_copy_is_told(tmp_path: Path) -> None:
    images = saved(
        tmp_path,
        {
            "a.png": picture(1), "a.bmp": picture(1),  # same label, same part
            "b.png": picture(2), "c/b.png": picture(2),  # two labels
            "d.png": picture(3), "test/d.png": picture(3),  # across parts
            "e.png": picture(4), "f.png": picture(5), "g.png": picture(6),
        },
    )  # fmt: skip
    parts = ["train"] * 5 + ["test"] + ["train"] * 3
    problems = picture_problems(samples_of(images, [0, 0, 0, 1, 2, 2, 0, 1, 2], parts))
    assert found(problems) == {
        "copies": [(0, 1)],
        "copies-two-labels": [(2, 3)],
        "copies-across-parts": [(4, 5)],
    }
    assert next(p for p in problems if p.kind == "copies-two-labels").labels == (0, 1)


def test_a_picture_saved_again_at_another_size_or_brightness_is_a_near_copy(tmp_path: Path) -> None:
    first = picture(7, 320, 240)
    images = saved(
        tmp_path,
        {
            "a.png": first,
            "low.jpg": as_bytes(first, "JPEG", quality=30),
            "small.png": first.resize((100, 75)),
            "bright.png": ImageEnhance.Brightness(first).enhance(1.2),
            "grey.png": first.convert("L"),
            **{f"other{i}.png": picture(20 + i, 320, 240) for i in range(30)},
        },
    )
    problems = picture_problems(samples_of(images, [0] * 35))
    assert found(problems) == {"near-copies": [(0, 1, 2, 3, 4)]}


def test_plain_studio_shots_are_no_copies(tmp_path: Path) -> None:
    def shot(i: int) -> Image.Image:
        pixels = np.full((64, 64, 3), 235, dtype=np.uint8)
        pixels[20 + i % 3 : 40, 24 + i : 36 + i] = (40 + 9 * i, 90, 200 - 9 * i)
        pixels[8:12, 8 + i : 14 + 2 * i] = 20
        return Image.fromarray(pixels)

    plain = {f"{i}.png": Image.new("RGB", (64, 64), (200 + i, 200, 200)) for i in range(5)}
    images = saved(tmp_path, {**plain, "shot1.png": shot(1), "shot9.png": shot(9)})
    assert "near-copies" not in found(picture_problems(samples_of(images, [0] * 7)))


def test_a_large_group_names_a_few_of_every_label() -> None:
    pixels = torch.from_numpy(np.array(picture(1))).permute(2, 0, 1)
    images = TensorImages(pixels.repeat(300, 1, 1, 1))
    labels = [0] * 299 + [1]
    (problem,) = picture_problems(samples_of(images, labels))
    assert problem.kind == "copies-two-labels"
    assert len(problem.rows) == MOST_ROWS
    assert 299 in problem.rows
    assert "300 pictures" in problem.detail


def test_odd_pictures_are_told_with_what_was_measured(tmp_path: Path) -> None:
    usual = {f"{i}.png": picture(i, 400, 300) for i in range(9)}
    noisy = np.random.default_rng(0).integers(0, 30, (300, 400, 3), dtype=np.uint8)
    images = saved(
        tmp_path,
        {
            **usual,
            "blank.png": Image.new("RGB", (400, 300), "teal"),
            "tiny.png": picture(50, 12, 9),
            "strip.png": picture(51, 1200, 100),
            "dark.png": Image.fromarray(noisy),
            "light.png": Image.fromarray(np.where(noisy < 15, 255, 232).astype(np.uint8)),
        },
    )
    problems = picture_problems(samples_of(images, [0] * 14))
    details = {p.kind: (p.rows, p.detail) for p in problems}
    assert details["blank"] == ((9,), "spans 0 of 255 levels")
    assert details["tiny"] == ((10,), "12 x 9 pixels, median 400 x 300")
    assert details["odd-shape"] == ((11,), "1200 x 100 pixels, ratio 12.0, median 1.3")
    assert details["dark"][0] == (12,)
    assert set(details) <= {"blank", "tiny", "odd-shape", "dark", "light"}


def test_hostile_files_stop_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 60000, (40, 60)).astype(np.uint16)
    clear = Image.merge("RGBA", (*picture(3).split(), Image.new("L", (96, 64), 0)))
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = picture(8).transpose(Image.Transpose.ROTATE_90)
    frames = [picture(10), picture(11)]
    latin = os.fsdecode(b"caf\xe9.png")
    images = saved(
        tmp_path,
        {
            "broken.png": b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
            "empty.jpg": b"",
            "bomb.png": as_bytes(Image.new("1", (9000, 9000)), "PNG"),
            "deep.tif": Image.fromarray(deep),
            "deeper.tif": Image.fromarray(deep ^ np.uint16(1)),
            "float.tif": Image.fromarray(rng.normal(size=(40, 60)).astype(np.float32)),
            "nan.tif": Image.fromarray(np.full((40, 60), np.nan, dtype=np.float32)),
            "clear.png": clear,
            "film.gif": as_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:]),
            "lying.png": as_bytes(lying, "PNG", exif=exif),
            "upright.png": picture(8),
            "one.png": Image.new("RGB", (1, 1)),
            latin: picture(12),
            "日本.png": picture(12),
        },
    )
    problems = found(picture_problems(samples_of(images, [0] * 14)))
    assert problems["copies"] == [(9, 10), (12, 13)]  # EXIF honoured; names of any kind
    assert (3, 4) not in problems["copies"]  # they differ beyond 8 bits
    assert (7,) in problems["blank"]  # transparent everywhere: white
    named = {row for rows in problems.values() for one in rows for row in one}
    assert not named & {0, 1, 2, 6}  # could not be decoded: told elsewhere


def test_rows_of_parquet_files_and_joined_parts(tmp_path: Path) -> None:
    first = [as_bytes(picture(i), "PNG") for i in range(6)] + [None]
    again = [as_bytes(picture(4), "PNG"), b"no image"]
    for name, contents in (("train", first), ("test", again)):
        pq.write_table(pa.table({"img": pa.array(contents, pa.binary())}),
                       tmp_path / f"{name}.parquet", row_group_size=2)  # fmt: skip
    joined = JoinedImages(
        tuple(parquet_images([tmp_path / f"{part}.parquet"], "img") for part in ("train", "test"))
    )
    calls: list[tuple[int, int]] = []
    problems = picture_problems(
        samples_of(joined, [0] * 9, ["train"] * 7 + ["test"] * 2),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert found(problems) == {"copies-across-parts": [(4, 7)]}
    assert calls[-1] == (9, 9)


def test_no_images_no_problems() -> None:
    assert picture_problems(samples_of(None, [0, 1, 2])) == []


def test_files_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = {f"{i}.png": picture(i) for i in range(4)} | {"4.png": picture(1)}
    images = saved(tmp_path / "p", pictures)
    time.sleep(2.1)  # what changed in the last two seconds is looked at again
    first = picture_problems(samples_of(images, [0] * 5))
    assert found(first) == {"copies": [(1, 4)]}
    monkeypatch.setattr("nlbench.audit.pictures.seeing._decoded", None)
    assert picture_problems(samples_of(images, [0] * 5)) == first
