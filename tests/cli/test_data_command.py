"""``nlbench data check``: what is there, what is not, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cifar_on_disk import N_TRAIN, human_sets, labels, put_human, put_parquet
from PIL import Image
from typer.testing import CliRunner, Result

from nlbench.cli import app


def check(*words: str) -> Result:
    return CliRunner().invoke(app, ["data", "check", *words], env={"COLUMNS": "300"})


def test_a_whole_data_set_is_counted(tmp_path: Path) -> None:
    put_parquet(tmp_path)
    put_human(tmp_path)
    result = check("cifar10n", "--data-dir", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "train-00000-of-00002.parquet" in result.stdout
    assert "40 images, 10 classes of 4 to 4; 40 decoded, 3 x 32 x 32" in result.stdout
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
    assert "8 images, 2 classes of 4 to 4; 8 decoded, 3 x 32 x 32" in result.stdout
    assert check("folder:nowhere").exit_code == 3


def test_wrong_names_and_options_leave_with_two() -> None:
    result = check("cifra10")
    assert result.exit_code == 2
    assert "Did you mean 'cifar10'" in result.stderr
    assert check("digits", "--download").exit_code == 2
    assert check("digits:somewhere").exit_code == 2
