"""``hf:NAME`` through the `datasets` library, from local folders: no network is there."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.config.command import reproduce_command
from nlbench.config.resolve import resolve
from nlbench.data.hugging_face import HuggingFace
from nlbench.data.image_data import ImageData
from nlbench.errors import ConfigError, DataError
from nlbench.plugins.registry import make_component

library = pytest.importorskip("datasets")

SHADES = (0, 40, 80, 120, 160, 200)


@pytest.fixture(autouse=True)
def quiet_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)
    library.disable_progress_bars()
    yield
    library.enable_progress_bars()


def picture(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (6, 4), (shade, shade, shade)).save(stream, "png")
    return stream.getvalue()


def table(path: Path, shades: tuple[int, ...], **columns: Any) -> Path:
    """Parquet as the library itself writes it: images with bytes, classes with names."""
    content = {
        "image": [{"bytes": picture(shade), "path": None} for shade in shades],
        "label": [i % 2 for i in range(len(shades))],
        **columns,
    }
    kinds = {"image": library.Image(), "label": library.ClassLabel(names=["dark", "bright"])}
    kinds |= {name: library.Value("int64") for name in columns if name not in kinds}
    path.parent.mkdir(parents=True, exist_ok=True)
    library.Dataset.from_dict(content, library.Features(kinds)).to_parquet(str(path))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    table(tmp_path / "two" / "train.parquet", SHADES)
    table(tmp_path / "two" / "test.parquet", (10, 250))
    return tmp_path / "two"


def load(root: Path, **options: Any) -> ImageData:
    made: HuggingFace = make_component("datasets", "hf", {"path": str(root), **options})
    return made.load(None)


def shades(data: ImageData, part: str = "train") -> list[int]:
    images = getattr(data, f"{part}_images")
    batch = images.load(torch.arange(len(images)), 4)
    assert batch.shape[1:] == (3, 4, 4)
    return [int(v) for v in batch[:, 0, 1, 1]]


def test_images_labels_and_names_are_those_of_the_files(root: Path) -> None:
    data = load(root)
    assert data.class_names == ("dark", "bright")
    assert (shades(data), shades(data, "test")) == (list(SHADES), [10, 250])
    assert data.train_labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert (data.name, data.split) == ("hf:two", "train and test as given")
    assert data.train_ids[5] == "train:5"
    assert data.train_images.load(torch.tensor([], dtype=torch.int64), 4).shape == (0, 3, 4, 4)


def test_an_image_folder_is_read_from_its_files(tmp_path: Path) -> None:
    for part in ("train", "validation"):
        for i, name in enumerate(("cat", "dog")):
            for k in range(2):
                file = tmp_path / "pets" / part / name / f"{k}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(picture(100 * i + 10 * k))
    data = load(tmp_path / "pets")
    assert (data.class_names, data.split) == (("cat", "dog"), "train and validation as given")
    assert shades(data) == [0, 10, 100, 110]
    before = data.fingerprint
    (tmp_path / "pets" / "train" / "dog" / "1.png").write_bytes(picture(30) + b"more")
    assert load(tmp_path / "pets").fingerprint != before


def test_splits_may_be_slices_and_columns_may_be_named(tmp_path: Path) -> None:
    table(tmp_path / "one" / "train.parquet", SHADES, noisy=[2, 1, 0, 1, 2, 0])
    with pytest.raises(ConfigError, match=r"no split 'test' or 'validation', it has: train. Give"):
        load(tmp_path / "one")
    data = load(
        tmp_path / "one",
        train_split="train[:4]", test_split="train[4:]",
        label_column="noisy", image_column="image",
    )  # fmt: skip
    assert (shades(data), shades(data, "test")) == ([0, 40, 80, 120], [160, 200])
    assert data.train_labels.tolist() == [2, 1, 0, 1]
    assert data.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_column": "labels"}, "no such column 'labels'. Did you mean 'label'"),
        ({"image_column": "img"}, "no such column 'img'. .*image"),
        ({"train_split": "training"}, "cannot be loaded: .*training"),
        ({"subset": "small"}, "cannot be loaded: .*small"),
    ],
)
def test_what_is_not_there_is_named(root: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        load(root, **options)


def test_several_columns_that_could_be_meant_are_listed(tmp_path: Path) -> None:
    for part in ("train", "test"):
        file = tmp_path / "three" / f"{part}.parquet"
        rows = {"image": [{"bytes": picture(1), "path": None}] * 2, "a": [0, 1], "b": [1, 0]}
        kinds = {"image": library.Image(), "a": library.Value("int8"), "b": library.Value("int64")}
        file.parent.mkdir(exist_ok=True)
        library.Dataset.from_dict(rows, library.Features(kinds)).to_parquet(str(file))
    with pytest.raises(ConfigError, match=r"2 columns that could be the label column: a, b. Give"):
        load(tmp_path / "three")
    assert load(tmp_path / "three", label_column="a").train_labels.tolist() == [0, 1]


def test_missing_labels_and_labels_of_no_class_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "bad"
    table(root / "test.parquet", SHADES, k=[0, 1] * 3)
    for k, message in (
        ([0, 1, None, 1, 0, 1], "1 of 6 labels .* are missing .*data.test_split="),
        ([0, -1] * 3, "row 1"),
    ):
        table(root / "train.parquet", SHADES, k=k)
        with pytest.raises(DataError, match=message):
            load(root, label_column="k")


def test_a_damaged_image_is_named_by_its_row(root: Path) -> None:
    rows = pq.read_table(root / "train.parquet").to_pylist()
    rows[3]["image"] = {"bytes": rows[3]["image"]["bytes"][:40], "path": "p.png"}
    rows[4]["image"] = None
    schema = pq.read_schema(root / "train.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema), root / "train.parquet")
    images = load(root).train_images
    with pytest.raises(DataError, match=r"hf:two, row 3 \(p.png\)' cannot be decoded"):
        images.load(torch.tensor([0, 3]), 4)
    with pytest.raises(DataError, match=r"row 4' has no bytes"):
        images.load(torch.tensor([4]), 4)


def test_no_network_and_no_name_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'hf:nobody/nothing' cannot be loaded.*\n.*in the lib"):
        HuggingFace(path="nobody/nothing").load(tmp_path)
    with pytest.raises(DataError, match=r"nowhere' does not exist"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="needs a name"):
        HuggingFace().load(None)


def test_a_data_set_that_brings_code_does_not_run_it(tmp_path: Path) -> None:
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('ran')\n")
    with pytest.raises(DataError, match="cannot be loaded"):
        load(folder)
    assert not (tmp_path / "ran").exists()


def test_without_the_library_the_command_to_install_it_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'nlbench\[hf\]'"):
        load(root)


def test_the_content_and_not_the_place_identifies_a_folder(root: Path, tmp_path: Path) -> None:
    def fingerprint() -> str:
        return resolve(dataset="hf:two", data_dir=root.parent).fingerprint

    first = fingerprint()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    root.rename(moved / "two")
    assert resolve(dataset=f"hf:{moved / 'two'}").fingerprint == first
    (moved / "two").rename(root)
    table(root / "test.parquet", (10, 250, 3, 4))
    assert fingerprint() != first


def test_a_run_on_it_and_its_check(root: Path) -> None:
    table(root / "train.parquet", SHADES * 6)
    settings = {"image_size": 8, "batch_size": 8, "val_fraction": 0}
    record = nlbench.run(
        "none", f"hf:{root}", "symmetric", 0.2, epochs=2, device="cpu", track=False,
        settings=settings,
    )  # fmt: skip
    assert (record.dataset.n_train, record.dataset.n_test) == (36, 2)
    config = resolve(dataset=f"hf:{root}", settings=settings, selector="none", noise="none")
    assert f"--dataset hf:{root}" in reproduce_command(config)
    checked = CliRunner().invoke(app, ["data", "check", f"hf:{root}"])
    assert "36 images, 2 classes of 18 to 18; 36 decoded" in checked.stdout
    assert "class        dark: 18 train, 1 test\n" in checked.stdout
    # The pictures of these tests are of one colour, and nobody could learn from such.
    assert "warning      most decoded images have one colour everywhere" in checked.stdout
    assert "copies " not in checked.stdout
    assert checked.stdout.endswith("hf:two is readable, with 1 point to look at.\n")
