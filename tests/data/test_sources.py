"""Data sets that are noisy by nature, and Parquet: their layouts, their lists, what is refused."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.config.command import reproduce_command
from nlbench.config.resolve import resolve
from nlbench.config.run_config import standard_config
from nlbench.data.animal10n import Animal10N
from nlbench.data.clothing1m import CLASS_NAMES as CLOTHES
from nlbench.data.clothing1m import Clothing1M
from nlbench.data.file_images import CompactNames, FileImages
from nlbench.data.food101n import Food101N
from nlbench.data.image_data import Dataset, ImageData
from nlbench.data.listed import Listing, check_listing
from nlbench.data.mini_webvision import MiniWebVision
from nlbench.data.parquet import Parquet
from nlbench.data.pixels import load_all, stored_images
from nlbench.data.red_mini_imagenet import RedMiniImageNet
from nlbench.errors import ConfigError, DataError
from nlbench.plugins import registry
from nlbench.plugins.registry import make_component

NOISY = ("animal10n", "clothing1m", "food101n", "mini-webvision", "red-mini-imagenet")
DISHES = sorted(f"dish_{i:03d}" for i in range(101))


def picture(shade: int = 90, side: int = 6) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (shade, 40, 40)).save(stream, "png")
    return stream.getvalue()


def put(path: Path, content: bytes | str = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content or picture())
    return path


def lines(path: Path, entries: list[str]) -> Path:
    return put(path, "\n".join(entries) + "\n")


def animals(base: Path) -> Path:
    root = base / "animal10n"
    for i in range(30):
        put(root / "training" / f"{i % 10}_{i:05d}.jpg", picture(i))
    for i in range(10):
        put(root / "testing" / f"{i}_{i:05d}.jpg", picture(i))
    return root


def wnids() -> list[str]:
    from timm.data import ImageNetInfo

    return list(ImageNetInfo("imagenet-1k").label_names()[10:110])


def red(base: Path, rate: str = "0.4") -> Path:
    root = base / "red-mini-imagenet"
    train = [(f"{wnid}{k:08d}.jpg", k) for k, wnid in enumerate(wnids())]
    train += [(f"5922767e5677ae{k:02x}.jpg", k) for k in range(100)]
    test = [(f"ILSVRC2012_val_{k:08d}.JPEG", k) for k in range(100)]
    content = picture()
    for folder, entries in (("all_images", train), ("all_validation", test)):
        for name, _ in entries:
            put(root / folder / name, content)
    lines(root / "split" / f"red_noise_nl_{rate}", [f"{name} {k}" for name, k in train])
    lines(root / "split" / "clean_validation", [f"{name} {k}" for name, k in test])
    return root


def clothes(base: Path, per_class: int = 4) -> Path:
    root = base / "clothing1m"
    train = [(f"images/{i % 3}/{i},{i}.jpg", i % 14) for i in range(14 * per_class)]
    test = [(f"images/9/{i},0.jpg", i % 14) for i in range(14)]
    content = picture()
    for name, _ in (*train, *test):
        put(root / name, content)
    lines(root / "noisy_train_key_list.txt", [name for name, _ in train])
    lines(root / "noisy_label_kv.txt", [f"{name} {k}" for name, k in reversed(train)])
    lines(root / "clean_test_key_list.txt", [name for name, _ in test])
    lines(root / "clean_label_kv.txt", [f"{name} {k}" for name, k in test] + [f"{train[0][0]} 3"])
    return root


def webvision(base: Path) -> Path:
    root = base / "mini-webvision"
    train = [(f"google/q{k:04d}/a b{k}.jpg", k) for k in range(60)]
    test = [(f"val{k:06d}.jpg", k) for k in range(60)]
    content = picture()
    for name, _ in train[:50]:
        put(root / name, content)
    for name, _ in test[:50]:
        put(root / "val_images_256" / name, content)
    lines(root / "info" / "train_filelist_google.txt", [f"{name} {k}" for name, k in train])
    lines(root / "info" / "val_filelist.txt", [f"{name} {k}" for name, k in test])
    return root


def food(base: Path) -> Path:
    root, content = base / "food101n", picture()
    train, test = root / "Food-101N_release", root / "food-101"
    for dish in DISHES:
        put(train / "images" / dish / "ab12.jpg", content)
        put(test / "images" / dish / "1011328.jpg", content)
    lines(train / "meta" / "classes.txt", ["class_name", *DISHES])
    keys = [f"{dish}/ab12.jpg" for dish in DISHES]
    lines(train / "meta" / "imagelist.tsv", ["class_name/key", *keys])
    lines(test / "meta" / "test.txt", [f"{dish}/1011328" for dish in reversed(DISHES)])
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "animal10n": animals,
    "clothing1m": clothes,
    "food101n": food,
    "mini-webvision": webvision,
    "red-mini-imagenet": red,
}


def source(name: str, **options: Any) -> Dataset:
    made: Dataset = make_component("datasets", name, options)
    return made


# What every source of noisy labels must do.


@pytest.mark.parametrize("name", NOISY)
def test_a_noisy_source_gives_its_labels_as_shipped(tmp_path: Path, name: str) -> None:
    MAKERS[name](tmp_path)
    data = source(name).load(tmp_path)
    assert not data.labels_are_clean
    assert data.name == name
    assert len(data.train_images) == len(data.train_labels) == len(data.train_ids)
    assert len(data.test_images) == len(data.test_labels) > 0
    assert data.train_labels.dtype == np.int64
    assert len(set(data.class_names)) == data.n_classes
    assert data.train_images.load(torch.tensor([0, 2]), size=4).shape == (2, 3, 4, 4)
    again = source(name).load(tmp_path)
    assert again.fingerprint == data.fingerprint
    assert list(again.train_ids) == list(data.train_ids)


@pytest.mark.parametrize("name", NOISY)
def test_a_missing_data_set_says_where_to_get_it(tmp_path: Path, name: str) -> None:
    made = source(name)
    for call in (made.load, made.content_key):
        with pytest.raises(DataError, match=r"does not exist.*https://.*under --data-dir"):
            call(tmp_path)
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"does not exist.*https://"):
        made.load(tmp_path)


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_damaged_image_is_named_when_it_is_read(tmp_path: Path, name: str, part: str) -> None:
    root = MAKERS[name](tmp_path)
    images = getattr(source(name).load(tmp_path), f"{part}_images")
    file = root / images.names[1]
    file.write_bytes(b"")
    with pytest.raises(DataError, match=f"1 of .* have 0 bytes: .*{file.name}. Unpack or download"):
        source(name).content_key(tmp_path)
    for damage in (b"<html>404</html>", picture(side=64)[:60]):
        file.write_bytes(damage)
        data = source(name).load(tmp_path)  # the files are looked up, not opened
        with pytest.raises(DataError, match=f"{file.name}' cannot be decoded"):
            load_all(getattr(data, f"{part}_images"), 4)


@pytest.mark.parametrize("name", NOISY[1:])  # the directory of animal10n is its list
def test_missing_images_are_counted_and_named(tmp_path: Path, name: str) -> None:
    root = MAKERS[name](tmp_path)
    images = source(name).load(tmp_path).train_images
    assert isinstance(images, FileImages)
    gone = [images.names[i] for i in (0, 1, 2, 5)]
    for file in gone:
        (root / file).unlink()
    with pytest.raises(
        DataError, match=f"4 of .* listed images are not under.*{gone[0]}.*\\.\\.\\."
    ):
        source(name).load(tmp_path)


@pytest.mark.parametrize("name", NOISY)
def test_content_key_and_fingerprint_follow_the_data(tmp_path: Path, name: str) -> None:
    root = MAKERS[name](tmp_path / "one")
    made = source(name)
    before = made.load(tmp_path / "one")
    key = made.content_key(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    assert made.content_key(tmp_path / "two") == key
    moved = made.load(tmp_path / "two")
    assert moved.fingerprint == before.fingerprint
    images = moved.train_images
    assert isinstance(images, FileImages)
    put(tmp_path / "two" / root.name / images.names[0], picture(side=30))
    assert made.load(tmp_path / "two").fingerprint != before.fingerprint


@pytest.mark.parametrize("name", [*NOISY, "parquet"])
def test_a_source_comes_with_all_that_a_user_needs(name: str) -> None:
    component = registry.find("datasets", name)
    loaded = component.load()
    assert loaded.origin
    assert component.summary
    assert loaded.how_to_get
    assert loaded.licence or name == "parquet"
    config = standard_config(name)
    assert config.protocol_id == "v1"
    assert source(name).labels_are_clean == (name == "parquet")


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("noise", ["symmetric:0.4", "pair:0.2", "matrix"])
def test_noise_on_top_of_unknown_noise_is_refused(tmp_path: Path, name: str, noise: str) -> None:
    MAKERS[name](tmp_path)
    settings = {"data.n_train": 28} if name == "clothing1m" else {}
    with pytest.raises(ConfigError, match=f"'{name}' are noisy as shipped.*--noise none"):
        resolve(dataset=name, noise=noise, data_dir=tmp_path, settings=settings)
    config = resolve(dataset=name, data_dir=tmp_path, settings=settings)
    assert (config.noise.kind, config.noise.rate) == ("none", None)
    assert not config.labels_are_clean


# One by one.


def test_animals_are_sorted_and_labelled_by_their_names(tmp_path: Path) -> None:
    animals(tmp_path)
    data = Animal10N().load(tmp_path)
    assert list(data.train_ids)[:4] == [f"training/0_{i:05d}.jpg" for i in (0, 10, 20)] + [
        "training/1_00001.jpg"
    ]
    assert data.train_labels.tolist() == [i for i in range(10) for _ in range(3)]
    assert data.class_names[4:6] == ("cheetah", "jaguar")
    assert data.class_names[9] == "guinea pig"


def test_the_disputed_order_of_animals_is_a_setting(tmp_path: Path) -> None:
    animals(tmp_path)
    published, swapped = (
        Animal10N(class_order=order).load(tmp_path)
        for order in ("published", "clipcleaner")  # type: ignore[arg-type]
    )
    assert swapped.class_names[4:6] == ("jaguar", "cheetah")
    assert swapped.train_labels.tolist() == published.train_labels.tolist()
    assert swapped.fingerprint != published.fingerprint
    with pytest.raises(ConfigError, match="class_order"):
        source("animal10n", class_order="other")


def test_an_animal_without_a_label_is_refused(tmp_path: Path) -> None:
    root = animals(tmp_path)
    put(root / "training" / "cat_1.jpg")
    put(root / "training" / ".DS_Store")
    with pytest.raises(DataError, match=r"1 of 31 files .* not named LABEL_ID.jpg: cat_1.jpg"):
        Animal10N().load(tmp_path)


def test_red_mini_imagenet_is_named_after_its_original_images(tmp_path: Path) -> None:
    from timm.data import ImageNetInfo

    red(tmp_path)
    data = RedMiniImageNet().load(tmp_path)
    expected = ImageNetInfo("imagenet-1k").index_to_description(13).partition(",")[0]
    assert data.class_names[3] == expected
    assert data.n_classes == 100
    assert data.train_ids[0].startswith("all_images/n")
    assert data.train_labels[100:103].tolist() == [0, 1, 2]


@pytest.mark.parametrize("given", ["0.2", 0.2])
def test_the_rate_of_red_mini_imagenet_chooses_the_list(tmp_path: Path, given: object) -> None:
    red(tmp_path, "0.2")
    made = source("red-mini-imagenet", noise_rate=given)
    assert "red noise 0.2" in made.load(tmp_path).split
    with pytest.raises(DataError, match=r"red_noise_nl_0.4' does not exist"):
        source("red-mini-imagenet").load(tmp_path)
    with pytest.raises(ConfigError, match="noise_rate"):
        source("red-mini-imagenet", noise_rate=0.5)
    config = resolve(
        dataset="red-mini-imagenet", settings={"data.noise_rate": 0.2}, data_dir=tmp_path
    )
    assert 'data.noise_rate="0.2"' in reproduce_command(config)


def test_red_images_are_stretched_to_the_training_size_where_asked(tmp_path: Path) -> None:
    """As torchvision's Resize((32, 32)) does: bilinear, both sides, nothing cut off."""
    first = red(tmp_path) / "all_images" / f"{wnids()[0]}00000000.jpg"
    coarse = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    wide = Image.fromarray(coarse).resize((90, 50))
    wide.save(first, "png")
    where = torch.device("cpu"), tmp_path / "cache"
    plain = stored_images(RedMiniImageNet().load(tmp_path), "train", 32, *where)
    data = RedMiniImageNet(resize="stretch").load(tmp_path)
    expected = functional.resize(functional.pil_to_tensor(wide), [32, 32], antialias=True)
    stretched = stored_images(data, "train", 32, *where)
    assert isinstance(stretched, torch.Tensor)
    assert int((stretched[0].int() - expected.int()).abs().max()) <= 1
    assert int((plain[torch.tensor([0])][0].int() - expected.int()).abs().max()) > 20
    # Encoders ask the source itself.
    seen = data.train_images.load(torch.tensor([0]), 32)
    assert torch.equal(seen, plain[torch.tensor([0])])


