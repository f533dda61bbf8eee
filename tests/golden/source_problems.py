"""Data sources on small files that are written here; the answer is what a run would see."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cifar_on_disk
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from golden.answer_files import Answer, sha256
from golden.problem_data import case_name, checksums, pixels, write
from PIL import Image

from nlbench.data.image_data import ImageData
from nlbench.plugins.discovery import Component
from nlbench.plugins.registry import make_component

# Resizing rounds to whole shades; where a value lies halfway, processors round either way.
TOLERANCE = 1e-3
TOLERANCES: dict[str, float] = {}
_SIDE, _SMALLER = 8, 5
_FEW = 24

Case = tuple[dict[str, Any], Callable[[Path, pytest.MonkeyPatch], object]]


def answers(component: Component) -> Answer:
    assert component.name in _CASES, (
        f"no problem for data set {component.name!r}: add one to _CASES in {__file__}"
    )
    out: Answer = {}
    for settings, prepare in _CASES[component.name]:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            root = Path(folder)
            prepare(root, patch)
            source = make_component("datasets", component.name, settings)
            name = case_name(settings)
            out[name if name not in out else f"{name}, other files"] = _facts(source.load(root))
    return out


def _facts(data: ImageData) -> Answer:
    facts: Answer = {
        "class names": sha256("\0".join(data.class_names)),
        "classes": data.n_classes,
        "labels are clean": data.labels_are_clean,
        "unreadable": list(data.unreadable),
        "train": _part(data.train_images, data.train_labels, list(data.train_ids)),
        "test": _part(data.test_images, data.test_labels, []),
    }
    if data.train_subset is not None:
        facts["subset"] = sha256(data.train_subset)
    for name, other in data.other_tests.items():
        facts[name] = _part(other.images, other.labels, [])
    return facts


def _part(images: Any, labels: Any, ids: list[str]) -> Answer:
    positions = torch.arange(len(images))
    few = positions[:_FEW]
    return {
        "images": len(images),
        "labels": labels[:_FEW],
        "all labels": sha256(labels),
        "ids": ids[:3],
        "all ids": sha256("\0".join(ids)),
        # At their own size the pixels are exact.
        "pixels": sha256(images.load(positions, _native(images))),
        "smaller": checksums(images.load(few, _SMALLER)),
    }


def _native(images: Any) -> int | None:
    return None if hasattr(images, "images") else _SIDE


def _png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(1, side=_SIDE, seed=seed)[0].permute(1, 2, 0).numpy()).save(
        stream, "png"
    )
    return stream.getvalue()


def _nothing(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Write nothing: the data comes with a library."""


def _split_folder(root: Path, patch: pytest.MonkeyPatch) -> None:
    for p, (part, n) in enumerate((("train", 4), ("test", 2))):
        for k, name in enumerate(("cat", "dog", "elk")):
            for i in range(n):
                write(root / "pets" / part / name / f"{i}.png", _png(100 * p + 10 * k + i))


def _whole_folder(root: Path, patch: pytest.MonkeyPatch) -> None:
    for k, name in enumerate(("cat", "dog", "elk")):
        for i in range(10):
            write(root / "pets" / name / f"{i}.png", _png(10 * k + i))


def _tables(root: Path, patch: pytest.MonkeyPatch) -> None:
    for part, n, first in (("train", 9, 0), ("test", 3, 50)):
        cells = [{"bytes": _png(first + i), "path": f"{i}.png"} for i in range(n)]
        labels = [i % 3 for i in range(n)]
        table = pa.table({"image": cells, "label": labels, "other": [(k + 1) % 3 for k in labels]})
        (root / "pets").mkdir(exist_ok=True)
        pq.write_table(table, root / "pets" / f"{part}-00000-of-00001.parquet")


def _library_tables(root: Path, patch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("datasets")
    patch.setattr("datasets.config.HF_DATASETS_CACHE", root / "cache")
    patch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)
    library.disable_progress_bars()
    names = library.ClassLabel(names=["cat", "dog", "elk"])
    kinds = library.Features({"image": library.Image(), "label": names})
    (root / "pets").mkdir()
    for part, n, first in (("train", 9, 0), ("test", 3, 50)):
        cells = [{"bytes": _png(first + i), "path": None} for i in range(n)]
        table = library.Dataset.from_dict(
            {"image": cells, "label": [i % 3 for i in range(n)]}, kinds
        )
        table.to_parquet(str(root / "pets" / f"{part}.parquet"))


def _animals(root: Path, patch: pytest.MonkeyPatch) -> None:
    for part, n, first in (("training", 20, 0), ("testing", 10, 50)):
        for i in range(n):
            write(root / "animal10n" / part / f"{i % 10}_{i:05d}.jpg", _png(first + i))


def _lines(path: Path, entries: list[str]) -> None:
    write(path, "\n".join(entries) + "\n")


