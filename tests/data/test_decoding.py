"""From files of every kind to pixels: transparency, depth, damaged metadata, warnings."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageDraw

from nlbench.data import decoding
from nlbench.data.decoding import decode, opens, warnings_name_the_image
from nlbench.data.folder import Folder
from nlbench.data.image_data import ImageData
from nlbench.errors import DataError

SIDE = 16


def shape(left: int = 4) -> Image.Image:
    """A black square on transparent ground."""
    image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((left, 4, left + 7, 11), fill=(0, 0, 0, 255))
    return image


def load(root: Path, images: dict[str, list[Image.Image]], suffix: str) -> ImageData:
    for name, pictures in images.items():
        for i, picture in enumerate(pictures):
            file = root / "own" / name / f"{i}{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture.save(file)
    return Folder(path=str(root / "own"), test_fraction=0.5).load(None)


def every(data: ImageData) -> dict[str, npt.NDArray[np.uint8]]:
    batch = data.train_images.load(torch.arange(len(data.train_ids)), SIDE)
    return dict(zip(data.train_ids, batch.permute(0, 2, 3, 1).numpy(), strict=True))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGBA", "png"),
        ("LA", "png"),
        ("P", "png"),
        ("RGBA", "gif"),
        ("RGBA", "webp"),
        ("PA", "png"),
    ],
)
def test_transparency_is_put_on_white(mode: str, kind: str) -> None:
    image = shape()
    if mode in ("P", "PA"):
        image = image.quantize(8)
    elif mode != "RGBA":
        image = image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, kind, lossless=True) if kind == "webp" else image.save(stream, kind)
    pixels = decode(stream, SIDE, "it")
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[8, 8].tolist() == [0, 0, 0]


def test_half_transparent_is_half_white() -> None:
    stream = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(stream, "png")
    assert np.abs(decode(stream, 8, "it").astype(int) - 127).max() <= 1


def ramp(low: float, high: float, kind: type, bend: float = 1.0) -> npt.NDArray[np.float64]:
    line = np.linspace(0, 1, SIDE) ** bend
    return np.tile(low + (high - low) * line, (SIDE, 1)).astype(kind)


@pytest.mark.parametrize(
    ("low", "high", "kind", "scale"),
    [
        (0, 1, np.float32, (0, 1)),
        (0, 255, np.float32, (0, 255)),
        (0, 65535, np.float32, (0, 65535)),
        (0, 4095, np.uint16, (0, 4095)),
        (0, 65535, np.uint16, (0, 65535)),
        (-1000, 1000, np.int32, (-1000, 1000)),
        (-3, 5, np.float32, (-3, 5)),
    ],
)
def test_wide_images_are_scaled_by_one_rule_for_the_folder(
    tmp_path: Path, low: float, high: float, kind: type, scale: tuple[float, float]
) -> None:
    dark = low + (high - low) / 4
    arrays = [ramp(low, high, kind, 1 + i / 9) for i in range(3)]
    arrays += [ramp(low, dark, kind, 1 + i / 9) for i in range(3)]
    pictures = [Image.fromarray(array) for array in arrays]
    data = load(tmp_path, {"a": pictures, "b": [p.transpose(0) for p in pictures]}, ".tif")
    assert data.unreadable == ()
    seen = every(data)
    assert len(seen) == 6
    for name, pixels in seen.items():
        folder, file = name.removesuffix(".tif").split("/")
        array = arrays[int(file)].astype(np.float64)
        array = array if folder == "a" else array[:, ::-1]
        right = (array - scale[0]) / (scale[1] - scale[0]) * 255
        assert np.abs(pixels[..., 0] - right).max() <= 1


def test_a_set_of_mostly_constant_images_is_a_warning(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(6)]
    data = load(tmp_path / "flat", {"a": pictures, "b": pictures[::-1]}, ".png")
    assert "100% of the images have one colour everywhere" in data.warnings[0]
    shapes = {"a": [shape(i) for i in range(6)], "b": [shape(i).rotate(90) for i in range(6)]}
    assert load(tmp_path / "good", shapes, ".png").warnings == ()


def test_sixteen_bits_without_a_look_and_unknown_ranges(tmp_path: Path) -> None:
    Image.fromarray(ramp(0, 65535, np.uint16)).save(tmp_path / "wide.png")
    pixels = decode(tmp_path / "wide.png", SIDE, "it")[0, :, 0].astype(int)
    assert np.abs(pixels - np.linspace(0, 255, SIDE)).max() <= 1
    Image.fromarray(ramp(-1, 1, np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match=r"full range is unknown. Convert .* folder:PATH"):
        decode(tmp_path / "float.tif", SIDE, "it")


def jpeg(exif: bytes) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 10, 10)).save(stream, "jpeg", exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0MM\0\x2a\0\0\0\x08" + b"\xff" * 20,
        b"Exif\0\0II\x2a\0\xff\xff\xff\x7f",
        b"Exif\0\0garbage",
        # Orientation as text of no length, and a rational with a zero below the line.
        b"Exif\0\0II\x2a\0\x08\0\0\0\x02\0\x12\x01\x02\0\0\0\0\0\0\0\0\0"
        b"\x1a\x01\x05\0\x01\0\0\0\xff\0\0\0\0\0\0\0",
    ],
)
def test_damaged_metadata_does_not_refuse_a_picture(exif: bytes) -> None:
    with warnings_name_the_image():  # as all readers of files do
        pixels = decode(io.BytesIO(jpeg(exif)), 8, "it")
    assert np.abs(pixels[4, 4].astype(int) - (200, 10, 10)).max() < 12


def test_pillows_warnings_name_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_warned", type(decoding._warned)())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    pictures = {"a": [shape(i) for i in range(3)], "b": [shape(i).rotate(90) for i in range(3)]}
    pictures["b"].append(shape(2).resize((20, 20)))
    with caplog.at_level(logging.WARNING, "nlbench"):
        load(tmp_path, pictures, ".png")
    assert "b/3.png': Image size (400 pixels) exceeds" in caplog.text
    assert "a/0.png" not in caplog.text


@pytest.mark.parametrize(
    "content", [b"", b"%PDF-1.4 of text", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"plain text " * 50]
)
def test_documents_are_no_images(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it").write_bytes(content)
    assert not opens(str(tmp_path / "it"))
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(tmp_path / "it", 8, "it")