def test_stretched_images_in_a_file_are_not_those_of_a_crop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLBENCH_MAX_IMAGES_GIB", "0.000001")
    first = red(tmp_path) / "all_images" / f"{wnids()[0]}00000000.jpg"
    half = np.zeros((8, 16, 3), dtype=np.uint8)
    half[:, :4] = 255
    Image.fromarray(half).save(first, "png")
    where = torch.device("cpu"), tmp_path / "cache"
    position = torch.tensor([0])
    plain = stored_images(RedMiniImageNet().load(tmp_path), "train", 8, *where)[position]
    data = RedMiniImageNet(resize="stretch").load(tmp_path)
    stretched = stored_images(data, "train", 8, *where)[position]
    # A quarter of the picture is white, and lies outside of the centre.
    assert int(plain.max()) == 0
    assert float((stretched > 128).double().mean()) == pytest.approx(0.25)


def test_a_red_class_without_an_original_image_is_refused(tmp_path: Path) -> None:
    file = red(tmp_path) / "split" / "red_noise_nl_0.4"
    kept = [line for line in file.read_text().splitlines() if not line.endswith("0007.jpg 7")]
    lines(file, kept)
    with pytest.raises(DataError, match=r"1 of 100 classes .* no name: 7\."):
        RedMiniImageNet().load(tmp_path)


