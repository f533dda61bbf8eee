"""Small files that say they are huge images: refused by their header, before they are decoded."""

from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from nlbench.data import decoding
from nlbench.data.decoding import decode
from nlbench.data.file_images import FileImages
from nlbench.errors import DataError


def bomb(side: int) -> bytes:
    """A PNG of one colour, a thousandth of its pixels' size."""
    rows = zlib.compressobj(9)
    row = bytes(1 + side * 3)
    packed = b"".join(rows.compress(row) for _ in range(side)) + rows.flush()

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_a_bomb_is_refused_by_its_pixels_and_named() -> None:
    content = bomb(9000)
    assert len(content) < 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"bomb\.png.*9000 x 9000 pixels, more than the 67 million"):
        decode(io.BytesIO(content), 32, "bomb.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 2**10


def test_an_image_at_the_limit_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MOST_PIXELS", 64)
    assert decode(io.BytesIO(bomb(8)), 8, "small").shape == (8, 8, 3)
    with pytest.raises(DataError, match="9 x 9 pixels"):
        decode(io.BytesIO(bomb(9)), 8, "small")


def test_large_images_are_decoded_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_LARGE", 10)
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(bomb(8))
    at_once, most = 0, 0
    usual, counting = decoding.eight_bit, threading.Lock()

    def counted(image: Image.Image, wide: decoding.Range) -> Image.Image:
        nonlocal at_once, most
        with counting:
            at_once += 1
            most = max(most, at_once)
        answer = usual(image, wide)
        with counting:
            at_once -= 1
        return answer

    monkeypatch.setattr(decoding, "eight_bit", counted)
    images = FileImages(tmp_path, [f"{number}.png" for number in range(8)])
    assert images.load(torch.arange(8), 8).shape == (8, 3, 8, 8)
    assert most == 1


def test_a_large_image_that_breaks_lets_the_next_one_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_LARGE", 10)
    for _ in range(2):
        with pytest.raises(DataError):
            decode(io.BytesIO(bomb(8)[:43]), 8, "broken")
    assert decode(io.BytesIO(bomb(8)), 8, "whole").shape == (8, 8, 3)


def test_eight_bombs_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Eight of 178 million pixels took 5.9 GB; the largest that are decoded take their turn."""
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(bomb(4200))
    script = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from nlbench.data.file_images import FileImages\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"images = FileImages(Path({str(tmp_path)!r}), [f'{{i}}.png' for i in range(8)])\n"
        "images.load(torch.arange(8), 32)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 700 * 2**10
