"""The images that tell most about a selection: wrong labels it kept, right ones it dropped.

Written at the end of a run, only where the data set's images may be shown to others.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlbench.errors import DataError, RefusedError, refusals
from nlbench.files import readable, write_atomic
from nlbench.results.digests import read_beside

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from nlbench.results.samples import SelectedSamples

GALLERY_FILE = "gallery.json"
FORMAT = "nlbench-gallery/1"
PER_GROUP = 12
MAX_SIDE = 64
_PNG = b"\x89PNG\r\n\x1a\n"

TITLES = {
    "kept-noisy": "Kept, though the label is wrong",
    "dropped-clean": "Dropped, though the label is right",
    "least-trusted": "Least trusted labels",
}


@dataclass(frozen=True)
class Sample:
    """One image: its name in the data set, labels as class numbers, score, and the PNG's bytes.

    `clean_label` is None where nobody knows it.
    """

    id: str
    noisy_label: int
    clean_label: int | None
    score: float
    keep: bool
    png: bytes


@dataclass(frozen=True)
class Group:
    """Samples of one kind, the most instructive first; `n` counts all of that kind in the run."""

    key: str
    n: int
    samples: tuple[Sample, ...]

    @property
    def title(self) -> str:
        """What the samples have in common, in words."""
        return TITLES[self.key]


def may_be_shown(dataset: str) -> bool:
    """Return whether images of this data set may be shown: by its licence, or by the user's word.

    The user's word is `NLBENCH_SHOW_IMAGES`, names of data sets with commas between them. It is no
    setting of the run: the same run with and without pictures is the same run.
    """
    from nlbench.plugins import registry

    named = [part.strip() for part in os.environ.get("NLBENCH_SHOW_IMAGES", "").split(",")]
    return dataset in named or bool(registry.find("datasets", dataset).load().images_may_be_shown)


def write_gallery(folder: Path, seen: SelectedSamples, dataset: str) -> Path | None:
    """Write ``gallery.json`` into the run's folder; an older one goes where none may be shown.

    Returns:
        The file, None where images may not be shown.
    """
    path = folder / GALLERY_FILE
    if not may_be_shown(dataset):
        with refusals(path, "deleted"):
            path.unlink(missing_ok=True)
        return None
    groups = [_group(seen, key, n, rows) for key, n, rows in _most_telling(seen)]
    content = {"format": FORMAT, "groups": [_packed(group) for group in groups]}
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False))
    read_gallery(folder)  # what cannot be read back is no gallery
    return path


def read_gallery(folder: Path) -> tuple[Group, ...]:
    """Read what `write_gallery` wrote; nothing if there is no such file.

    Raises:
        DataError: if the file is damaged.
        RefusedError: if the operating system does not let us read it.
    """
    path = folder / GALLERY_FILE
    try:
        stored = read_beside(path)
        if stored is None:
            return ()
        content = json.loads(stored)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        return tuple(_unpacked(group) for group in content["groups"])
    except RefusedError:
        raise
    except (ValueError, KeyError, TypeError, OSError, RecursionError, binascii.Error) as error:
        raise DataError(
            f"'{path}' is damaged ({type(error).__name__}: {error}). Remove it, or repeat the run "
            "with --force."
        ) from None


def contact_sheet(groups: Sequence[Group], class_names: Sequence[str]) -> bytes:
    """Draw the groups below each other as one PNG, labels and score under every image."""
    from PIL import Image, ImageDraw, ImageFont

    # Loaded once: asked for by `font_size`, the font would be unpacked again for every text.
    heading_font, caption_font = ImageFont.load_default(14), ImageFont.load_default(11)
    shown = [group for group in groups if group.samples]
    columns, cell, line = 6, (150, 120), 34
    rows = [-(-len(group.samples) // columns) for group in shown]
    height = sum(line + n * cell[1] for n in rows) + 10
    sheet = Image.new("RGB", (columns * cell[0] + 20, max(height, 40)), "white")
    draw, y = ImageDraw.Draw(sheet), 10
    for group, n_rows in zip(shown, rows, strict=True):
        heading = f"{group.title} ({len(group.samples)} of {group.n})"
        draw.text((10, y + 8), heading, fill="black", font=heading_font)
        for i, sample in enumerate(group.samples):
            corner = (10 + i % columns * cell[0], y + line + i // columns * cell[1])
            sheet.paste(_enlarged(sample.png), corner)
            draw.multiline_text(
                (corner[0], corner[1] + 68),
                _caption(sample, class_names),
                fill="black",
                font=caption_font,
                spacing=2,
            )
        y += line + n_rows * cell[1]
    if not shown:
        draw.text((10, 10), "No such samples.", fill="black", font=heading_font)
    return _png_bytes(sheet, optimize=False, compress_level=3)


def _most_telling(seen: SelectedSamples) -> list[tuple[str, int, list[int]]]:
    """Return each group's key, size and samples to show, by position among the seen ones."""
    keep, score = seen.selection.keep.cpu(), seen.selection.score.cpu().double()
    order = score.argsort(stable=True)
    if seen.clean_labels is None:
        return [("least-trusted", len(order), order[:PER_GROUP].tolist())]
    clean = (seen.noisy_labels == seen.clean_labels).cpu()
    best_first = (-score).argsort(stable=True)
    wrongly_kept = best_first[(keep & ~clean)[best_first]]
    wrongly_dropped = order[(~keep & clean)[order]]
    return [
        ("kept-noisy", len(wrongly_kept), wrongly_kept[:PER_GROUP].tolist()),
        ("dropped-clean", len(wrongly_dropped), wrongly_dropped[:PER_GROUP].tolist()),
    ]