def test_a_wordnet_id_that_imagenet_does_not_have_is_refused(tmp_path: Path) -> None:
    root = red(tmp_path)
    file, old = root / "split" / "red_noise_nl_0.4", f"{wnids()[7]}00000007.jpg"
    put(root / "all_images" / "n0000000000000007.jpg")
    lines(file, file.read_text().replace(old, "n0000000000000007.jpg").splitlines())
    with pytest.raises(DataError, match=r"1 WordNet ids .* are not classes .*: n00000000"):
        RedMiniImageNet().load(tmp_path)


def test_clothes_take_noisy_labels_for_training_and_clean_ones_for_the_test(
    tmp_path: Path,
) -> None:
    clothes(tmp_path)
    data = Clothing1M().load(tmp_path)
    assert data.class_names == CLOTHES
    assert data.train_ids[1] == "images/1/1,1.jpg"
    assert data.train_labels.tolist() == [i % 14 for i in range(56)]
    assert data.test_labels.tolist() == list(range(14))


def test_a_part_of_the_clothes_is_balanced_and_always_the_same(tmp_path: Path) -> None:
    clothes(tmp_path, per_class=6)
    data, again = (Clothing1M(n_train=30).load(tmp_path) for _ in range(2))
    assert np.bincount(data.train_labels).tolist() == [3, 3, *[2] * 12]
    assert list(data.train_ids) == list(again.train_ids)
    assert data.fingerprint == again.fingerprint != Clothing1M().load(tmp_path).fingerprint
    every = Clothing1M().load(tmp_path)
    label_of = dict(zip(every.train_ids, every.train_labels, strict=True))
    assert [label_of[name] for name in data.train_ids] == data.train_labels.tolist()
    with pytest.raises(ConfigError, match=r"'n_train' = 100 needs 8 images .* class 0 has 6"):
        Clothing1M(n_train=100).load(tmp_path)


