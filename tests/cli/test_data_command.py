"""``nlbench data check``: what is there, what is not, and what to do about it."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from cifar_on_disk import N_TRAIN, human_sets, labels, put_human, put_parquet
from PIL import Image
from typer.testing import CliRunner, Result

from nlbench.cli import app
from nlbench.cli.data import _unlike_published
from nlbench.data.digits import Digits
from nlbench.data.food101n import Food101N
from nlbench.data.parquet_images import parquet_images


def check(*words: str) -> Result:
    return CliRunner().invoke(app, ["data", "check", *words], env={"COLUMNS": "300"})


def test_a_whole_data_set_is_counted(tmp_path: Path) -> None:
    put_parquet(tmp_path)
    put_human(tmp_path)
    result = check("cifar10n", "--data-dir", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "train-00000-of-00002.parquet" in result.stdout
    assert "40 images, 10 classes of 4 to 4; 40 decoded, 32 x 32 pixels" in result.stdout
    assert "20 images, 10 classes of 2 to 2; 20 decoded" in result.stdout
    assert "worse    50.00 % differ from the truth" in result.stdout
    assert result.stdout.endswith("cifar10n is in order.\n")


def test_human_labels_are_needed_only_where_they_are_the_point(tmp_path: Path) -> None:
    put_parquet(tmp_path)
    plain = check("cifar10", "--data-dir", str(tmp_path))
    assert plain.exit_code == 0, plain.output
    assert "none, and none needed" in plain.stdout
    human = check("cifar10n", "--data-dir", str(tmp_path))
    assert human.exit_code == 3
    assert "CIFAR-10_human.pt' does not exist" in human.stderr
    assert "cifar-10-100n" in human.stderr


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar10n", "cifar100n"])
def test_missing_data_leaves_with_three_and_the_next_step(tmp_path: Path, name: str) -> None:
    for words in ((), ("--data-dir", str(tmp_path))):
        result = check(name, *words)
        assert result.exit_code == 3
        assert "--download" in result.stderr
        assert "It goes to DIR/" in result.stderr
        assert "Traceback" not in result.output


def test_labels_of_other_data_leave_with_three(tmp_path: Path) -> None:
    put_parquet(tmp_path)
    put_human(tmp_path, human_sets(np.roll(labels(N_TRAIN), 1)))
    result = check("cifar10", "--data-dir", str(tmp_path))
    assert result.exit_code == 3
    assert "first at index 0" in result.stderr


def test_digits_and_folders_are_checked_too(tmp_path: Path) -> None:
    assert "1437 images, 10 classes of 139 to 146" in check("digits").stdout
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (20, 9), (i, 40, 90 if name == "cat" else 9)).save(
                tmp_path / "pets" / name / f"{i}.png"
            )
    result = check("folder:pets", "--data-dir", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "8 images, 2 classes of 4 to 4; 8 decoded, 20 x 9 pixels" in result.stdout
    assert check("folder:nowhere").exit_code == 3


def test_wrong_names_and_options_leave_with_two() -> None:
    result = check("cifra10")
    assert result.exit_code == 2
    assert "Did you mean 'cifar10'" in result.stderr
    assert check("digits", "--download").exit_code == 2
    assert check("digits:somewhere").exit_code == 2


def test_counts_are_compared_with_the_published_ones(tmp_path: Path) -> None:
    for part, n in (("training", 20), ("testing", 10)):
        folder = tmp_path / "animal10n" / part
        folder.mkdir(parents=True)
        for i in range(n):
            size = (64, 64) if part == "testing" else (50 + i, 40)
            Image.new("RGB", size, (7 * i, 3 * n, 90)).save(folder / f"{i % 10}_{i}.png")
    result = check("animal10n", "--data-dir", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "20 train images, but ANIMAL-10N is published with 50000" in result.stdout
    assert "10 test images, but ANIMAL-10N is published with 5000" in result.stdout
    assert "10 decoded, 64 x 64 pixels" in result.stdout
    assert "20 decoded, 50 x 40 to 69 x 40 pixels" in result.stdout
    assert "animal10n is in order" not in result.stdout


def test_rounded_counts_leave_room() -> None:
    def parts(n_train: int, n_test: int) -> dict[str, Any]:
        sizes = {"train": n_train, "test": n_test}
        return {part: SimpleNamespace(labels=np.zeros(n)) for part, n in sizes.items()}

    assert _unlike_published(Food101N(), parts(310_009, 25_250)) == []
    (warning,) = _unlike_published(Food101N(), parts(52_868, 25_250))
    assert "published with about 310000" in warning
    assert _unlike_published(Digits(), parts(3, 3)) == []


@pytest.mark.parametrize("width", [1, 3])
def test_images_in_tables_tell_their_own_size(tmp_path: Path, width: int) -> None:
    contents = []
    for i in range(4):
        buffer = io.BytesIO()
        Image.new("RGB", (width + i, 5)).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    pq.write_table(pa.table({"image": contents}), tmp_path / "a.parquet", row_group_size=3)
    images = parquet_images([tmp_path / "a.parquet"], "image")
    assert images.sizes(torch.tensor([3, 0])) == [(width + 3, 5), (width, 5)]
