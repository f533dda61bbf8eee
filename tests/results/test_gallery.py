"""The images a run keeps: the right ones, of data sets that may be shown, and no others."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import nlbench
from nlbench.errors import DataError
from nlbench.results.gallery import PER_GROUP, contact_sheet, read_gallery, write_gallery
from nlbench.results.record import RunRecord
from nlbench.results.samples import SelectedSamples
from nlbench.results.store import RunStore
from nlbench.selector import Selection

OWN = "folder"  # a data set of the user's: nobody said that its images may be shown


def samples(n: int = 120, size: int = 8, **change: Any) -> SelectedSamples:
    """Return what the runner hands over: n grey images whose brightness is their position."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(0, 3, (n,), generator=generator)
    noisy = torch.where(torch.rand(n, generator=generator) < 0.5, (clean + 1) % 3, clean)
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, size, size).clone()
    parts: dict[str, Any] = {
        "ids": [f"image {i}" for i in range(2 * n)],
        "positions": torch.arange(n) * 2,
        "images": images,
        "selection": Selection(
            keep=torch.rand(n, generator=generator) < 0.5,
            score=torch.randint(0, 9, (n,), generator=generator).float() / 8,
        ),
        "noisy_labels": noisy,
        "clean_labels": clean,
    }
    return SelectedSamples(**{**parts, **change})


def brightness(png: bytes) -> int:
    value = Image.open(io.BytesIO(png)).getpixel((0, 0))
    assert isinstance(value, int)
    return value


def test_the_most_instructive_samples_are_kept(tmp_path: Path) -> None:
    run = samples()
    write_gallery(tmp_path, run, "digits")
    kept, dropped = read_gallery(tmp_path)
    # The slow reference: plain loops over all samples, the first of equals first.
    rows = range(120)
    keep, score = run.selection.keep.tolist(), run.selection.score.tolist()
    wrong = (run.noisy_labels != run.clean_labels).tolist()
    wrongly_kept = sorted((i for i in rows if keep[i] and wrong[i]), key=lambda i: -score[i])
    wrongly_dropped = sorted(
        (i for i in rows if not keep[i] and not wrong[i]), key=lambda i: score[i]
    )
    for group, expected in ((kept, wrongly_kept), (dropped, wrongly_dropped)):
        assert group.n == len(expected) > PER_GROUP
        assert [brightness(s.png) for s in group.samples] == expected[:PER_GROUP]
        assert [s.id for s in group.samples] == [f"image {2 * i}" for i in expected[:PER_GROUP]]
        for sample, i in zip(group.samples, expected, strict=False):
            assert (sample.noisy_label, sample.clean_label, sample.score, sample.keep) == (
                int(run.noisy_labels[i]), int(run.clean_labels[i]), score[i], keep[i],
            )  # fmt: skip


def test_where_the_truth_is_not_known_the_least_trusted_labels_are_kept(tmp_path: Path) -> None:
    run = samples(clean_labels=None)
    write_gallery(tmp_path, run, "digits")
    (group,) = read_gallery(tmp_path)
    scores = [sample.score for sample in group.samples]
    assert scores == sorted(run.selection.score.tolist())[:PER_GROUP]
    assert {sample.clean_label for sample in group.samples} == {None}


def test_a_perfect_selection_has_empty_groups(tmp_path: Path) -> None:
    run = samples()
    right = run.noisy_labels == run.clean_labels
    run = replace(run, selection=Selection(keep=right, score=right.float()))
    write_gallery(tmp_path, run, "digits")
    groups = read_gallery(tmp_path)
    assert [(group.n, group.samples) for group in groups] == [(0, ()), (0, ())]
    assert Image.open(io.BytesIO(contact_sheet(groups, ["a"]))).format == "PNG"


def test_images_are_kept_only_where_they_may_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert write_gallery(tmp_path, samples(), OWN) is None
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("NLBENCH_SHOW_IMAGES", f"cifar10, {OWN}")
    written = write_gallery(tmp_path, samples(), OWN)
    assert written is not None
    assert len(read_gallery(tmp_path)) == 2
    monkeypatch.delenv("NLBENCH_SHOW_IMAGES")
    write_gallery(tmp_path, samples(), OWN)  # the run is repeated, and the word is taken back
    assert read_gallery(tmp_path) == ()


def test_only_digits_may_be_shown_by_licence() -> None:
    """A new data set of ours is not shown before somebody has read its licence."""
    from nlbench.plugins import registry

    shown = {
        component.name
        for component in registry.components("datasets").values()
        if component.load().images_may_be_shown
    }
    assert shown == {"digits"}


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "L")])
def test_large_images_are_made_small_and_channels_are_kept(
    tmp_path: Path, channels: int, mode: str
) -> None:
    run = samples(images=torch.full((120, channels, 100, 100), 77, dtype=torch.uint8))
    write_gallery(tmp_path, run, "digits")
    image = Image.open(io.BytesIO(read_gallery(tmp_path)[0].samples[0].png))
    assert (image.size, image.mode) == ((64, 64), mode)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "nlbench-gallery/1", "groups": [{"key": "x", "n": 1}]}',
     '{"format": "nlbench-gallery/1", "groups": [{"key": "kept-noisy", "n": 1, "samples": '
     '[{"id": "a", "noisy_label": 0, "clean_label": 1, "score": 0, "keep": true, '
     '"png": "PHN2Zz4="}]}]}'],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "gallery.json").write_text(text)
    with pytest.raises(DataError, match=r"gallery\.json' is damaged"):
        read_gallery(tmp_path)


def test_a_run_of_digits_leaves_images_and_logs_them(tmp_path: Path) -> None:
    from nlbench.tracking.files import write_files

    record: RunRecord = nlbench.run("random", epochs=1, track=False)
    folder = RunStore().folder(record.fingerprint)
    kept, dropped = read_gallery(folder)
    assert len(kept.samples) == len(dropped.samples) == PER_GROUP
    assert (folder / "gallery.json").stat().st_size < 20_000
    content = json.loads((folder / "gallery.json").read_text())
    assert content["groups"][0]["samples"][0]["id"].startswith("digits/")
    assert write_files(record, folder, tmp_path) == []
    sheet = Image.open(tmp_path / "figures" / "gallery.png")
    assert sheet.size[0] > 800
    assert len(set(sheet.convert("L").tobytes())) > 20, "it shows something"