def test_keys_that_come_twice_or_lack_a_label_are_counted_and_named(tmp_path: Path) -> None:
    root = clothes(tmp_path)
    keys = root / "noisy_train_key_list.txt"
    good = keys.read_text().splitlines()
    lines(keys, [*good, good[3], good[5], good[3]])
    with pytest.raises(DataError, match=f"2 files are listed more than once.*{good[3]}, {good[5]}"):
        Clothing1M().load(tmp_path)
    lines(keys, [*good, "images/0/new.jpg"])
    with pytest.raises(DataError, match=r"1 of 57 files .* have no label .*images/0/new.jpg"):
        Clothing1M().load(tmp_path)
    lines(keys, good)
    labels = root / "noisy_label_kv.txt"
    entries = labels.read_text().splitlines()
    lines(labels, [*entries, f"{good[0]} 4"])
    with pytest.raises(DataError, match=f"1 files are listed more than once.*{good[0]}"):
        Clothing1M().load(tmp_path)


def test_a_test_image_among_the_training_images_is_refused(tmp_path: Path) -> None:
    root = clothes(tmp_path)
    leaked = "images/9/0,0.jpg"
    for file, entry in (
        ("noisy_train_key_list.txt", leaked),
        ("noisy_label_kv.txt", f"{leaked} 1"),
    ):
        lines(root / file, [*(root / file).read_text().splitlines(), entry])
    with pytest.raises(DataError, match=f"1 test images .* training list too: {leaked}"):
        Clothing1M().load(tmp_path)


