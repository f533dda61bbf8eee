"""Data whose clean labels nobody knows: what is measured, what is left out, and who says so."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from board_records import make, results_csv
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

import nlbench
from nlbench import RunRecord
from nlbench.cli import app
from nlbench.cli.result_table import result_table
from nlbench.config.sweep_plan import SweepPlan, usable_methods
from nlbench.data.digits import Digits
from nlbench.data.imagenet_names import imagenet_names
from nlbench.errors import ConfigError, DataError
from nlbench.noise.unknown_truth import shipped_labels
from nlbench.results.metrics import evaluate_selection, score_histogram
from nlbench.results.store import RunStore
from nlbench.tracking import read_records
from nlbench.tracking.files import selection_summary, write_files
from nlbench.tracking.schema import headline, note_of
from nlbench.tracking.write import dataset_input
from nlbench_leaderboard.formats.as_json import to_json
from nlbench_leaderboard.formats.markdown import to_markdown
from nlbench_leaderboard.formats.terminal import summary_table
from nlbench_leaderboard.page.board_page import to_html
from nlbench_leaderboard.ranking.rank import rank_boards

NEED_TRUTH = {
    "precision",
    "recall",
    "f1",
    "auroc",
    "auprc",
    "noise_rate_before",
    "noise_rate_after",
    "worst_class_recall",
    "precision_at_25",
    "precision_at_50",
    "precision_at_75",
    "precision_at_clean_share",
}
SMALL = {"image_size": 8, "network": "small-cnn", "image_encoder": "bundled-glyphs"}
SMALL |= {"batch_size": 16, "lr": 0.05, "augmentation": "shift"}


def animals(base: Path) -> Path:
    """ANIMAL-10N in small: 60 images for training, 20 for the test."""
    rng = np.random.default_rng(0)
    for part, n in (("training", 60), ("testing", 20)):
        folder = base / "animal10n" / part
        folder.mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i % 10}_{i:05d}.jpg")
    return base


def run(base: Path, selector: str, **options: Any) -> RunRecord:
    given = {"dataset": "animal10n", "epochs": 2, "device": "cpu", "settings": SMALL}
    given |= {"track": False, "data_dir": base}
    return nlbench.run(selector, **{**given, **options})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return animals(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def tracked(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLBENCH_HOME", str(home))
        patch.setenv("NLBENCH_CACHE", str(home / "cache"))
        return home, run(base, "imagenet-baseline", track=True)


@pytest.fixture(scope="module")
def record(tracked: tuple[Path, RunRecord]) -> RunRecord:
    return tracked[1]


# The run and its record


def test_the_record_holds_what_can_be_measured_and_nothing_else(record: RunRecord) -> None:
    assert record.metrics is not None
    selection = record.metrics.selection.model_dump()
    assert {key for key, value in selection.items() if value is None} == NEED_TRUTH
    assert 0 < selection["kept_fraction"] <= 1
    assert selection["recall_per_class"] == []
    assert 0 <= record.metrics.test.accuracy_last <= 1
    noise = record.noise
    assert (noise.kind, noise.nominal_rate, noise.realized_rate) == ("none", None, None)
    assert noise.transition_matrix == noise.realized_rate_per_class == []
    assert set(record.score_histogram) == {"edges", "all"}
    assert sum(record.score_histogram["all"]) == 54
    assert json.loads(record.to_json())["schema"] == 1
    assert RunRecord.from_json(record.to_json()) == record


def test_the_selection_file_holds_no_clean_labels(tracked: tuple[Path, RunRecord]) -> None:
    home, record = tracked
    path = RunStore(home).folder(record.fingerprint) / "selection.parquet"
    table = pq.read_table(path)
    assert table["clean_label"].null_count == len(table) == 54
    rows = list(csv.DictReader(io.StringIO(selection_summary(path, record.dataset.class_names))))
    assert {row["precision"] + row["recall"] + row["noisy"] for row in rows} == {""}
    assert sum(int(row["n"]) for row in rows) == 54


def test_an_online_selector_gets_along_without_the_truth(base: Path) -> None:
    record = run(base, "small-loss")
    assert "selection_f1" not in record.curves
    assert len(record.curves["kept_fraction"]) == 2
    assert record.metrics is not None
    assert record.metrics.selection.f1 is None


def test_a_bound_that_needs_the_truth_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'oracle' needs the clean labels.*'animal10n'"):
        run(base, "oracle")
    assert RunStore(tmp_path / "home").records() == ([], [])


def test_a_selector_that_needs_the_noise_rate_is_told_that_nobody_knows_it(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"'small-loss' .* needs the noise rate.*'animal10n'"):
        run(base, "small-loss:divider=rate")


def test_noise_is_refused_for_a_folder_that_says_it_is_noisy(base: Path) -> None:
    folder = base / "mine"
    for i in range(20):
        path = folder / "train" / "ab"[i % 2] / f"{i}.png"
        for place in (path, folder / "test" / path.parent.name / path.name):
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (10 * i, 0, 0)).save(place)
    noisy = {**SMALL, "labels_are_clean": False}
    dataset = f"folder:{folder}"
    with pytest.raises(ConfigError, match=r"'symmetric' on top .*Use --noise none"):
        run(base, "none", dataset=dataset, settings=noisy)
    record = run(base, "none", dataset=dataset, settings=noisy, noise="none")
    clean = run(base, "none", dataset=dataset, noise="none")
    assert record.metrics is not None
    assert clean.metrics is not None
    assert (record.metrics.selection.f1, clean.metrics.selection.f1) == (None, 1.0)
    assert record.fingerprint != clean.fingerprint


def test_a_sweep_over_all_selectors_leaves_the_bounds_out(base: Path) -> None:
    plan = SweepPlan(datasets=("animal10n",), noises=("none",), seeds=(0,), settings=SMALL)
    names = {config.method for config in plan.configs(base)}
    assert names == set(usable_methods()) - {"oracle"}
    digits = SweepPlan(noises=("none",), seeds=(0,)).configs()
    assert {config.method for config in digits} == set(usable_methods())
    asked = SweepPlan(("oracle",), ("animal10n",), ("none",), (0,)).configs(base)
    assert [config.selector.name for config in asked] == ["oracle"]


def test_a_damaged_image_fails_the_run_by_its_path(tmp_path: Path) -> None:
    broken = animals(tmp_path) / "animal10n" / "training" / "3_00013.jpg"
    broken.write_bytes(broken.read_bytes()[:80])
    with pytest.raises(DataError, match=r"training/3_00013.jpg' cannot be decoded"):
        run(tmp_path, "none")
    (record,), _ = RunStore(tmp_path / "home").records()
    assert record.error is not None
    assert (record.status, record.error.type) == ("failed", "DataError")


def test_images_that_fit_nowhere_are_refused_before_the_run_begins(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLBENCH_MAX_IMAGES_GIB", "0.00001")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ConfigError, match=r"images of 'animal10n' .* 0.0 GiB free for a file"):
        run(base, "none")
    assert RunStore(tmp_path / "home").records() == ([], [])


# Measures


def test_without_the_truth_only_the_kept_fraction_is_measured() -> None:
    answer = nlbench.Selection(torch.tensor([True, False]), torch.tensor([0.5, 0.1]))
    found = evaluate_selection(answer, [0, 1], None)
    assert found == {**dict.fromkeys(NEED_TRUTH), "kept_fraction": 0.5}
    with pytest.raises(ConfigError, match="same length"):
        evaluate_selection(answer, [0, 1, 1], None)
    assert score_histogram([0.0, 1.0, 1.0], None, bins=2)["all"] == [1.0, 2.0]


def test_shipped_labels_are_hashed_and_checked_like_any_others() -> None:
    from nlbench.noise.corrupt import corrupt

    labels = [0, 2, 1, 1]
    assert shipped_labels(labels, 3).sha256 == corrupt(labels, 3, "none").sha256
    with pytest.raises(ConfigError):
        shipped_labels([0, 3], 3)


# Who shows it


def test_the_terminal_shows_dashes(record: RunRecord) -> None:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(result_table(record))
    text = console.export_text()
    assert "the clean labels are unknown" in text
    for row in ("selection F1", "AUROC", "worst class recall"):
        (line,) = (line for line in text.splitlines() if row in line)
        assert "–" in line
    assert "None" not in text
    assert "none, seed 0" in text.splitlines()[0]


def test_mlflow_takes_the_record_and_gives_it_back(tracked: tuple[Path, RunRecord]) -> None:
    from nlbench.tracking.store import sqlite_uri

    home, record = tracked
    (uri,) = (sqlite_uri(path) for path in home.rglob("*.db"))
    records, problems = read_records(uri)
    assert problems == []
    assert records[0].metrics == record.metrics
    assert records[0].noise == record.noise


def test_mlflow_gets_no_number_that_was_not_measured(record: RunRecord) -> None:
    shown = {key for key, value in headline(record).items() if value is not None}
    assert {key for key in shown if key.startswith("sel/")} == {"sel/kept"}
    assert "clean labels unknown" in note_of(record)
    assert "None" not in note_of(record)
    profile = json.loads(dataset_input(record).dataset.profile)
    assert profile["noise_rate_realized"] is None


def test_the_figure_shows_all_scores_as_one_group(
    tracked: tuple[Path, RunRecord], tmp_path: Path
) -> None:
    home, record = tracked
    folder = RunStore(home).folder(record.fingerprint)
    assert write_files(record, folder, tmp_path / "files") == []
    written = {path.name for path in (tmp_path / "files" / "figures").iterdir()}
    assert written == {"score_histogram.svg"}
    table = json.loads((tmp_path / "files" / "tables" / "per_class.json").read_text())
    assert {row[1] for row in table["data"]} == {None}


def test_the_leaderboard_ranks_by_accuracy_and_shows_dashes(record: RunRecord) -> None:
    selection = {**dict.fromkeys(NEED_TRUTH), "kept_fraction": 0.5}
    unknown = {
        "noise__kind": "none",
        "noise__nominal_rate": None,
        "noise__realized_rate": None,
        "metrics__selection": selection,
    }
    boards = rank_boards(
        [
            make(name, seed, 0.5 + i / 10, **unknown)
            for i, name in enumerate("ab")
            for seed in (0, 1)
        ]
        + [record]
    )
    board = next(board for board in boards if board.dataset.name == "digits")
    assert [(row.label, row.rank) for row in board.rows] == [("b", 1), ("a", 2)]
    assert board.title == "digits · labels as shipped · v1"
    assert set(board.rows[0].stats) & {"selection_f1", "noise_rate_after"} == set()
    (line,) = (line for line in to_markdown(boards).splitlines() if line.startswith("| 1 | b |"))
    assert line.split("|")[6:12] == [" – "] * 4 + [" 50.00 ", " – "]
    rows = list(csv.DictReader(io.StringIO(results_csv(boards))))
    assert {row["selection_f1_mean"] for row in rows} == {""}
    runs = [
        run for b in json.loads(to_json(boards))["boards"] for r in b["rows"] for run in r["runs"]
    ]
    assert {run["values"]["selection_f1"] for run in runs} == {None}
    assert {run["realized_noise_rate"] for run in runs} == {None}
    page = to_html(boards)
    assert page.count("the clean labels are unknown") == 2
    assert "None" not in page
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(summary_table(boards))
    assert "None" not in console.export_text()


def test_a_board_can_hold_runs_with_and_without_measures() -> None:
    selection = {**dict.fromkeys(NEED_TRUTH), "kept_fraction": 0.5}
    (board,) = rank_boards([make(seed=0), make(seed=1, metrics__selection=selection)])
    assert board.rows[0].stats["selection_f1"].n == 1
    assert board.rows[0].stats["kept_fraction"].n == 2


# A second test set


def webvision(base: Path, imagenet: bool) -> Path:
    rng = np.random.default_rng(0)
    wnids = list(imagenet_names())[:50]

    def put(name: str) -> str:
        file = base / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "jpeg")
        return name

    root = base / "mini-webvision"
    train = [f"google/q{k:04d}/{i}.jpg {k}" for k in range(50) for i in range(2)]
    test = [f"val{k:06d}.jpg {k}" for k in range(50)]
    for names, folder in ((train, ""), (test, "val_images_256/")):
        for line in names:
            put(f"mini-webvision/{folder}{line.split()[0]}")
    (root / "info").mkdir()
    (root / "info" / "train_filelist_google.txt").write_text("\n".join(train))
    (root / "info" / "val_filelist.txt").write_text("\n".join(test))
    for i, wnid in enumerate(wnids if imagenet else ()):
        put(f"imagenet/val/{wnid}/ILSVRC2012_val_{i:08d}.JPEG")
    return base


def run_webvision(base: Path) -> RunRecord:
    return run(base, "none", dataset="mini-webvision", noise=None)


def test_imagenet_is_a_second_test_set_of_mini_webvision(tmp_path: Path) -> None:
    with_it, without = webvision(tmp_path / "a", True), webvision(tmp_path / "b", False)
    both, one = run_webvision(with_it), run_webvision(without)
    assert both.metrics is not None
    assert one.metrics is not None
    assert one.metrics.test.other_tests == {}
    share = both.metrics.test.other_tests["imagenet-val"]
    assert both.metrics.test.model_copy(update={"other_tests": {}}) == one.metrics.test
    # One board, but a run that measured less does not stand for one that measures both.
    assert both.fingerprint != one.fingerprint
    assert both.dataset.fingerprint == one.dataset.fingerprint
    assert RunRecord.from_json(both.to_json()) == both
    old = json.loads(one.to_json())
    del old["metrics"]["test"]["other_tests"]
    assert RunRecord.from_json(json.dumps(old)) == one

    console = Console(width=120, record=True, file=io.StringIO())
    console.print(result_table(both))
    shown = f"{100 * share:.2f}"
    assert re.search(
        rf"imagenet-val +{shown} % +last epoch, another test set", console.export_text()
    )
    assert headline(both)["test/acc_imagenet-val"] == pytest.approx(100 * share)
    assert f"On imagenet-val: {shown}%." in note_of(both)
    boards = rank_boards([both])
    (entry,) = json.loads(to_json(boards))["boards"][0]["rows"][0]["runs"]
    assert entry["other_tests"] == {"imagenet-val": share}
    assert re.search(rf"<bdi>imagenet-val</bdi> {shown} %", to_html(boards))


def test_the_second_test_set_is_measured_with_the_last_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = webvision(tmp_path, False)
    val = base / "imagenet" / "val"
    for line in (base / "mini-webvision/info/val_filelist.txt").read_text().splitlines():
        name, label = line.split()
        target = val / list(imagenet_names())[int(label)] / f"{name[:-4]}.JPEG"
        target.parent.mkdir(parents=True)
        target.write_bytes((base / "mini-webvision" / "val_images_256" / name).read_bytes())
    for limit in ("4", "0.000001"):
        monkeypatch.setenv("NLBENCH_MAX_IMAGES_GIB", limit)
        record = run(base, "none", dataset="mini-webvision", force=True)
        assert record.metrics is not None
        test = record.metrics.test
        assert test.other_tests == {"imagenet-val": test.accuracy_last}


def test_an_imagenet_without_a_class_is_refused_by_its_name(tmp_path: Path) -> None:
    base = webvision(tmp_path, True)
    wnid = list(imagenet_names())[7]
    (next((base / "imagenet" / "val" / wnid).iterdir())).unlink()
    with pytest.raises(DataError, match=f"no .* of 1 of the 50 classes: {wnid}. Put the"):
        run_webvision(base)


def test_data_check_counts_the_second_test_set(tmp_path: Path) -> None:
    base = webvision(tmp_path, True)
    result = CliRunner().invoke(app, ["data", "check", "mini-webvision", "--data-dir", str(base)])
    assert "imagenet-val 50 images, 50 classes of 1 to 1; 50 decoded" in result.stdout


def test_labels_without_a_nominal_rate_are_refused_by_name_to_a_selector_that_takes_it() -> None:
    """The truth is known here, and still nobody has asked for a rate, as with human labels."""
    labels = digits_labels()
    said = "'co-teaching' .* needs the noise rate.*'digits' is not known for noise 'labels'"
    with pytest.raises(ConfigError, match=said):
        nlbench.run(
            "co-teaching", "digits", "labels", settings={"noise.labels": labels}, track=False
        )


def digits_labels() -> list[int]:
    return [int(label) for label in Digits().load(None).train_labels]
