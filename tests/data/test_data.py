"""Digits and folders of images: what is read, how it is split, what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nlbench.data.digits import Digits
from nlbench.data.folder import Folder
from nlbench.data.image_data import ImageData, all_positions
from nlbench.data.images import TensorImages, resized
from nlbench.errors import ConfigError, DataError

RED, BLUE = (250, 5, 5), (5, 5, 250)
DIGITS_FINGERPRINT = "4773e4e505ae31e3cd1a44c44744a0fdf1de6efcc24f47e9fce9531ff8b71ebe"


def put(
    path: Path, colour: object = RED, size: tuple[int, int] = (12, 9), mode: str = "RGB"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)  # type: ignore[arg-type]
    return path


def put_many(root: Path, per_class: int = 60, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for k, name in enumerate(classes):
        for i in range(per_class):
            put(root / name / f"{i:03d}.png", colour=(i, 40 + k, 90), size=(8, 8))
    return root


def load(root: Path, **options: object) -> ImageData:
    return Folder(path=str(root), **options).load(None)  # type: ignore[arg-type]


def test_digits_are_split_once_and_for_all() -> None:
    data = Digits().load(None)
    assert (len(data.train_images), len(data.test_images)) == (1437, 360)
    assert (len(data.train_labels), len(data.test_labels)) == (1437, 360)
    assert data.n_classes == 10
    assert data.class_names[7] == "seven"
    assert data.fingerprint == DIGITS_FINGERPRINT


def test_digits_are_stratified() -> None:
    data = Digits().load(None)
    shares = np.bincount(data.train_labels) / (
        np.bincount(data.train_labels) + np.bincount(data.test_labels)
    )
    assert np.abs(shares - 0.8).max() < 0.005


def test_digits_are_scikit_learns_pixels_over_the_full_range() -> None:
    from sklearn.datasets import load_digits

    data = Digits().load(None)
    images = data.train_images.load(all_positions(data.train_images))
    assert images.shape == (1437, 1, 8, 8)
    assert images.dtype == torch.uint8
    assert (int(images.min()), int(images.max())) == (0, 255)
    original = load_digits()
    for row in (0, 700, 1436):
        position = int(data.train_ids[row].removeprefix("digits/"))
        assert data.train_labels[row] == original.target[position]
        expected = np.rint(original.images[position] / 16 * 255)
        assert np.abs(images[row, 0].numpy() - expected).max() <= 1


def test_digits_train_and_test_do_not_overlap() -> None:
    data = Digits().load(None)
    positions = {int(name.removeprefix("digits/")) for name in data.train_ids}
    assert len(positions) == 1437
    from sklearn.datasets import load_digits

    rest = np.setdiff1d(np.arange(1797), sorted(positions))
    assert (load_digits().target[rest] == data.test_labels).all()


def test_train_and_test_folders_are_taken_as_given(tmp_path: Path) -> None:
    for name, colour in (("cat", RED), ("dog", BLUE)):
        put(tmp_path / "train" / name / "b.png", colour)
        put(tmp_path / "train" / name / "deep" / "a.png", colour)
        put(tmp_path / "test" / name / "t.png", colour)
    data = load(tmp_path)
    assert data.train_ids == (
        "train/cat/b.png",
        "train/cat/deep/a.png",
        "train/dog/b.png",
        "train/dog/deep/a.png",
    )
    assert data.train_labels.tolist() == [0, 0, 1, 1]
    assert data.test_labels.tolist() == [0, 1]
    assert data.class_names == ("cat", "dog")
    batch = data.test_images.load(torch.tensor([1, 0]), size=4)
    assert batch.shape == (2, 3, 4, 4)
    assert batch[0, :, 2, 2].tolist() == list(BLUE)
    assert batch[1, :, 2, 2].tolist() == list(RED)


def test_one_directory_is_split_the_same_way_every_time(tmp_path: Path) -> None:
    root = put_many(tmp_path / "pets", per_class=20)
    first, second = load(root), load(root)
    assert first.train_ids == second.train_ids
    assert first.fingerprint == second.fingerprint
    assert np.bincount(first.train_labels).tolist() == [16, 16]
    assert np.bincount(first.test_labels).tolist() == [4, 4]
    other = load(root, split_seed=1)
    assert other.train_ids != first.train_ids
    assert other.fingerprint != first.fingerprint
    assert len(load(root, test_fraction=0.5).test_labels) == 20


def test_ids_are_sorted_and_relative_and_belong_to_their_labels(tmp_path: Path) -> None:
    data = load(put_many(tmp_path / "pets", per_class=20))
    assert list(data.train_ids) == sorted(data.train_ids)
    for name, label in zip(data.train_ids, data.train_labels, strict=True):
        assert name.startswith(("cat/", "dog/"))
        assert data.class_names[label] == name.split("/")[0]


def test_odd_names_and_other_files(tmp_path: Path) -> None:
    for name in ("my dog", "Kätzchen 猫"):
        for i, file in enumerate(("A B.PNG", "ümläut.JpG", "c.jpeg", "two.dots.webp")):
            put(tmp_path / name / file, (40 * i, len(name), 0))
        (tmp_path / name / "notes.txt").write_text("not an image")
        put(tmp_path / name / ".hidden.png")
    put(tmp_path / ".git" / "logo.png")
    data = load(tmp_path, test_fraction=0.25)
    assert data.class_names == ("Kätzchen 猫", "my dog")
    assert len(data.train_ids) == 6
    assert len(data.test_labels) == 2
    assert len(data.train_images.load(torch.arange(6), size=8)) == 6


def test_a_file_name_that_is_not_utf8_is_read_like_any_other(tmp_path: Path) -> None:
    put_many(tmp_path, per_class=4)
    odd = os.fsdecode(os.fsencode(str(tmp_path / "cat")) + b"/caf\xe9.png")
    try:
        shutil.copy(tmp_path / "cat" / "000.png", odd)
    except OSError:
        pytest.skip("this file system only takes UTF-8 names")
    assert Folder(path=str(tmp_path)).content_key(None)
    data = load(tmp_path)
    assert len(data.train_ids) + len(data.test_labels) == 9


def test_grey_rgba_and_palette_images_are_rgb(tmp_path: Path) -> None:
    put(tmp_path / "train" / "a" / "0.png", 200, mode="L")
    put(tmp_path / "train" / "a" / "1.png", (*RED, 255), mode="RGBA")
    rgb = Image.new("RGB", (12, 9), BLUE)
    rgb.quantize(4).save(tmp_path / "train" / "a" / "2.png")
    put(tmp_path / "train" / "b" / "0.png")
    put(tmp_path / "test" / "a" / "0.png")
    images = load(tmp_path).train_images.load(torch.arange(3), size=6)
    assert images.shape == (3, 3, 6, 6)
    for image, colour in zip(images, ((200, 200, 200), RED, BLUE), strict=True):
        assert (image.permute(1, 2, 0).int() - torch.tensor(colour)).abs().max() <= 8


def test_a_palette_image_with_transparency_is_read(tmp_path: Path) -> None:
    root = put_many(tmp_path / "pets", per_class=5)
    palette = Image.new("RGB", (12, 9), BLUE).quantize(4)
    palette.save(root / "cat" / "icon.png", transparency=bytes([255, 128, 0, 0]))
    data = load(root)
    assert data.unreadable == ()
    assert len(data.train_ids) + len(data.test_labels) == 11


def test_sixteen_bit_grey_keeps_its_contrast(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 32).astype(np.uint16), (32, 1))
    for part, name in (("train", "a"), ("train", "b"), ("test", "a")):
        (tmp_path / part / name).mkdir(parents=True)
        Image.fromarray(ramp).save(tmp_path / part / name / "0.png")
    (image,) = load(tmp_path).train_images.load(torch.tensor([0]), size=8)
    left, middle, right = (float(image[0, 4, column]) for column in (0, 4, 7))
    assert left < 40
    assert 90 < middle < 165
    assert right > 215


def test_photographs_stand_upright(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 40), BLUE)
    picture.paste(RED, (0, 0, 20, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: what is left in the file belongs on top
    for part, name in (("train", "a"), ("train", "b"), ("test", "a")):
        (tmp_path / part / name).mkdir(parents=True)
        picture.save(tmp_path / part / name / "0.jpg", exif=exif, quality=95)
    (image,) = load(tmp_path).train_images.load(torch.tensor([0]), size=10)
    assert image[0, :3].min() > 200
    assert image[2, 7:].min() > 200
    assert image[0, 7:].max() < 60


def damage(path: Path, how: str) -> None:
    if how == "zero bytes":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("<html>404 Not Found</html>")
    else:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])


DAMAGES = [("zero bytes", ".jpg"), ("text", ".jpg"), ("truncated", ".png"), ("truncated", ".jpg")]


@pytest.mark.parametrize(("how", "suffix"), DAMAGES)
def test_an_unreadable_image_is_left_out_and_named(tmp_path: Path, how: str, suffix: str) -> None:
    root = put_many(tmp_path / "pets")
    damage(root / "cat" / f"broken{suffix}", how)
    data = load(root)
    assert data.unreadable == (f"cat/broken{suffix}",)
    assert len(data.train_ids) + len(data.test_labels) == 120
    assert len(data.train_labels) == len(data.train_images) == len(data.train_ids)
    assert f"cat/broken{suffix}" not in data.train_ids
    for name, label in zip(data.train_ids, data.train_labels, strict=True):
        assert data.class_names[label] == name.split("/")[0]


def test_more_than_one_percent_unreadable_is_refused(tmp_path: Path) -> None:
    root = put_many(tmp_path / "pets")
    for i in range(7):
        damage(root / "dog" / f"broken{i}.jpg", "text")
    with pytest.raises(DataError, match=r"7 of 127 images .* more than 1%") as caught:
        load(root)
    assert str(caught.value).count("dog/broken") == 5
    assert "Repair or remove" in str(caught.value)


def test_an_image_damaged_after_loading_is_named(tmp_path: Path) -> None:
    data = load(put_many(tmp_path / "pets", per_class=5))
    damage(tmp_path / "pets" / data.train_ids[2], "zero bytes")
    assert len(data.train_images.load(torch.tensor([0, 1]), size=8)) == 2
    with pytest.raises(DataError, match=data.train_ids[2]):
        data.train_images.load(torch.tensor([1, 2]), size=8)


def test_an_image_deleted_after_loading_is_named(tmp_path: Path) -> None:
    data = load(put_many(tmp_path / "pets", per_class=5))
    (tmp_path / "pets" / data.train_ids[0]).unlink()
    with pytest.raises(DataError, match=data.train_ids[0]):
        data.train_images.load(torch.tensor([0]), size=8)


@pytest.mark.parametrize("path", ["", "nowhere"])
def test_a_missing_folder_says_where_to_put_it(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match=r"one directory per class under PATH.*folder:PATH"):
        Folder(path=path).load(tmp_path)
    with pytest.raises(DataError, match="folder:PATH"):
        Folder(path=path).content_key(tmp_path)


def test_an_empty_folder_says_what_it_should_hold(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match=r"1 of 1 class folders in .* no image.*: cat \(0 files\)"):
        load(tmp_path)
    (tmp_path / "cat").rmdir()
    with pytest.raises(DataError, match=r"0 training and 0 test images.*one directory per class"):
        load(tmp_path)


def test_a_relative_path_starts_at_the_data_directory(tmp_path: Path) -> None:
    put_many(tmp_path / "pets", per_class=5)
    assert len(Folder(path="pets").load(tmp_path).train_ids) == 8


def test_a_class_only_in_test_is_refused(tmp_path: Path) -> None:
    put_many(tmp_path / "train", per_class=3)
    put_many(tmp_path / "test", per_class=1, classes=("cat", "wolf"))
    with pytest.raises(DataError, match=r"train/ has not: \['wolf'\]"):
        load(tmp_path)


def test_a_class_only_in_train_is_taken(tmp_path: Path) -> None:
    put_many(tmp_path / "train", per_class=3)
    put_many(tmp_path / "test", per_class=2, classes=("dog",))
    data = load(tmp_path)
    assert data.n_classes == 2
    assert data.test_labels.tolist() == [1, 1]


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"at least 2 classes, got \['cat'\]"):
        load(put_many(tmp_path, per_class=10, classes=("cat",)))


def test_a_class_too_small_to_split_is_refused(tmp_path: Path) -> None:
    put_many(tmp_path, per_class=10)
    put(tmp_path / "wolf" / "only.png")
    with pytest.raises(DataError, match=r"cannot be split.*more images per class"):
        load(tmp_path)
    for i in range(9):
        shutil.copy(tmp_path / "wolf" / "only.png", tmp_path / "wolf" / f"{i}.png")
    with pytest.raises(DataError, match=r"with 21 different images cannot be split"):
        load(tmp_path)


def test_a_train_folder_without_a_test_folder_is_not_a_class(tmp_path: Path) -> None:
    put_many(tmp_path / "train", per_class=10)
    put_many(tmp_path / "other", per_class=5)
    with pytest.raises(DataError, match=r"only one of train/ and test/.*: train\. Give both"):
        load(tmp_path)


def test_a_directory_named_like_an_image_is_no_image(tmp_path: Path) -> None:
    put_many(tmp_path, per_class=10)
    put(tmp_path / "cat" / "video.png" / "frame.png")
    data = load(tmp_path)
    assert data.unreadable == ()
    assert len(data.train_ids) + len(data.test_labels) == 21


def content_key(root: Path, **options: object) -> object:
    return Folder(path=str(root), **options).content_key(None)  # type: ignore[arg-type]


def test_the_content_key_follows_the_files(tmp_path: Path) -> None:
    root = put_many(tmp_path / "pets", per_class=10)
    before = content_key(root)
    assert content_key(root) == before
    assert content_key(root, split_seed=3) != before
    assert content_key(root, test_fraction=0.3) != before
    extra = put(root / "cat" / "new.png")
    assert content_key(root) != before
    extra.unlink()
    assert content_key(root) == before
    with (root / "cat" / "000.png").open("ab") as file:
        file.write(b"\0")
    assert content_key(root) != before


def test_a_moved_folder_is_the_same_data(tmp_path: Path) -> None:
    root = put_many(tmp_path / "pets", per_class=10)
    key, fingerprint = content_key(root), load(root).fingerprint
    moved = tmp_path / "elsewhere" / "pets"
    shutil.move(root, moved)
    assert content_key(moved) == key
    assert load(moved).fingerprint == fingerprint


def test_the_fingerprint_sees_a_pixel(tmp_path: Path) -> None:
    root = put_many(tmp_path / "pets", per_class=10)
    before = load(root).fingerprint
    put(root / "dog" / "003.png", colour=(3, 99, 90), size=(8, 8))
    assert load(root).fingerprint != before


def test_folder_images_need_a_size(tmp_path: Path) -> None:
    data = load(put_many(tmp_path, per_class=5))
    with pytest.raises(ConfigError, match="size="):
        data.train_images.load(torch.tensor([0]))


def test_resized_keeps_content_and_passes_the_right_size_through() -> None:
    batch = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    batch[:, :, :, 4:] = 200
    assert resized(batch, 8) is batch
    larger = resized(batch, 32)
    assert larger.shape == (2, 3, 32, 32)
    assert larger.dtype == torch.uint8
    assert (larger[..., :12] <= 12).all()
    assert ((larger[..., 20:].int() - 200).abs() <= 12).all()
    wide = TensorImages(batch[..., :4]).load(torch.tensor([1]), size=6)
    assert wide.shape == (1, 3, 6, 6)