def _clothes(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "clothing1m"
    train = [(f"images/{i % 3}/{i},{i}.jpg", i * 5 % 14) for i in range(42)]
    test = [(f"images/9/{i},0.jpg", i % 14) for i in range(14)]
    for i, (name, _) in enumerate((*train, *test)):
        write(base / name, _png(i))
    _lines(base / "noisy_train_key_list.txt", [name for name, _ in train])
    _lines(base / "noisy_label_kv.txt", [f"{name} {k}" for name, k in reversed(train)])
    _lines(base / "clean_test_key_list.txt", [name for name, _ in test])
    _lines(base / "clean_label_kv.txt", [f"{name} {k}" for name, k in test])


def _dishes(root: Path, patch: pytest.MonkeyPatch) -> None:
    dishes = sorted(f"dish_{i:03d}" for i in range(101))
    train, test = root / "food101n" / "Food-101N_release", root / "food101n" / "food-101"
    for i, dish in enumerate(dishes):
        write(train / "images" / dish / "ab12.jpg", _png(i))
        write(test / "images" / dish / "1011328.jpg", _png(200 + i))
    _lines(train / "meta" / "classes.txt", ["class_name", *dishes])
    _lines(train / "meta" / "imagelist.tsv", ["class_name/key", *(f"{d}/ab12.jpg" for d in dishes)])
    _lines(test / "meta" / "test.txt", [f"{dish}/1011328" for dish in reversed(dishes)])


def _webvision(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "mini-webvision"
    train = [(f"google/q{k:04d}/a b{k}.jpg", k) for k in range(60)]
    test = [(f"val{k:06d}.jpg", k) for k in range(60)]
    for i, (name, _) in enumerate(train):
        write(base / name, _png(i))
    for i, (name, _) in enumerate(test):
        write(base / "val_images_256" / name, _png(100 + i))
    _lines(base / "info" / "train_filelist_google.txt", [f"{name} {k}" for name, k in train])
    _lines(base / "info" / "val_filelist.txt", [f"{name} {k}" for name, k in test])


def _wnids() -> list[str]:
    from timm.data import ImageNetInfo

    return list(ImageNetInfo("imagenet-1k").label_names())


def _with_imagenet(root: Path, patch: pytest.MonkeyPatch) -> None:
    _webvision(root, patch)
    for k, wnid in enumerate(_wnids()[:50]):
        write(root / "imagenet" / "val" / wnid / f"ILSVRC2012_val_{k:08d}.JPEG", _png(200 + k))


def _red(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "red-mini-imagenet"
    train = [(f"{wnid}{k:08d}.jpg", k) for k, wnid in enumerate(_wnids()[10:110])]
    train += [(f"5922767e5677ae{k:02x}.jpg", k * 3 % 100) for k in range(20)]
    test = [(f"ILSVRC2012_val_{k:08d}.JPEG", k) for k in range(100)]
    for p, (folder, entries) in enumerate((("all_images", train), ("all_validation", test))):
        for i, (name, _) in enumerate(entries):
            write(base / folder / name, _png(200 * p + i))
    for rate in ("0.2", "0.4", "0.6", "0.8"):
        listed = train if rate == "0.4" else train[: 100 + int(10 * float(rate))]
        _lines(base / "split" / f"red_noise_nl_{rate}", [f"{name} {k}" for name, k in listed])
    _lines(base / "split" / "clean_validation", [f"{name} {k}" for name, k in test])


def _cifar_tables(name: str) -> Callable[[Path, pytest.MonkeyPatch], object]:
    return lambda root, patch: cifar_on_disk.put_parquet(
        root, name, label="label" if name == "cifar10" else "fine_label"
    )


def _cifar_batches(name: str) -> Callable[[Path, pytest.MonkeyPatch], object]:
    return lambda root, patch: cifar_on_disk.put_torchvision(root, patch, name)


def _cifar10(name: str) -> list[Case]:
    part = {"n_train": 20}
    return [
        ({}, _cifar_tables("cifar10")),
        ({}, _cifar_batches("cifar10")),
        (part, _cifar_tables("cifar10")),
        ({**part, "subset_seed": 3}, _cifar_tables("cifar10")),
    ]


def _cifar100(name: str) -> list[Case]:
    return [({}, _cifar_tables("cifar100")), ({}, _cifar_batches("cifar100"))]


_PETS = {"path": "pets"}
_CASES: dict[str, list[Case]] = {
    "digits": [({}, _nothing)],
    "folder": [
        (_PETS, _split_folder),
        (_PETS, _whole_folder),
        ({**_PETS, "test_fraction": 0.3}, _whole_folder),
        ({**_PETS, "split_seed": 2}, _whole_folder),
        ({**_PETS, "labels_are_clean": False}, _split_folder),
    ],
    "parquet": [
        (_PETS, _tables),
        ({**_PETS, "label_column": "other"}, _tables),
        ({**_PETS, "labels_are_clean": False}, _tables),
    ],
    "hf": [
        (_PETS, _library_tables),
        ({**_PETS, "train_split": "train[:6]", "test_split": "train[6:]"}, _library_tables),
        ({**_PETS, "labels_are_clean": False}, _library_tables),
    ],
    "animal10n": [({}, _animals), ({"class_order": "clipcleaner"}, _animals)],
    "clothing1m": [({}, _clothes), ({"n_train": 28}, _clothes)],
    "food101n": [({}, _dishes)],
    "mini-webvision": [({}, _webvision), ({}, _with_imagenet)],
    "red-mini-imagenet": [({"noise_rate": r}, _red) for r in ("0.2", "0.4", "0.6", "0.8")],
    "cifar10": _cifar10("cifar10"),
    "cifar10n": _cifar10("cifar10n"),
    "cifar100": _cifar100("cifar100"),
    "cifar100n": _cifar100("cifar100n"),
}