@pytest.mark.parametrize("entry", ["google/x.jpg", "google/x.jpg one", "google/x.jpg -1", "7"])
def test_a_line_of_another_form_is_named(tmp_path: Path, entry: str) -> None:
    file = webvision(tmp_path) / "info" / "train_filelist_google.txt"
    lines(file, [*file.read_text().splitlines(), entry])
    with pytest.raises(DataError, match=f"'FILE LABEL', entry 61 is '{entry}'"):
        MiniWebVision().load(tmp_path)


def test_a_list_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = webvision(tmp_path) / "info" / "val_filelist.txt"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"val_filelist.txt' cannot be read"):
        MiniWebVision().load(tmp_path)


def test_webvision_keeps_the_first_fifty_classes(tmp_path: Path) -> None:
    webvision(tmp_path)
    data = MiniWebVision().load(tmp_path)
    assert data.train_labels.tolist() == data.test_labels.tolist() == list(range(50))
    assert (data.n_classes, data.class_names[0]) == (50, "tench")
    assert data.train_ids[3] == "google/q0003/a b3.jpg"


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("a.jpg", 3, r"1 labels of it are not in \[0, 3\): a.jpg 3"),
        ("../a.jpg", 0, "1 names of it leave its folder: ../a.jpg"),
        ("/etc/a.jpg", 0, "1 names of it leave its folder: /etc/a.jpg"),
    ],
)
def test_a_listing_is_checked(name: str, label: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_listing("it", Listing.of([("b.jpg", 1), (name, label)]), 3)
    with pytest.raises(DataError, match="it contains no images"):
        check_listing("it", Listing.of([]), 3)


def test_food_is_tested_on_the_other_data_set(tmp_path: Path) -> None:
    root = food(tmp_path)
    data = Food101N().load(tmp_path)
    assert data.class_names == tuple(DISHES)
    assert data.train_labels.tolist() == list(range(101))
    assert data.test_labels.tolist() == list(range(100, -1, -1))
    assert data.train_ids[0] == "Food-101N_release/images/dish_000/ab12.jpg"
    listed = root / "Food-101N_release" / "meta" / "imagelist.tsv"
    lines(listed, [*listed.read_text().splitlines(), "stone/1.jpg"])
    with pytest.raises(DataError, match=r"1 of 102 entries .* class .*: stone/1.jpg"):
        Food101N().load(tmp_path)
    lines(root / "Food-101N_release" / "meta" / "classes.txt", DISHES[:100])
    with pytest.raises(DataError, match="must contain 101 classes, got 100"):
        Food101N().load(tmp_path)


# Parquet.


def table(shades: list[int], names: list[str] | None = None, **columns: Any) -> pa.Table:
    images = pa.array(
        [{"bytes": picture(shade), "path": None} for shade in shades],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    labels = columns.pop("label", [i % 2 for i in range(len(shades))])
    made = pa.table({"image": images, "label": pa.array(labels, pa.int64()), **columns})
    if names is None:
        return made
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    info = json.dumps({"info": {"features": features}})
    return made.replace_schema_metadata({"huggingface": info})


def hub(root: Path, names: list[str] | None = None, test: str = "test", **columns: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for part, shades in (("00000-of-00002", [0, 10, 20, 30, 40]), ("00001-of-00002", [50, 60])):
        pq.write_table(
            table(shades, names, **columns), root / f"train-{part}.parquet", row_group_size=2
        )
    pq.write_table(table([200, 210, 220], names), root / f"{test}-00000-of-00001.parquet")
    return root


def parquet(root: Path, **options: Any) -> ImageData:
    return Parquet(path=str(root), **options).load(None)


def test_parquet_gives_every_image_with_its_label(tmp_path: Path) -> None:
    data = parquet(hub(tmp_path / "pets", ["cat", "dog"]))
    assert data.name == "parquet:pets"
    assert data.class_names == ("cat", "dog")
    assert data.labels_are_clean
    assert data.train_labels.tolist() == [0, 1, 0, 1, 0, 0, 1]
    order = torch.tensor([6, 0, 3, 4, 5, 3])
    batch = data.train_images.load(order, size=4)
    assert batch[:, 0, 0, 0].tolist() == [60, 0, 30, 40, 50, 30]
    assert load_all(data.train_images, 4)[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert load_all(data.test_images, 4)[:, 0, 0, 0].tolist() == [200, 210, 220]
    assert data.train_ids[4] == "train-00000-of-00002.parquet:4"
    assert data.train_ids[5] == "train-00001-of-00002.parquet:0"


def test_parquet_without_names_calls_classes_by_their_label(tmp_path: Path) -> None:
    data = parquet(hub(tmp_path / "data", test="validation").parent)
    assert data.class_names == ("0", "1")
    assert "validation" in data.split


def test_parquet_holds_one_row_group_at_a_time(tmp_path: Path) -> None:
    images = parquet(hub(tmp_path)).train_images
    load_all(images, 4)
    assert len(images._last) == 1  # type: ignore[attr-defined]


def test_a_damaged_image_in_parquet_is_named_by_file_and_row(tmp_path: Path) -> None:
    root = hub(tmp_path)
    good = table([1, 2, 3])
    for damage in (b"no image", picture(side=64)[:60], b"", None):
        images = good.column("image").to_pylist()
        images[2]["bytes"] = damage
        damaged = good.set_column(0, "image", pa.array(images, good.schema.field("image").type))
        pq.write_table(damaged, root / "train-00000-of-00002.parquet", row_group_size=2)
        data = parquet(root)
        with pytest.raises(DataError, match=r"train-00000-of-00002.parquet:2' (cannot be|has no)"):
            load_all(data.train_images, 4)


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    root = hub(tmp_path)
    file = root / "train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet' cannot be read"):
        parquet(root)


@pytest.mark.parametrize("column", ["image", "label"])
def test_a_later_file_of_another_shape_is_named(tmp_path: Path, column: str) -> None:
    root = hub(tmp_path)
    file = root / "train-00001-of-00002.parquet"
    pq.write_table(table([1, 2]).drop_columns([column]), file)
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet' cannot be read"):
        load_all(parquet(root).train_images, 4)
    words = table([1, 2]).set_column(1, "label", pa.array(["cat", "dog"]))
    pq.write_table(words, file)
    with pytest.raises(DataError, match=r"numbers in .*train-00000.* and text in .*train-00001"):
        parquet(root)


def test_parquet_columns_are_chosen_or_asked_for(tmp_path: Path) -> None:
    two = {"fine_label": pa.array([0] * 2 + [1] * 3, pa.int64())}
    root = tmp_path / "two"
    root.mkdir()
    pq.write_table(table([1, 2, 3, 4, 5], **two), root / "train.parquet")
    pq.write_table(table([1, 2, 3, 4, 5], **two), root / "test.parquet")
    assert parquet(root).train_labels.tolist() == [0, 1, 0, 1, 0]
    assert parquet(root, label_column="fine_label").train_labels.tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(ConfigError, match=r"no such column 'fine_labl'. Did you mean 'fine_label'"):
        parquet(root, label_column="fine_labl")
    for part in ("train", "test"):
        renamed = table([1, 2, 3, 4, 5], **two).rename_columns(["image", "coarse", "fine"])
        pq.write_table(renamed, root / f"{part}.parquet")
    with pytest.raises(
        ConfigError, match=r"2 columns .* label column: coarse, fine.*label_column="
    ):
        parquet(root)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, -1], r"1 are not: row 2: -1"),
        ([0, None, 1], "1 of 3 labels in .* are missing .null.. If this part has no labels, use"),
        ([0, 0, 0], "at least 2 classes"),
        ([], "contains no images"),
    ],
)
def test_parquet_labels_are_checked(tmp_path: Path, labels: list[int], message: str) -> None:
    shades = list(range(len(labels)))
    pq.write_table(table(shades, label=labels), tmp_path / "train.parquet")
    pq.write_table(table([1], label=[0]), tmp_path / "test.parquet")
    with pytest.raises(DataError, match=message):
        parquet(tmp_path)


