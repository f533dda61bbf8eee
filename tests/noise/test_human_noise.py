"""Labels that people gave: the right set of the right file, for the right data, without pickle."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cifar_on_disk import human_sets, put_human

from nlbench.errors import ConfigError, DataError
from nlbench.noise.corrupt import NoisyLabels, corrupt
from nlbench.noise.human import LABEL_SETS, read_human_labels

CLEAN = np.arange(100) * 3 % 10


def noisy(file: Path | None, label_set: str | None = "worse", **options: Any) -> NoisyLabels:
    given = {"clean_labels": CLEAN, "n_classes": 10, **options}
    return corrupt(kind="human", label_set=label_set, label_file=file, **given)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return put_human(tmp_path, human_sets(CLEAN))


@pytest.mark.parametrize(
    ("label_set", "rate"),
    [("aggre", 0.1), ("random1", 0.2), ("random2", 0.3), ("random3", 0.4), ("worse", 0.5)],
)
def test_each_set_is_the_one_in_the_file(file: Path, label_set: str, rate: float) -> None:
    found = noisy(file, label_set)
    assert found.labels.tolist() == human_sets(CLEAN)[LABEL_SETS[label_set]].tolist()
    assert found.realized_rate == rate
    assert found.nominal_rate is None
    np.testing.assert_allclose(found.transition_matrix.sum(axis=1), 1)


def test_the_seed_changes_nothing(file: Path) -> None:
    assert noisy(file, seed=0).sha256 == noisy(file, seed=1).sha256


def test_a_file_with_one_set_needs_no_name(tmp_path: Path) -> None:
    other = (CLEAN + 1) % 10
    file = put_human(tmp_path, {"clean_label": CLEAN, "noisy_label": other, "coarse": [1, 2]})
    assert noisy(file, None).labels.tolist() == other.tolist()
    assert noisy(file, "noisy").realized_rate == 1


@pytest.mark.parametrize("asked", [None, "wurse", "noisy"])
def test_a_set_that_is_not_there_names_those_that_are(file: Path, asked: str | None) -> None:
    with pytest.raises(ConfigError, match=r"'worse'.*noise\.label_set="):
        noisy(file, asked)


def test_a_subset_takes_its_own_rows(file: Path) -> None:
    subset = np.arange(100) % 3 == 1
    found = noisy(file, clean_labels=CLEAN[subset], subset=subset)
    assert found.labels.tolist() == human_sets(CLEAN)["worse_label"][subset].tolist()


def test_other_data_is_refused_naming_the_first_difference(file: Path) -> None:
    other = CLEAN.copy()
    other[[17, 60]] = (other[[17, 60]] + 1) % 10
    with pytest.raises(
        DataError, match=r"differs .* in 2 of 100 samples, first at index 17 \(1 there, 2 here\)"
    ):
        noisy(file, clean_labels=other)
    subset = np.arange(100) >= 10
    with pytest.raises(DataError, match="first at index 17"):
        noisy(file, clean_labels=other[subset], subset=subset)


@pytest.mark.parametrize("n", [99, 101])
def test_another_length_is_refused(file: Path, n: int) -> None:
    with pytest.raises(DataError, match=f"has 100 labels, the data set has {n} training"):
        noisy(file, clean_labels=np.resize(CLEAN, n))
    subset = np.zeros(n, dtype=bool)
    subset[:50] = True
    with pytest.raises(DataError, match=f"has 100 labels, the data set has {n}"):
        noisy(file, clean_labels=CLEAN[:50], subset=subset)


def test_no_file_and_a_missing_file_say_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cifar-10-100n.*DIR/cifar_n"):
        noisy(None)
    with pytest.raises(DataError, match=r"nowhere.pt' does not exist.*cifar-10-100n"):
        noisy(tmp_path / "nowhere.pt")


class Bomb:
    """Writes a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    traces = tmp_path / "ran"
    file = put_human(tmp_path, {"clean_label": CLEAN, "worse_label": Bomb(traces)})
    with pytest.raises(DataError, match="cannot be read"):
        read_human_labels(file)
    array = np.array([Bomb(traces)], dtype=object)
    with pytest.raises(DataError, match="cannot be read"):
        read_human_labels(put_human(tmp_path, {"clean_label": CLEAN, "worse_label": array}))
    assert not traces.exists()


def legacy_file(content: object) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=False)
    return out.getvalue()


def zipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("something.txt", content)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404</html>",
        pickle.dumps(print),
        zipped(b"x"),
        legacy_file({"clean_label": CLEAN, "worse_label": CLEAN})[:200],
        legacy_file([1, 2, 3]),
        legacy_file({"clean_label": CLEAN}),
        legacy_file({"worse_label": CLEAN}),
        legacy_file({"clean_label": CLEAN, "worse_label": CLEAN[:50]}),
        legacy_file({"clean_label": CLEAN, "worse_label": CLEAN.tolist()}),
        legacy_file({"clean_label": torch.tensor(CLEAN), "worse_label": CLEAN}),
    ],
)
def test_damaged_files_are_named_not_traced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "labels.pt"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"label file '.*labels\.pt'.*cifar-10-100n"):
        read_human_labels(file)


def test_files_of_older_torch_and_numpy_are_read(tmp_path: Path) -> None:
    file = tmp_path / "labels.pt"
    text = legacy_file({"clean_label": CLEAN, "worse_label": CLEAN})
    file.write_bytes(text.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_human_labels(file)["worse"].tolist() == CLEAN.tolist()


REAL_RATES = {
    "aggre": 0.0901, "random1": 0.1723, "random2": 0.1812, "random3": 0.1764, "worse": 0.4021
}  # fmt: skip


def test_published_rates_of_cifar10n(real_data: Path) -> None:
    file = real_data / "cifar_n" / "CIFAR-10_human.pt"
    if not file.is_file():
        pytest.skip(f"no '{file}'")
    clean = read_human_labels(file)["clean"]
    for label_set, rate in REAL_RATES.items():
        found = corrupt(clean, 10, "human", label_set=label_set, label_file=file)
        assert found.realized_rate == pytest.approx(rate, abs=5e-5)


def test_published_rate_of_cifar100n(real_data: Path) -> None:
    file = real_data / "cifar_n" / "CIFAR-100_human.pt"
    if not file.is_file():
        pytest.skip(f"no '{file}'")
    clean = read_human_labels(file)["clean"]
    found = corrupt(clean, 100, "human", label_file=file)
    assert found.realized_rate == pytest.approx(0.4020, abs=5e-5)


def test_the_data_sets_own_file_stands_in_where_no_option_names_one(file: Path) -> None:
    own = noisy(None, dataset_label_file=file)
    assert own.labels.tolist() == human_sets(CLEAN)["worse_label"].tolist()
    with pytest.raises(DataError, match=r"'elsewhere\.pt' does not exist"):
        noisy(Path("elsewhere.pt"), dataset_label_file=file)
