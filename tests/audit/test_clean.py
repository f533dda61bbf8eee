"""`nlbench.clean`: every image judged, from folders, tables, data sets, arrays."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from letter_folders import LETTERS, letter, letter_folder

import nlbench
from nlbench.audit.clean import clean
from nlbench.audit.fixes import Fixes
from nlbench.errors import ConfigError, DataError

GLYPHS = "bundled-glyphs"


def points(n: int = 60, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings (N, 8) around a place per class, and their true labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = np.eye(8)[:classes] * 3
    return centres[labels] + rng.normal(0, 0.4, (n, 8)), labels


def with_wrong(labels: np.ndarray, rows: list[int], classes: int = 3) -> np.ndarray:
    noisy = labels.copy()
    noisy[rows] = (noisy[rows] + 1) % classes
    return noisy


def test_every_image_of_a_folder_is_judged_and_the_moved_ones_are_the_worst(tmp_path: Path) -> None:
    moved = letter_folder(tmp_path / "letters")
    audit = clean(tmp_path / "letters", encoder=GLYPHS, pictures=False)
    table = audit.table
    assert len(table) == 60
    assert table["score"].notna().all()
    worst = set(table.sort_values("score")["file"].head(len(moved)))
    assert len(worst & moved) >= len(moved) - 1
    suspected = set(audit.suspects["file"])
    assert len(moved & suspected) >= len(moved) - 1
    suggested = audit.table.set_index("file")["suggested"]
    assert all(suggested[name] == name.split("/")[1][0] for name in worst & moved)
    assert audit.noise_rate.low <= len(moved) / 60 <= audit.noise_rate.high


def test_splits_are_judged_alike(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        letter_folder(tmp_path / part, per_class=8, wrong=0)
    audit = clean(tmp_path, encoder=GLYPHS, pictures=False)
    assert audit.table["part"].value_counts().to_dict() == {"train": 24, "val": 24, "test": 24}


def test_a_table_names_files_and_labels(tmp_path: Path) -> None:
    lines = ["file,label"]
    for k, text in enumerate(LETTERS[:2]):
        for i in range(8):
            letter(text, 100 * k + i).save(tmp_path / f"{text} {i}.png")
            lines.append(f'"{text} {i}.png",{"the first" if text == "A" else "other"}')
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    audit = clean(tmp_path / "labels.csv", encoder=GLYPHS, pictures=False)
    assert audit.samples.class_names == ("other", "the first")
    assert audit.table["given"].tolist() == ["the first"] * 8 + ["other"] * 8


def test_a_data_set_is_judged_whole() -> None:
    audit = clean("digits", encoder=GLYPHS, pictures=False)
    assert len(audit.table) == 1797
    assert set(audit.table["part"]) == {"train", "test"}


def test_embeddings_are_enough() -> None:
    x, labels = points()
    audit = clean(labels=with_wrong(labels, [4, 17]), embeddings=x)
    assert set(audit.suspects["file"]) >= {"4", "17"}
    assert audit.table.loc[4, "suggested"] == str(labels[4])
    with pytest.raises(ConfigError, match="no images to show"):
        audit.to_html("page.html")


def test_probabilities_are_enough_for_selectors_that_work_by_them() -> None:
    x, labels = points()
    p = torch.from_numpy(x[:, :3] * 2).softmax(dim=1)
    audit = clean(labels=with_wrong(labels, [5]), probabilities=p)
    assert audit.table["score"].idxmin() == 5
    with pytest.raises(ConfigError, match="no embeddings"):
        clean(labels=labels, probabilities=p, selectors=["fine"])


def test_several_selectors_vote(caplog: pytest.LogCaptureFixture) -> None:
    x, labels = points()
    asked = ["confident-learning", "ssr-knn", "imagenet-baseline"]
    audit = clean(labels=with_wrong(labels, [4, 17, 30]), embeddings=x, selectors=asked)
    table = audit.table
    keeps = table[[f"{name}.keep" for name in asked]].to_numpy()
    assert (table["keep"] == (keeps.sum(axis=1) > 1)).all()
    assert table["score"].between(0, 1).all()
    assert {"4", "17", "30"} <= set(audit.suspects["file"])
    assert 0 < (audit.findings().agreement or 0) <= 1
    assert audit.findings().suspects[0].dropped_by


def test_one_selector_that_knows_no_probabilities_keeps_its_own_score() -> None:
    x, labels = points()
    audit = clean(labels=with_wrong(labels, [4]), embeddings=x, selectors=["ssr-knn"])
    assert (audit.verdicts[0].score == audit.table["score"]).all()
    assert audit.table.loc[4, "suggested"] == str(labels[4])


def test_classes_too_small_are_named_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    x, labels = points()
    words = np.array(["a", "b", "c"], dtype=object)[labels]
    words[0] = "alone"
    with caplog.at_level(logging.WARNING, "nlbench"):
        audit = clean(labels=words, embeddings=x)
    assert "1 of 4 classes have fewer than 3 images and are not judged: alone" in caplog.text
    assert audit.findings().not_judged == (0,)
    row = audit.table.iloc[0]
    assert row["keep"]
    assert np.isnan(row["score"])
    assert row.isna()["suggested"]
    assert audit.findings().classes[1].wrong is None


def test_a_thousand_classes() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(4000) % 1000
    x = rng.normal(size=(1000, 64))[labels] + rng.normal(0, 0.05, (4000, 64))
    audit = clean(labels=with_wrong(labels, [7], 1000), embeddings=x, selectors=["ssr-knn"])
    assert audit.table["score"].idxmin() == 7


def test_the_head_is_trained_only_where_it_is_asked_for() -> None:
    x, labels = points(120)
    noisy = with_wrong(labels, [4, 17])
    with pytest.raises(ConfigError, match="--train"):
        clean(labels=noisy, embeddings=x, selectors=["small-loss:noise_rate=estimated"])
    with pytest.raises(ConfigError, match="--train does nothing"):
        clean(labels=noisy, embeddings=x, train=True)
    audit = clean(labels=noisy, embeddings=x, selectors=["small-loss", "co-teaching"], train=True)
    assert {"4", "17"} <= set(audit.table.sort_values("score")["file"].head(4))
    assert audit.verdicts[1].name == "co-teaching:noise_rate=estimated"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"selectors": ["oracle"]}, "needs the true labels"),
        ({"selectors": ["elr"]}, "loss"),
        ({"selectors": ["nonesuch"]}, "unknown selector"),
        ({"selectors": ["ssr-knn", "ssr-knn"]}, "twice"),
        ({"encoder": GLYPHS}, "no images to encode"),
        ({"class_names": ["a"]}, "at least 2 classes|must lie in"),
        ({"names": ["x"] * 60}, "different from each other"),
        ({"probabilities": np.ones((60, 3))}, "sum to 1"),
        ({"probabilities": np.ones((60, 2)) / 2}, "a column per class"),
        ({"rotated": True}, "--rotated needs images"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, object], message: str) -> None:
    x, labels = points()
    with pytest.raises(ConfigError, match=message):
        clean(labels=labels, embeddings=x, **given)  # type: ignore[arg-type]


def test_nothing_to_judge_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no class directories"):
        clean(tmp_path / "empty")
    letter_folder(tmp_path / "one", per_class=4, wrong=0)
    for text in LETTERS[1:]:
        for file in (tmp_path / "one" / text).iterdir():
            file.unlink()
        (tmp_path / "one" / text).rmdir()
    with pytest.raises(DataError, match="1 class, A/"):
        clean(tmp_path / "one")
    with pytest.raises(DataError, match="does not exist"):
        clean(tmp_path / "nowhere")
    x, _ = points(6)
    with pytest.raises(DataError, match="at least 2 classes must have 3 images"):
        clean(labels=[0, 0, 0, 0, 1, 1], embeddings=x)


def test_what_cannot_be_read_is_named_and_the_rest_is_judged(tmp_path: Path) -> None:
    letter_folder(tmp_path / "letters", per_class=6, wrong=0)
    (tmp_path / "letters" / "A" / "broken.png").write_bytes(b"\x89PNG no")
    (tmp_path / "letters" / "A" / "notes.txt").write_text("hello")
    audit = clean(tmp_path / "letters", encoder=GLYPHS, pictures=False)
    assert audit.samples.unreadable == ("A/broken.png",)
    assert "not an image (.txt)" in audit.samples.passed_over
    assert len(audit.table) == 18


def test_a_folder_that_changes_meanwhile_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    letter_folder(tmp_path / "letters", per_class=6, wrong=0)

    def add_one(stage: str, done: int, total: int) -> None:
        if stage == "judge" and done == total:
            letter("A", 5).save(tmp_path / "letters" / "A" / "late.png")

    with caplog.at_level(logging.WARNING, "nlbench"):
        clean(tmp_path / "letters", encoder=GLYPHS, pictures=False, progress=add_one)
    assert "letters changed while it was judged" in caplog.text
    caplog.clear()
    clean(tmp_path / "letters", encoder=GLYPHS, pictures=False)
    assert "changed" not in caplog.text


def test_names_that_are_not_utf8_and_links_and_junk(tmp_path: Path) -> None:
    letter_folder(tmp_path / "letters", per_class=6, wrong=0)
    root = tmp_path / "letters"
    (root / "A").rename(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    (root / "O" / "@eaDir").mkdir()
    letter("O", 1).save(root / "O" / "@eaDir" / "copy.png")
    (root / "T" / "again.png").symlink_to(root / "T" / "T000.png")
    audit = clean(root, encoder=GLYPHS, pictures=False)
    assert audit.samples.class_names == ("O", "T", "caf\\xe9")
    assert len(audit.table) == 18
    name = next(iter(audit.table.loc[audit.table["given"] == "caf\\xe9", "file"]))
    audit.apply(
        Fixes.of([(name, "relabel", "O", ""), ("O/O001.png", "relabel", "caf\\xe9", "O")]),
        tmp_path / "out",
    )
    assert (tmp_path / "out" / os.fsdecode(b"caf\xe9") / "O001.png").is_file()


def test_images_in_memory() -> None:
    pixels = np.stack(
        [np.asarray(letter(text, 100 * k + i)) for k, text in enumerate("AOT") for i in range(8)]
    )
    audit = clean(pixels, ["A"] * 8 + ["O"] * 8 + ["T"] * 8, encoder=GLYPHS, pictures=False)
    assert audit.encoder == GLYPHS
    assert len(audit.table) == 24


def test_the_answer_is_the_same_every_time() -> None:
    x, labels = points()
    noisy = with_wrong(labels, [4, 17])
    first, second = (clean(labels=noisy, embeddings=x).table for _ in range(2))
    assert first.equals(second)


def test_public_name() -> None:
    assert nlbench.clean is clean