def test_parquet_that_lacks_a_part_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs a path.*parquet:PATH"):
        Parquet().load(tmp_path)
    with pytest.raises(DataError, match=r"does not exist.*parquet:PATH"):
        Parquet(path="nowhere").load(tmp_path)
    pq.write_table(table([1, 2]), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"needs train\*.parquet and .* 1 such files"):
        parquet(tmp_path)


def test_parquet_counts_by_content_and_not_by_place(tmp_path: Path) -> None:
    root = hub(tmp_path / "one")
    before = parquet(root).fingerprint
    fingerprint = resolve(dataset=f"parquet:{root}").fingerprint
    root.rename(tmp_path / "two")
    assert parquet(tmp_path / "two").fingerprint == before
    assert resolve(dataset="parquet:two", data_dir=tmp_path).fingerprint == fingerprint
    pq.write_table(table([1, 2, 9]), tmp_path / "two" / "train-00001-of-00002.parquet")
    assert parquet(tmp_path / "two").fingerprint != before
    assert resolve(dataset="parquet:two", data_dir=tmp_path).fingerprint != fingerprint


# Names and memory.


def test_compact_names_are_a_sequence_of_names() -> None:
    names = ["a/b.jpg", "", "ümläut 猫.png", "caf\udce9.png"]
    kept = CompactNames(names)
    assert list(kept) == names
    assert (kept[-1], kept[1:3][1], len(kept)) == (names[-1], names[2], 4)
    for index in (4, -5):
        with pytest.raises(IndexError):
            kept[index]


