"""CIFAR from both layouts, whole or in part; what is missing or damaged is said."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from cifar_on_disk import (
    N_TEST,
    N_TRAIN,
    edit_parquet,
    human_sets,
    labels,
    pixels,
    png,
    put_human,
    put_parquet,
    put_torchvision,
)
from torchvision import datasets

import nlbench
from nlbench.config.resolve import resolve
from nlbench.data.cifar import Cifar10, Cifar10N, Cifar100, Cifar100N
from nlbench.data.cifar100_classes import CIFAR100_CLASSES
from nlbench.data.download import fetch
from nlbench.data.image_data import ImageData, all_positions
from nlbench.errors import ConfigError, DataError


def images(data: ImageData, part: str) -> np.ndarray:
    source = data.train_images if part == "train" else data.test_images
    return source.load(all_positions(source)).permute(0, 2, 3, 1).numpy()


def assert_whole(data: ImageData, n_classes: int = 10) -> None:
    for part, n, seed in (("train", N_TRAIN, 0), ("test", N_TEST, 1)):
        np.testing.assert_array_equal(images(data, part), pixels(n, seed))
    assert data.train_labels.tolist() == labels(N_TRAIN, n_classes).tolist()
    assert data.test_labels.tolist() == labels(N_TEST, n_classes).tolist()
    assert data.train_labels.dtype == np.int64
    assert data.n_classes == n_classes


@pytest.mark.parametrize("image", ["img", "image"])
@pytest.mark.parametrize("label", ["label", "fine_label"])
@pytest.mark.parametrize("shards", [1, 4])
def test_parquet_is_read_in_order(tmp_path: Path, image: str, label: str, shards: int) -> None:
    put_parquet(tmp_path, image=image, label=label, shards=shards)
    data = Cifar10().load(tmp_path)
    assert_whole(data)
    assert data.train_images.load(torch.tensor([0])).shape == (1, 3, 32, 32)
    assert data.train_images.load(torch.tensor([0])).dtype == torch.uint8
    assert data.train_ids[:2] == ("cifar10/train/00000", "cifar10/train/00001")
    assert data.split == f"published, {N_TRAIN} train / {N_TEST} test"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_torchvisions_layout_gives_the_same(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"cifar10": Cifar10, "cifar100": Cifar100}[name]()
    put_torchvision(tmp_path / "a", monkeypatch, name)
    put_parquet(tmp_path / "b", name)
    first, second = source.load(tmp_path / "a"), source.load(tmp_path / "b")
    assert_whole(first, first.n_classes)
    assert first.fingerprint == second.fingerprint
    assert first.train_ids == second.train_ids
    inner = tmp_path / "c" / name
    shutil.move(tmp_path / "a", inner)
    assert source.load(tmp_path / "c").fingerprint == first.fingerprint


def test_deeper_folders_are_found(tmp_path: Path) -> None:
    folder = put_parquet(tmp_path)
    shutil.move(folder, tmp_path / "aside")
    shutil.move(tmp_path / "aside", folder / "plain_text")
    assert_whole(Cifar10().load(tmp_path))


def test_class_names_are_torchvisions() -> None:
    assert Cifar10.names == (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
    )  # fmt: skip
    assert Cifar100.names == CIFAR100_CLASSES


@pytest.mark.parametrize(("plain", "human"), [(Cifar10, Cifar10N), (Cifar100, Cifar100N)])
def test_human_labelled_sets_are_the_same_images(tmp_path: Path, plain: Any, human: Any) -> None:
    put_parquet(tmp_path, plain.images)
    first, second = plain().load(tmp_path), human().load(tmp_path)
    assert first.fingerprint == second.fingerprint
    assert (first.name, second.name) == (plain.images, f"{plain.images}n")


# Subsets ---------------------------------------------------------------------------------------


def test_a_subset_is_stratified_seeded_and_in_order(tmp_path: Path) -> None:
    put_parquet(tmp_path)
    data, again = Cifar10(n_train=20).load(tmp_path), Cifar10(n_train=20).load(tmp_path)
    assert data.train_subset is not None
    assert np.bincount(data.train_labels, minlength=10).tolist() == [2] * 10
    assert data.train_ids == again.train_ids
    rows = np.flatnonzero(data.train_subset)
    assert data.train_ids == tuple(f"cifar10/train/{i:05d}" for i in rows)
    np.testing.assert_array_equal(images(data, "train"), pixels(N_TRAIN, 0)[rows])
    assert data.train_labels.tolist() == labels(N_TRAIN)[rows].tolist()
    assert len(data.test_labels) == N_TEST
    assert data.split == "published, 20 of 40 train (stratified, subset seed 0) / 20 test"
    other = Cifar10(n_train=20, subset_seed=1).load(tmp_path)
    assert other.train_ids != data.train_ids
    assert other.fingerprint != data.fingerprint


def test_all_images_are_no_subset(tmp_path: Path) -> None:
    put_parquet(tmp_path)
    data = Cifar10(n_train=N_TRAIN).load(tmp_path)
    assert data.train_subset is None
    assert data.fingerprint == Cifar10().load(tmp_path).fingerprint


@pytest.mark.parametrize("n_train", [9, 41])
def test_a_subset_out_of_range_is_refused(tmp_path: Path, n_train: int) -> None:
    put_parquet(tmp_path)
    with pytest.raises(ConfigError, match=rf"must lie in \[10, 40\] .*got {n_train}"):
        Cifar10(n_train=n_train).load(tmp_path)


# Missing and damaged ----------------------------------------------------------------------------


@pytest.mark.parametrize("source", [Cifar10(), Cifar100(), Cifar10N(), Cifar100N()])
def test_missing_data_says_where_to_get_it_and_where_to_put_it(tmp_path: Path, source: Any) -> None:
    for data_dir in (None, tmp_path):
        with pytest.raises(DataError, match=r"kriz/cifar-.*It goes to DIR/cifar-10") as caught:
            source.load(data_dir)
        assert "--data-dir DIR --download" in str(caught.value)
        with pytest.raises(DataError):
            source.content_key(data_dir)


def test_half_a_data_set_is_refused(tmp_path: Path) -> None:
    folder = put_parquet(tmp_path)
    (folder / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"must contain 2 train-\*\.parquet, it has 1"):
        Cifar10().load(tmp_path)
    for file in folder.glob("train-*"):
        file.unlink()
    with pytest.raises(DataError, match=r"at least one train-\*\.parquet, it has 0"):
        Cifar10().content_key(tmp_path)


def truncated_png() -> bytes:
    return png(pixels(1, 5)[0])[:900]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"bytes": b"<html>", "path": "cat_7.png"}, "cannot identify"),
        ({"bytes": truncated_png(), "path": "cat_7.png"}, "truncated"),
        ({"bytes": b"", "path": "cat_7.png"}, "cannot identify"),
        ({"bytes": None, "path": "cat_7.png"}, "no bytes"),
        ({"bytes": png(pixels(1, 5)[0][:, :30]), "path": "cat_7.png"}, "30 x 32, not 32 x 32"),
    ],
)
def test_a_damaged_image_is_named_by_row_and_path(
    tmp_path: Path, entry: dict[str, Any], reason: str
) -> None:
    folder = put_parquet(tmp_path)
    edit_parquet(folder / "train-00001-of-00002.parquet", "img", 3, entry)
    with pytest.raises(
        DataError, match=rf"row 3 \(cat_7\.png\) of '.*train-00001.*{reason}.*Download the file"
    ):
        Cifar10().load(tmp_path)


def test_an_image_that_is_null_is_named(tmp_path: Path) -> None:
    folder = put_parquet(tmp_path)
    edit_parquet(folder / "test-00000-of-00002.parquet", "img", 0, None)
    with pytest.raises(DataError, match=r"row 0 \(no path\) of '.*test-00000"):
        Cifar10().load(tmp_path)


@pytest.mark.parametrize("value", [10, -1])
def test_a_label_out_of_range_is_refused(tmp_path: Path, value: int) -> None:
    folder = put_parquet(tmp_path)
    edit_parquet(folder / "train-00000-of-00002.parquet", "label", 2, value)
    with pytest.raises(DataError, match=rf"must lie in \[0, 10\), got .*{value}"):
        Cifar10().load(tmp_path)


def test_a_label_that_is_missing_is_refused(tmp_path: Path) -> None:
    folder = put_parquet(tmp_path)
    edit_parquet(folder / "train-00000-of-00002.parquet", "label", 2, None)
    with pytest.raises(DataError, match=r"train-00000.*must be whole numbers"):
        Cifar10().load(tmp_path)


@pytest.mark.parametrize("how", ["cut", "text", "empty"])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, how: str) -> None:
    file = put_parquet(tmp_path) / "train-00000-of-00002.parquet"
    content = file.read_bytes()
    file.write_bytes({"cut": content[: len(content) // 2], "text": b"404", "empty": b""}[how])
    with pytest.raises(DataError, match=r"train-00000.*cannot be read.*Download it again"):
        Cifar10().load(tmp_path)


def test_other_columns_are_named(tmp_path: Path) -> None:
    put_parquet(tmp_path, label="target")
    with pytest.raises(DataError, match=r"'fine_label' or 'label', it has \['img', 'target'\]"):
        Cifar10().load(tmp_path)


@pytest.mark.parametrize("file", ["data_batch_2", "test_batch", "batches.meta"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_torchvisions_files_are_checked_before_they_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, how: str
) -> None:
    path = put_torchvision(tmp_path, monkeypatch) / file
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"cifar-10-batches-py' is incomplete or damaged.*checksum"):
        Cifar10().load(tmp_path)


# Download --------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Serve a folder on the loopback interface."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def serve_archive(folder: Path, url: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> Path:
    source = put_torchvision(tmp_path / "origin", patch)
    archive = folder / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source, source.name)
    patch.setattr(datasets.CIFAR10, "url", f"{url}/{archive.name}")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()  # noqa: S324
    patch.setattr(datasets.CIFAR10, "tgz_md5", md5)
    return archive


def test_download_fetches_once_and_is_no_part_of_the_fingerprint(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = serve_archive(*server, tmp_path, monkeypatch)
    where = tmp_path / "data"
    asked = resolve(dataset="cifar10", settings={"data.download": True}, data_dir=where)
    assert_whole(Cifar10(download=True).load(where))
    archive.unlink()
    assert_whole(Cifar10(download=True).load(where))
    assert_whole(Cifar10().load(where))
    assert asked.fingerprint == resolve(dataset="cifar10", data_dir=where).fingerprint


def test_download_repairs_what_is_damaged(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_archive(*server, tmp_path, monkeypatch)
    where = tmp_path / "data" / "cifar10"
    shutil.copytree(tmp_path / "origin", where)
    (where / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"")
    with pytest.raises(DataError, match="incomplete or damaged"):
        Cifar10().load(tmp_path / "data")
    assert_whole(Cifar10(download=True).load(tmp_path / "data"))
    assert_whole(Cifar10().load(tmp_path / "data"))


def test_a_download_that_is_something_else_is_refused(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = serve_archive(*server, tmp_path, monkeypatch)
    archive.write_bytes(archive.read_bytes() + b"more")
    with pytest.raises(DataError, match=r"cannot be downloaded from http.*by other means"):
        Cifar10(download=True).load(tmp_path / "data")
    assert not (tmp_path / "data" / "cifar-10-batches-py").exists()


class Ranged(SimpleHTTPRequestHandler):
    """Answers from the byte that is asked for, and notes which."""

    starts: ClassVar[list[int]] = []
    content = b""
    cut = 0

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "bytes=0-")
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        self.starts.append(start)
        rest = self.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.cut or len(rest)])


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    class Handler(Ranged):
        starts: ClassVar[list[int]] = []
        content, cut = bytes(range(256)) * 5000, 700_001

    md5 = hashlib.md5(Handler.content).hexdigest()  # noqa: S324
    path = tmp_path / "data" / "archive.tar.gz"
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{running.server_port}/archive.tar.gz"
        with pytest.raises(OSError, match=r"."):
            fetch(url, path, md5)
        assert not path.exists()
        fetch(url, path, md5)
        fetch(url, path, md5)
        running.shutdown()
        thread.join()
    assert Handler.starts == [0, 700_001]
    assert path.read_bytes() == Handler.content
    assert list(path.parent.glob("*.part")) == []


def test_a_server_that_is_away_is_an_error_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:1/cifar-10-python.tar.gz")
    with pytest.raises(DataError, match=r"cannot be downloaded from http://127.*unpack it there"):
        Cifar10(download=True).content_key(tmp_path)


# The configuration -----------------------------------------------------------------------------


def test_the_content_key_follows_the_files_not_their_place(tmp_path: Path) -> None:
    put_parquet(tmp_path / "a")
    put_parquet(tmp_path / "b")
    first = Cifar10().content_key(tmp_path / "a")
    assert first == Cifar10().content_key(tmp_path / "b")
    with (tmp_path / "b" / "cifar10" / "test-00000-of-00002.parquet").open("ab") as file:
        file.write(b"\0")
    assert first != Cifar10().content_key(tmp_path / "b")


def test_the_label_files_content_is_in_the_fingerprint_its_place_is_not(tmp_path: Path) -> None:
    put_parquet(tmp_path)
    file = put_human(tmp_path)
    config = resolve(dataset="cifar10n", data_dir=tmp_path)
    assert (config.noise.kind, config.noise.options) == ("human", {"label_set": "worse"})
    assert config.noise.rate is None
    assert config.canonical()["noise"]["options"]["label_file"].startswith("sha256:")
    elsewhere = shutil.copy(file, tmp_path / "copy.pt")
    named = resolve(
        dataset="cifar10n", settings={"noise.label_file": str(elsewhere)}, data_dir=tmp_path
    )
    assert named.fingerprint == config.fingerprint
    put_human(tmp_path, human_sets(labels(N_TRAIN) + 1))
    assert resolve(dataset="cifar10n", data_dir=tmp_path).fingerprint != config.fingerprint


def run(data_dir: Path, **options: Any) -> Any:
    given = {"track": False, "device": "cpu", "epochs": 1, "data_dir": data_dir, **options}
    given["settings"] = {"network": "small-cnn", "batch_size": 8, **given.get("settings", {})}
    return nlbench.run("none", **given)


def test_plain_cifar10_takes_human_noise(tmp_path: Path) -> None:
    put_parquet(tmp_path)
    put_human(tmp_path)
    record = run(tmp_path, dataset="cifar10", noise="human", settings={"noise.label_set": "worse"})
    own = run(tmp_path, dataset="cifar10n")
    assert record.noise.realized_rate == own.noise.realized_rate == 0.5
    assert record.noise.sha256 == own.noise.sha256
    assert record.noise.params["label_set"] == "worse"
    assert "label_file" not in record.command
    assert str(tmp_path) not in str(record.config)
    assert own.dataset.name == "cifar10n"


def test_a_subset_keeps_its_human_labels(tmp_path: Path) -> None:
    put_parquet(tmp_path)
    put_human(tmp_path)
    record = run(tmp_path, dataset="cifar10n", settings={"n_train": 20})
    subset = Cifar10(n_train=20).load(tmp_path).train_subset
    sets = human_sets(labels(N_TRAIN))
    assert subset is not None
    wrong = sets["worse_label"][subset] != sets["clean_label"][subset]
    assert record.noise.realized_rate == wrong.mean()
    assert "20 of 40 train" in record.dataset.split


def test_human_noise_on_other_data_is_refused(tmp_path: Path) -> None:
    put_parquet(tmp_path)
    with pytest.raises(DataError, match=r"CIFAR-10_human\.pt' does not exist.*DIR/cifar_n"):
        run(tmp_path, dataset="cifar10n")
    put_human(tmp_path, human_sets(np.roll(labels(N_TRAIN), 1)))
    with pytest.raises(DataError, match="first at index 0"):
        run(tmp_path, dataset="cifar10n")
    with pytest.raises(ConfigError, match="needs a label file"):
        nlbench.run(noise="human", track=False)


@pytest.mark.parametrize("name", ["cifar10", "cifar10n"])
def test_asymmetric_and_instance_noise_run(tmp_path: Path, name: str) -> None:
    put_parquet(tmp_path)
    assert run(tmp_path, dataset=name, noise="asymmetric:0.5").noise.realized_rate == 0.25
    assert 0 < run(tmp_path, dataset=name, noise="instance:0.4").noise.realized_rate < 0.8


@pytest.mark.parametrize("recipe", ["standard/cifar10", "standard/cifar100", "standard/cifar100n"])
def test_standard_recipes_are_their_data_sets_protocol(tmp_path: Path, recipe: str) -> None:
    name = recipe.removeprefix("standard/")
    put_parquet(tmp_path, name.removesuffix("n") if name != "cifar10n" else "cifar10")
    config = resolve(recipe=recipe, data_dir=tmp_path)
    assert config.dataset.name == name
    assert config.protocol_id == "v1"


# Real data -------------------------------------------------------------------------------------


def test_real_cifar10_is_decoded_and_its_human_labels_fit(real_data: Path) -> None:
    if not (real_data / "cifar10").is_dir():
        pytest.skip(f"no cifar10 in '{real_data}'")
    data = Cifar10N(n_train=2000).load(real_data)
    assert np.bincount(data.train_labels).tolist() == [200] * 10
    assert np.bincount(data.test_labels).tolist() == [1000] * 10
    assert images(data, "test").shape == (10_000, 32, 32, 3)
    # The published mean of CIFAR-10's pixels is 0.473 over the three channels.
    assert images(data, "train").mean() / 255 == pytest.approx(0.473, abs=0.02)
    file = Cifar10N().label_file(real_data)
    if file is None or not file.is_file():
        pytest.skip(f"no '{file}'")
    noisy = nlbench.corrupt(
        data.train_labels, 10, "human", label_set="worse", label_file=file,
        subset=data.train_subset,
    )  # fmt: skip
    # 2000 of 50 000 samples: SD 1.1 %.
    assert noisy.realized_rate == pytest.approx(0.4021, abs=0.05)
