"""Tables: classes by name and not by number, shards, columns of every type; copies of images."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from nlbench.data.copies import IDENTICAL, NEARLY, TWO_LABELS, copies_by_pixels, near_copies
from nlbench.data.folder import Folder
from nlbench.data.image_data import ImageData
from nlbench.data.parquet import Parquet
from nlbench.errors import ConfigError, DataError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(seed: int, kind: str = "png", side: int = 24) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if kind == "jpeg" else {}
    stream = io.BytesIO()
    image = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    image.save(stream, kind, **options)
    return stream.getvalue()


def put(file: Path, labels: Any, names: list[str] | None = None, first: int = 0) -> Path:
    """Write images with labels, and the names of the classes as the Hugging Face library does."""
    array = labels if isinstance(labels, pa.Array) else pa.array(labels)
    rows = [{"bytes": picture(first + i), "path": None} for i in range(len(array))]
    made = pa.table({"image": pa.array(rows, STRUCT), "label": array})
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        made = made.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(made, file)
    return file


def load(root: Path, **options: Any) -> ImageData:
    return Parquet(path=str(root), **options).load(None)


def words(data: ImageData, part: str) -> list[str]:
    return [data.class_names[label] for label in getattr(data, f"{part}_labels")]


def test_labels_follow_the_names_of_each_file(tmp_path: Path) -> None:
    put(tmp_path / "train-00000-of-00002.parquet", [0, 1, 2], ["cat", "dog", "fox"])
    put(tmp_path / "train-00001-of-00002.parquet", [0, 1, 2], ["fox", "cat", "dog"])
    put(tmp_path / "test.parquet", [0, 1, 2, 0], ["dog", "fox", "cat"])
    data = load(tmp_path)
    assert data.class_names == ("cat", "dog", "fox")
    assert words(data, "train") == ["cat", "dog", "fox", "fox", "cat", "dog"]
    assert words(data, "test") == ["dog", "fox", "cat", "dog"]
    put(tmp_path / "test.parquet", [0, 1], ["dog", "wolf"])
    with pytest.raises(DataError, match=r"test.parquet' has labels of classes .* name: wolf"):
        load(tmp_path)


def test_hugging_face_labels_follow_the_names_of_each_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    from nlbench.data.hugging_face import HuggingFace

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    put(tmp_path / "own" / "train.parquet", [1, 2, 3, 3])
    put(tmp_path / "own" / "test.parquet", [3, 1], first=9)
    data = HuggingFace(path=str(tmp_path / "own")).load(None)
    assert data.class_names == ("1", "2", "3")
    assert data.test_labels.tolist() == [2, 0]
    put(tmp_path / "own" / "train-00000-of-00002.parquet", [1, 2])
    with pytest.raises(DataError, match=r"1 of 2 files are missing .*train-00001-of-00002"):
        HuggingFace(path=str(tmp_path / "own")).content_key(None)


@pytest.mark.parametrize("labels", [[1, 2, 3, 1], [10, 30, 20, 10]])
def test_numbers_from_one_are_no_more_classes_than_there_are(
    tmp_path: Path, labels: list[int]
) -> None:
    put(tmp_path / "train.parquet", labels)
    put(tmp_path / "test.parquet", labels[1:3])
    data = load(tmp_path)
    assert data.class_names == tuple(map(str, sorted(set(labels))))
    assert words(data, "train") == list(map(str, labels))
    assert words(data, "test") == list(map(str, labels[1:3]))


def test_text_is_a_label(tmp_path: Path) -> None:
    put(tmp_path / "train.parquet", ["dog", "cat", "dog"])
    put(tmp_path / "test.parquet", pa.array(["cat", "dog"]).dictionary_encode())
    data = load(tmp_path)
    assert (data.class_names, words(data, "test")) == (("cat", "dog"), ["cat", "dog"])
    put(tmp_path / "test.parquet", ["cat", "fox"])
    with pytest.raises(DataError, match=r"has classes that training has not: fox"):
        load(tmp_path)


def test_half_a_character_in_a_class_name_can_be_written(tmp_path: Path) -> None:
    put(tmp_path / "train.parquet", [0, 1], ["cat", "d\ud83dg"])
    put(tmp_path / "test.parquet", [0, 1], ["cat", "d\ud83dg"])
    assert load(tmp_path).class_names == ("cat", r"d\ud83dg")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["train-00000-of-00003"],
            "2 of 3 files are missing .*: train-00001-of-00003, train-",
        ),
        (["train-00000-of-00002", "train-00002-of-00003"], "mixes files of several sets"),
        (["train-00000-of-00001", "train-more"], "mixes files of several sets"),
    ],
)
def test_shards_are_complete(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        put(tmp_path / f"{name}.parquet", [0, 1])
    put(tmp_path / "test.parquet", [0, 1])
    for call in (load, lambda root: Parquet(path=str(root)).content_key(None)):
        with pytest.raises(DataError, match=message):
            call(tmp_path)


def test_another_test_part_is_a_setting_and_files_that_are_not_used_are_named(
    tmp_path: Path,
) -> None:
    put(tmp_path / "train.parquet", [0, 1])
    put(tmp_path / "test.parquet", [-1, -1], first=5)
    put(tmp_path / "validation.parquet", [1, 0], first=9)
    with pytest.raises(DataError, match=r"2 are not: row 0: -1.*--set data.test_split=NAME"):
        load(tmp_path)
    data = load(tmp_path, test_split="validation")
    assert data.test_labels.tolist() == [1, 0]
    assert data.passed_over == {"file of another part": (1, ("test.parquet",))}
    with pytest.raises(DataError, match=r"needs .*extra\*.parquet.*parts: test, train, validation"):
        load(tmp_path, test_split="extra")


def test_raw_bytes_are_images(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("test", 7)):
        rows = [picture(first + i) for i in range(4)]
        table = pa.table({"jpg": pa.array(rows, pa.binary()), "cls": [0, 1, 0, 1]})
        pq.write_table(table, tmp_path / f"{part}.parquet", row_group_size=3)
    data = load(tmp_path)
    seen = data.test_images.load(torch.tensor([3]), 24)[0].permute(1, 2, 0).numpy()
    assert (seen == np.asarray(Image.open(io.BytesIO(picture(10))))).all()


@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        ("label", pa.array([[0], [1]]), r"no column that could be the label.*label \(list<"),
        ("label", pa.array([0.5, 1.0]), r"no column that could be the label.*label \(double\)"),
        ("image", pa.array([[0, 1], [2, 3]]), r"no column that could be the image.*image \(list<"),
    ],
)
def test_columns_of_other_types_are_named_with_what_is_accepted(
    tmp_path: Path, column: str, kind: pa.Array, message: str
) -> None:
    for part in ("train", "test"):
        file = put(tmp_path / f"{part}.parquet", [0, 1])
        table = pq.read_table(file)
        at = table.column_names.index(column)
        pq.write_table(table.set_column(at, column, kind), file)
    with pytest.raises(ConfigError, match=message):
        load(tmp_path)
    with pytest.raises(ConfigError, match=f"column '{column}' of .* must contain .* is of type "):
        load(tmp_path, **{f"{column}_column": column})


# Copies.


def folder(root: Path, parts: dict[str, list[bytes]]) -> Path:
    for name, contents in parts.items():
        for i, content in enumerate(contents):
            file = root / name / f"{i}.img"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return root


def test_copies_of_training_images_are_counted(tmp_path: Path) -> None:
    fresh = [picture(100 + i) for i in range(3)]
    again = [picture(1, "jpeg"), picture(2, "png", 48)]
    root = folder(
        tmp_path / "own",
        {
            "train/a": [picture(i) for i in range(5)],
            "train/b": [picture(50 + i) for i in range(4)] + [picture(4)],
            "test/a": [picture(0), *again, *fresh],
            "test/b": [picture(51)],
        },
    )
    data = Folder(path=str(root)).load(None)
    assert data.copies == {
        IDENTICAL: (2, ("test/a/0.img", "test/b/0.img")),
        NEARLY: (2, ("test/a/1.img", "test/a/2.img")),
        TWO_LABELS: (2, ("train/a/4.img", "train/b/4.img")),
    }


def test_nlbench_puts_copies_on_one_side_of_its_split(tmp_path: Path) -> None:
    copies = [picture(i // 4) for i in range(40)]  # four of each
    root = folder(tmp_path / "own", {"a": copies, "b": [picture(50 + i // 4) for i in range(40)]})
    data = Folder(path=str(root)).load(None)
    assert np.bincount(data.train_labels).tolist() == [32, 32]
    assert IDENTICAL not in data.copies
    assert NEARLY not in data.copies


def test_without_copies_the_split_is_what_it_was(tmp_path: Path) -> None:
    from sklearn.model_selection import train_test_split

    root = folder(
        tmp_path / "own",
        {name: [picture(k + i) for i in range(20)] for k, name in ((0, "a"), (90, "b"))},
    )
    names = sorted(f"{name}/{i}.img" for name in "ab" for i in range(20))
    train, _ = train_test_split(
        names, test_size=0.2, stratify=[name[0] for name in names], random_state=0
    )
    assert list(Folder(path=str(root)).load(None).train_ids) == sorted(train)


def test_near_copies_against_a_search_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    shift = rng.integers(0, 10, (60, 1, 1, 1))
    test = (train.astype(int) + shift).clip(0, 255).astype(np.uint8)
    expected = [
        any(np.abs(one.astype(int) - other.astype(int)).max() <= 6 for other in train)
        for one in test
    ]
    assert near_copies(train, test).tolist() == expected
    assert 10 < sum(expected) < 50
    flat = np.full((3, 8, 8, 3), 7, dtype=np.uint8)
    assert not near_copies(flat, flat).any()


def test_copies_in_tables_are_told_by_their_pixels(tmp_path: Path) -> None:
    put(tmp_path / "train.parquet", [0, 1, 0, 1])
    put(tmp_path / "test.parquet", [0, 1, 0, 1], first=2)
    assert copies_by_pixels(load(tmp_path)) == {IDENTICAL: (2, ("test image 0", "test image 1"))}