def test_a_million_names_cost_megabytes() -> None:
    kept = CompactNames(f"images/0/{i:07d}.jpg" for i in range(100_000))
    assert len(kept._block) + kept._ends.nbytes < 3.3e6
    assert kept[99_999] == "images/0/0099999.jpg"


def test_no_images_are_an_empty_batch(tmp_path: Path) -> None:
    images = FileImages(tmp_path, ())
    assert load_all(images, 8).shape == (0, 3, 8, 8)
    assert images.load(torch.tensor([], dtype=torch.int64), size=8).shape == (0, 3, 8, 8)
    with pytest.raises(ConfigError, match="size="):
        images.load(torch.tensor([], dtype=torch.int64))


@pytest.mark.parametrize("name", sorted(registry.components("datasets")))
def test_every_data_set_says_where_it_comes_from_and_how_to_get_it(name: str) -> None:
    shown = CliRunner().invoke(app, ["show", "dataset", name]).stdout
    for line in ("origin", "licence", "size", "how to get", "download", "where", "recipe"):
        assert re.search(rf"^{line} +[^ ]", shown, re.MULTILINE), line
    can = hasattr(registry.find("datasets", name).load()(), "download")
    assert ("nlbench can" in shown) == can


@pytest.mark.parametrize("name", ["animal10n", "clothing1m", "mini-webvision", "red-mini-imagenet"])
def test_quick_recipes_run_without_a_download(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    settings = {"data.n_train": 28} if name == "clothing1m" else {}
    record = nlbench.run(
        recipe=f"quick/{name}", data_dir=tmp_path, settings=settings, device="cpu", track=False
    )
    assert (record.selector.name, record.protocol.settings["image_size"]) == ("small-loss", 32)
    assert len(record.curves["test_accuracy"]) == 3


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_quick_recipes_run_on_data_of_ones_own(kind: str, tmp_path: Path) -> None:
    for part, n in (("train", 12), ("test", 4)):
        rows = [{"bytes": picture(20 * i), "path": ""} for i in range(n)]
        table = pa.table({"image": rows, "label": [i % 2 for i in range(n)]})
        put(tmp_path / "own" / f"{part}.parquet")
        pq.write_table(table, tmp_path / "own" / f"{part}.parquet")
        for i, row in enumerate(rows):
            put(tmp_path / "own" / part / f"class_{i % 2}" / f"{i}.png", row["bytes"])
    record = nlbench.run(
        recipe=f"quick/{kind}", dataset=f"{kind}:{tmp_path / 'own'}", device="cpu", track=False
    )
    assert (record.dataset.n_train, record.noise.kind) == (12, "symmetric")
