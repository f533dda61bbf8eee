"""Which directories are classes, which files are images, and what is said of all others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.data.folder import Folder
from nlbench.data.image_data import ImageData
from nlbench.errors import DataError
from nlbench.results.record import RunRecord

CLASSES = ("bird", "cat", "dog")


def put(path: Path, n: int = 1, kind: str = "png") -> Path:
    """Write different pictures `path`/0.png, ..."""
    rng = np.random.default_rng(list(os.fsencode(path)))
    path.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        image = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        with (path / f"{i}.{kind}").open("wb") as file:
            image.save(file, {"jfif": "jpeg", "": "jpeg"}.get(kind, kind))
    return path


def classes(root: Path, n: int = 10, names: Sequence[str] = CLASSES) -> Path:
    for name in names:
        put(root / name, n)
    return root


def load(root: Path, **options: object) -> ImageData:
    return Folder(path=str(root), **options).load(None)  # type: ignore[arg-type]


def n_images(data: ImageData) -> int:
    return len(data.train_labels) + len(data.test_labels)


@pytest.mark.parametrize(
    ("train", "test"),
    [("train", "test"), ("Train", "Test"), ("TRAINING", "Testing"), ("training", "validation"),
     ("train", "val"), ("Train", "Valid"), ("train", "dev"), ("train", "eval")],
)  # fmt: skip
def test_splits_are_known_by_their_usual_names(tmp_path: Path, train: str, test: str) -> None:
    classes(tmp_path / "own" / train, 4)
    classes(tmp_path / "own" / test, 2)
    data = load(tmp_path / "own")
    assert data.class_names == CLASSES
    assert (len(data.train_labels), len(data.test_labels)) == (12, 6)
    assert data.split == f"{train}/ and {test}/ as given"


def test_a_third_split_and_other_folders_are_named(tmp_path: Path) -> None:
    for part in ("train", "test", "val", "annotations"):
        classes(tmp_path / "own" / part, 2)
    assert load(tmp_path / "own").passed_over == {
        "outside the folders of train and test": (1, ("annotations/",)),
        "validation folder beside train and test, not used": (1, ("val/",)),
    }


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    data = load(classes(tmp_path / "own", names=("bus", "train", "car")))
    assert data.class_names == ("bus", "car", "train")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train/cat", "train/dog", "cat"), "only one of train/ and test/.*: train. Give both"),
        (("val/cat", "val/dog"), "only one of train/ and test/.*: val. Give both"),
        (("train/a", "training/a", "test/a"), "several folders for one part: train, training"),
        (("train", "test"), "0 training and 0 test images"),
        (("a/cat", "a/dog", "b/cat", "b/dog"), r"every folder in .* \(a, b\).*\(cat, dog\).*merge"),
    ],
)
def test_folders_that_are_no_classes_are_refused(
    tmp_path: Path, folders: tuple[str, ...], message: str
) -> None:
    for folder in folders:
        put(tmp_path / "own" / folder, 4)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "own")


def test_equal_sub_folders_are_merged_where_one_says_so(tmp_path: Path) -> None:
    for name in ("a/left", "a/right", "b/left", "b/right"):
        put(tmp_path / "own" / name, 4)
    assert load(tmp_path / "own", merge_sub_folders=True).class_names == ("a", "b")
    put(tmp_path / "own" / "a", 1)  # an image in a class folder itself settles it
    assert load(tmp_path / "own").class_names == ("a", "b")


def test_hidden_and_system_folders_are_not_read(tmp_path: Path) -> None:
    root = classes(tmp_path / "own")
    before = Folder(path=str(root)).content_key(None)
    for name in CLASSES:
        for junk in (".ipynb_checkpoints", "@eaDir", "deep/.thumbnails"):
            put(root / name / junk, 3)
    for junk in ("@eaDir", "$RECYCLE.BIN", "mlruns", "wandb", "__MACOSX", ".git"):
        put(root / junk, 3)
    data = load(root)
    assert (data.class_names, n_images(data)) == (CLASSES, 30)
    assert data.passed_over["hidden"][0] == 7
    assert data.passed_over["of the system or of a tool"] == (
        8, ("$RECYCLE.BIN/", "@eaDir/", "__MACOSX/", "bird/@eaDir/", "cat/@eaDir/")
    )  # fmt: skip
    assert Folder(path=str(root)).content_key(None) == before


def test_what_pillow_opens_is_an_image_whatever_its_name(tmp_path: Path) -> None:
    root = classes(tmp_path / "own", names=("cat",))
    kinds = ["jfif", "webp", "tiff", "bmp"] + (["avif"] if features.check("avif") else [])
    for kind in kinds:
        put(root / kind, 5, kind)
    for i, file in enumerate(sorted(put(root / "cow", 5, "jpeg").iterdir())):
        file.rename(root / "cow" / f"photo-{i}")
    (root / "cow" / "photo.txt").write_text("not an image, 123\n" * 9)
    (root / "cow" / "Makefile").write_text("all:\n")
    data = load(root)
    assert data.class_names == tuple(sorted(["cat", "cow", *kinds]))
    assert n_images(data) == 15 + 5 * len(kinds)
    assert data.passed_over == {
        "not an image (.txt)": (1, ("cow/photo.txt",)),
        "not an image (no extension)": (1, ("cow/Makefile",)),
    }


def test_a_class_without_an_image_is_an_error(tmp_path: Path) -> None:
    root = classes(tmp_path / "own")
    (root / "fox").mkdir()
    (root / "fox" / "notes.txt").write_text("none")
    with pytest.raises(DataError, match=r"1 of 4 class folders .* no image .*: fox \(1 files\)"):
        load(root)
    (root / "fox" / "notes.txt").rename(root / "fox" / "0.png")
    for i in range(100, 500):
        shutil.copy(root / "cat" / "0.png", root / "cat" / f"{i}.png")
    with pytest.raises(DataError, match=r"no image of 1 classes .* can be decoded: fox"):
        load(split(root))


def split(root: Path) -> Path:
    """Move classes below train/, and give test/ the same without the last."""
    for name in ("bird", "cat", "dog"):
        shutil.copytree(root / name, root / "test" / name)
    for name in ("bird", "cat", "dog", "fox"):
        shutil.move(root / name, root / "train" / name)
    return root


def test_links_are_followed_once(tmp_path: Path) -> None:
    root, pool = classes(tmp_path / "own", names=("cat", "dog")), tmp_path / "pool"
    put(pool / "one", 8)
    put(pool / "two", 8)
    (root / "bird").mkdir()
    for link, target in (
        ("bird/batch1", pool / "one"), ("bird/batch2", pool / "two"), ("bird/again", pool / "one"),
        ("bird/up", root), ("bird/self", root / "bird"), ("bird/loop", Path("loop")),
        ("bird/gone.png", Path("nowhere")), ("cat/same.png", Path("0.png")),
        ("fox", pool / "two"),
    ):  # fmt: skip
        (root / link).symlink_to(target)
    data = load(root)
    assert data.class_names == ("bird", "cat", "dog", "fox")
    assert n_images(data) == 16 + 20 + 8
    assert data.passed_over == {
        "broken link": (2, ("bird/gone.png", "bird/loop")),
        "link to a file that is already in the class": (1, ("cat/same.png",)),
        "link to a folder that is already read": (3, ("bird/batch1/", "bird/self/", "bird/up/")),
    }
    assert data.copies["identical images in several classes"][0] == 16


def test_a_class_whose_name_is_not_utf8_is_recorded_and_read_back(tmp_path: Path) -> None:
    root = classes(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9t\xe9")))
    put(Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9")), 10)
    record = nlbench.run(
        "none", f"folder:{root}", "none", epochs=1, device="cpu", track=False,
        settings={"image_size": 32, "batch_size": 16},
    )  # fmt: skip
    again = RunRecord.from_json(record.to_json())
    assert again.dataset.class_names == ["bird", r"caf\xe9", "cat", "dog"]
    assert again.dataset.name == r"folder:\xe9t\xe9"
    json.loads(record.to_json().encode("utf-8"))
    # Bash gives back the very bytes.
    words = f"printf %s {record.command.split(' --dataset ')[1].split(' ')[0]}"
    assert subprocess.check_output(["bash", "-c", words]) == b"folder:" + os.fsencode(root)


def test_the_record_and_the_log_say_what_was_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = classes(tmp_path / "own")
    (root / "cat" / "notes.txt").write_text("x")
    shutil.copy(root / "cat" / "0.png", root / "dog" / "copy.png")
    record = nlbench.run(
        "none", f"folder:{root}", "none", epochs=1, device="cpu", track=False,
        settings={"image_size": 32, "batch_size": 16, "labels_are_clean": False},
    )  # fmt: skip
    assert record.dataset.passed_over == {"not an image (.txt)": (1, ("cat/notes.txt",))}
    assert record.dataset.copies["identical images in several classes"][0] == 2
    assert not record.dataset.test_labels_are_clean
    assert "not an image (.txt): 1 (cat/notes.txt)" in caplog.text
    assert RunRecord.from_json(record.to_json()) == record


def test_a_test_set_of_its_own_is_taken_for_clean(tmp_path: Path) -> None:
    for part in ("train", "test"):
        classes(tmp_path / "own" / part, 2)
    assert load(tmp_path / "own", labels_are_clean=False).test_labels_are_clean
    assert load(classes(tmp_path / "cut")).test_labels_are_clean


def test_data_check_prints_classes_and_what_was_passed_over(tmp_path: Path) -> None:
    root = classes(tmp_path / "own")
    (root / "cat" / "notes.txt").write_text("x")
    words = ["data", "check", f"folder:{root}", "--set", "data.test_fraction=0.5"]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    assert "class        cat: 5 train, 5 test\n" in result.stdout
    assert "passed over  not an image (.txt): 1 (cat/notes.txt)\n" in result.stdout
    assert result.stdout.endswith("folder:own is readable, with 1 point to look at.\n")
    (root / "cat" / "notes.txt").unlink()
    again = CliRunner().invoke(app, words).stdout
    assert again.endswith("folder:own is in order.\n")
    wrong = CliRunner().invoke(app, [*words, "--set", "trainer.lr=1"])
    assert (wrong.exit_code, "settings of the data set" in wrong.stderr) == (2, True)


def test_wordnet_ids_as_class_names_are_a_warning_with_their_words(tmp_path: Path) -> None:
    root = classes(tmp_path / "own", names=("n01440764", "n02123045", "n99999999"))
    (warning,) = load(root).warnings
    assert "3 of 3 class names are WordNet ids" in warning
    assert "n01440764 -> tench, n02123045 -> tabby" in warning
    assert "n99999999" not in warning