def _group(seen: SelectedSamples, key: str, n: int, rows: list[int]) -> Group:
    import torch

    pictures = _pictures(seen.images[torch.tensor(rows, dtype=torch.long)]) if rows else []
    truth = seen.clean_labels
    samples = tuple(
        Sample(
            id=readable(seen.ids[int(seen.positions[row])]),
            noisy_label=int(seen.noisy_labels[row]),
            clean_label=None if truth is None else int(truth[row]),
            score=float(seen.selection.score[row]),
            keep=bool(seen.selection.keep[row]),
            png=png,
        )
        for row, png in zip(rows, pictures, strict=True)
    )
    return Group(key, n, samples)


def _pictures(batch: Tensor) -> list[bytes]:
    """Return uint8 images (B, C, H, W) as PNG, no side longer than `MAX_SIDE`."""
    from PIL import Image

    from nlbench.data.images import resized

    small = batch if max(batch.shape[-2:]) <= MAX_SIDE else resized(batch, MAX_SIDE)
    # PNG knows grey and colour; of other numbers of channels the first one is shown.
    channels = 3 if small.shape[1] == 3 else 1
    arrays = small[:, :channels].permute(0, 2, 3, 1).cpu().numpy()
    return [_png_bytes(Image.fromarray(a if channels == 3 else a[..., 0])) for a in arrays]


def _png_bytes(image: Image.Image, optimize: bool = True, compress_level: int = 6) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=optimize, compress_level=compress_level)
    return stream.getvalue()


def _enlarged(png: bytes) -> Image.Image:
    from PIL import Image

    return Image.open(io.BytesIO(png)).convert("RGB").resize((64, 64), Image.Resampling.NEAREST)


def _caption(sample: Sample, class_names: Sequence[str]) -> str:
    def name(label: int) -> str:
        text = class_names[label] if label < len(class_names) else str(label)
        return text if len(text) <= 16 else text[:15] + "…"

    truth = [] if sample.clean_label is None else [f"true: {name(sample.clean_label)}"]
    return "\n".join([f"label: {name(sample.noisy_label)}", *truth, f"score {sample.score:.3g}"])


def _packed(group: Group) -> dict[str, Any]:
    samples = [
        {**asdict(sample), "png": base64.b64encode(sample.png).decode()} for sample in group.samples
    ]
    return {"key": group.key, "n": group.n, "samples": samples}


def _unpacked(group: dict[str, Any]) -> Group:
    if group["key"] not in TITLES:
        raise ValueError("it has an unknown group")
    samples = tuple(_sample(**sample) for sample in group["samples"])
    return Group(group["key"], int(group["n"]), samples)


def _sample(png: str, clean_label: int | None, **fields: Any) -> Sample:
    raw = base64.b64decode(png, validate=True)
    if not raw.startswith(_PNG):
        raise ValueError("one of its images is not a PNG")
    return Sample(
        id=str(fields["id"]),
        noisy_label=int(fields["noisy_label"]),
        clean_label=None if clean_label is None else int(clean_label),
        score=float(fields["score"]),
        keep=bool(fields["keep"]),
        png=raw,
    )
