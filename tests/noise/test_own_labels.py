"""The noise `labels`: a user's file meets the right samples, or an error says what does not fit."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.errors import ConfigError, DataError
from nlbench.noise.corrupt import corrupt

NAMES = [
    "train/cat/im1.png",
    "train/cat/im2.png",
    "train/dog/im1.png",
    "train/dog/im10.png",
    "train/dog/caf\u00e9.png",
]
CLEAN = [0, 0, 1, 1, 1]
# In another order than the samples, and each name in another length.
ROWS = [
    ("train/dog/im10.png", "cat"),
    ("cat/im2.png", "dog"),
    ("dog/im1.png", "dog"),
    ("/home/me/pets/train/cat/im1.png", "cat"),
    ("caf\u00e9.png", "cat"),
]
MEANT = [0, 1, 1, 0, 0]


def noisy(labels: Any, **options: Any) -> list[int]:
    given = {"sample_names": NAMES, "class_names": ["cat", "dog"], **options}
    return corrupt(CLEAN, 2, "labels", labels=labels, **given).labels.tolist()


def table(rows: list[tuple[str, str]] = ROWS, delimiter: str = ",", header: str = "") -> str:
    return header + "".join(f"{name}{delimiter}{label}\n" for name, label in rows)


FILES: dict[str, tuple[str, bytes]] = {
    "plain": ("l.csv", table().encode()),
    "header": ("l.csv", table(header="file,label\n").encode()),
    "header in other words": ("l.csv", table(header="bild,klasse\n").encode()),
    "header with a comment": ("l.csv", table(header="# mine\nfile,label\n").encode()),
    "byte order mark": ("l.csv", table(header="file,label\n").encode("utf-8-sig")),
    "UTF-16": ("l.csv", table(header="file,label\n").encode("utf-16")),
    "CRLF": ("l.csv", table(header="file,label\n").replace("\n", "\r\n").encode()),
    "semicolon": ("l.csv", table(delimiter=";", header="file;label\n").encode()),
    "tab": ("l.tsv", table(delimiter="\t").encode()),
    "tab in a .csv": ("l.csv", table(delimiter="\t").encode()),
    "spaces": ("l.txt", table(delimiter="  ").encode()),
    "quotes": ("l.csv", "".join(f'"{a}","{b}"\n' for a, b in ROWS).encode()),
    "labels first": ("l.csv", "".join(f"{b},{a}\n" for a, b in ROWS).encode()),
    "ids": ("l.csv", table([(a, str(int(b == "dog"))) for a, b in ROWS]).encode()),
    "ids as floats": ("l.csv", table([(a, f"{b == 'dog':.1f}") for a, b in ROWS]).encode()),
    "no extension": ("l.csv", table([(a[: -len(".png")], b) for a, b in ROWS]).encode()),
    "backslashes": ("l.csv", table([(a.replace("/", "\\"), b) for a, b in ROWS]).encode()),
    "accents in two parts": ("l.csv", unicodedata.normalize("NFD", table()).encode()),
    "empty lines": ("l.csv", table().replace("\n", "\n\n").encode()),
    "a mapping": ("l.yaml", "".join(f"{a}: {b}\n" for a, b in ROWS).encode()),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_with_names_is_matched_by_name(kind: str, tmp_path: Path) -> None:
    name, content = FILES[kind]
    file = tmp_path / name
    file.write_bytes(content)
    assert noisy(str(file)) == MEANT


def test_a_path_with_spaces_and_a_class_name_with_spaces(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("my cat/1.png 1\nmy cat/2.png 0\n")
    names = ["my cat/1.png", "my cat/2.png"]
    assert corrupt(
        [0, 1], 2, "labels", labels=tmp_path / "l.txt", sample_names=names
    ).labels.tolist() == [1, 0]
    (tmp_path / "c.txt").write_text("polar bear\ncat\n")
    answer = corrupt(
        [0, 1], 2, "labels", labels=tmp_path / "c.txt", class_names=["cat", "polar bear"]
    )
    assert answer.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "labels",
    [dict(ROWS), {name: int(label == "dog") for name, label in ROWS}],
    ids=["class names", "ids"],
)
def test_a_mapping_in_python_is_matched_by_name(labels: dict[str, Any]) -> None:
    assert noisy(labels) == MEANT


@pytest.mark.parametrize(
    "content", ["cat\ndog\ndog\ncat\ncat\n", "label\ncat\ndog\ndog\ncat\ncat\n", "0\n1\n1\n0\n0\n",
                "0,1,1,0,0\n", "label\n0\n1\n1\n0\n0\n"],
)  # fmt: skip
def test_a_file_without_names_goes_by_position(content: str, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(content)
    assert noisy(tmp_path / "l.csv") == MEANT


def test_class_names_in_python_go_by_position() -> None:
    assert noisy(["cat", "dog", "dog", "cat", "cat"]) == MEANT


# Chen et al., AAAI 2021: `label,label_noisy`, in torchvision's order ------------------------------


def chen_file(tmp_path: Path, clean: list[int]) -> Path:
    rows = "".join(f"{a},{b}\n" for a, b in zip(clean, MEANT, strict=True))
    file = tmp_path / "dependent0.4.csv"
    file.write_text("label,label_noisy\n" + rows)
    return file


def test_the_files_of_chen_et_al_are_read_as_they_are(tmp_path: Path) -> None:
    assert noisy(chen_file(tmp_path, CLEAN)) == MEANT


def test_a_subset_takes_its_part_of_a_published_file(tmp_path: Path) -> None:
    subset = np.array([True, False, True, False, True])
    file = chen_file(tmp_path, CLEAN)
    part = corrupt([0, 1, 1], 2, "labels", labels=file, subset=subset, sample_names=["a", "b", "c"])
    assert part.labels.tolist() == [0, 1, 0]


def test_a_published_file_of_other_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"clean labels differ .* in 1 of 5 samples.*at index 0"):
        noisy(chen_file(tmp_path, [1, *CLEAN[1:]]))


# What does not fit -------------------------------------------------------------------------------

WRONG: dict[str, tuple[str, str]] = {
    "unknown": (table([*ROWS, ("test/cat/im9.png", "cat")]),
                r"1 name of no training sample: 'test/cat/im9\.png'.*other_names=ignore"),
    "missing": (table(ROWS[:1]),
                r"4 samples not named: 'train/cat/im1\.png', .*, \.\.\.\. They are"),
    "double": (table(ROWS * 2), r"5 samples named more than once: 'train/dog/im10\.png'"),
    "ambiguous": (table([*ROWS[:2], ("im1.png", "dog"), *ROWS[3:]]),
                  r"1 name of several \(write the folder too\): 'im1\.png'; 1 sample not named"),
    "none": ("a.png,cat\nb.png,dog\n", r"2 names of no training sample.*like 'train/cat/im1\.png'"),
    "class": (table([(a, b.replace("dog", "dgo")) for a, b in ROWS]),
              r"got 2 other of 5: 'dgo' in row 2, 'dgo' in row 3\. Did you mean 'dog'"),
    "empty label": (table([(a, b.replace("dog", "")) for a, b in ROWS]), r"got 2 other of 5: ''"),
    "from one": ("1\n2\n2\n1\n1\n", r"ids in \[0, 2\).*'2' in row 2.*Ids start at 0"),
    "fraction": ("0\n0.5\n1\n1\n1\n", r"'0\.5' in row 2"),
    "extra column": ("file,label,split\n" + table(delimiter=",x,"),
                     r"got 3 columns: file, label, split\. Remove the others"),
    "ragged": ("a.png,0\nb.png\n", r"first row has 2 columns, another has 1: \['b\.png'\]"),
    "two labels": ("a,b\n0,1\n1,0\n", r"both of its columns are labels: name them `label`"),
    "only a header": ("file,label\n", "a header and no rows"),
    "empty": ("", "no rows"),
    "too few": ("0\n1\n", r"each of the 5 training samples, got 2.*`file,label`"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_fit_is_one_error_with_counts_and_names(kind: str, tmp_path: Path) -> None:
    content, message = WRONG[kind]
    (tmp_path / "l.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        noisy(tmp_path / "l.csv")


def test_names_of_other_images_can_be_passed_over(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(table([("test/cat/im9.png", "bird"), *ROWS]))
    assert noisy(tmp_path / "l.csv", other_names="ignore") == MEANT
    (tmp_path / "l.csv").write_text(table([("test/cat/im9.png", "cat"), *ROWS[1:]]))
    with pytest.raises(DataError, match="1 sample not named"):
        noisy(tmp_path / "l.csv", other_names="ignore")
    with pytest.raises(ConfigError, match="`other_names` must be refuse or ignore, got 'x'"):
        noisy(tmp_path / "l.csv", other_names="x")


def test_names_need_the_names_of_the_samples(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(table())
    with pytest.raises(ConfigError, match=r"pass corrupt\(\.\.\., sample_names=NAMES\)"):
        noisy(tmp_path / "l.csv", sample_names=None)


def test_numbers_that_could_be_names_or_ids_are_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("1\n2\n2\n1\n1\n")
    assert noisy(tmp_path / "l.csv", class_names=["1", "2"]) == MEANT, "no id is 2"
    for cells in ("0\n1\n0\n1\n1\n", "0.0\n1.0\n0.0\n1.0\n1.0\n"):
        (tmp_path / "l.csv").write_text(cells)
        with pytest.raises(DataError, match=r"could be names or ids \(name '0(\.0)?' has id 1\)"):
            noisy(tmp_path / "l.csv", class_names=["1", "0"])


# A run -------------------------------------------------------------------------------------------


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes in train/ and test/; names whose natural order is not the alphabet's."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 12), ("test", 4)):
        for k, name in enumerate(("cat", "dog")):
            folder = tmp_path / "pets" / part / name
            folder.mkdir(parents=True)
            for i in range(1, n + 1):
                pixels = rng.integers(0, 90, (8, 8, 3)) + 120 * k
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}{i}.png")
    return tmp_path / "pets"


def test_a_run_matches_a_file_in_another_order(pets: Path, tmp_path: Path) -> None:
    rows = [
        (f"{name}{i}.png", other if i == 10 else name)
        for name, other in (("cat", "dog"), ("dog", "cat"))
        for i in range(1, 13)
    ]
    (tmp_path / "labels.csv").write_text(table(rows, header="file,label\n"))
    record = nlbench.run(
        "none",
        dataset=f"folder:{pets}",
        noise="labels",
        epochs=1,
        recipe="quick/folder",
        settings={"noise.labels": str(tmp_path / "labels.csv"), "val_fraction": 0.0},
        track=False,
    )
    assert record.noise.realized_rate == pytest.approx(2 / 24)


def test_show_noise_labels_says_how_a_file_is_matched() -> None:
    text = CliRunner().invoke(app, ["show", "noise", "labels"]).output
    for words in ("file,label", "By position", "other_names", "dependent0.4.csv"):
        assert words in text
