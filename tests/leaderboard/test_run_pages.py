"""The page of a run: what is known is shown, what is missing is said, and names stay names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_records import make
from test_leaderboard_build import HOSTILE, VOID, Page, hostile, sample

from nlbench.contribution import ContributedRun, Evidence
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore
from nlbench_leaderboard.build import build, content_of
from nlbench_leaderboard.figures.run_pictures import histogram, learning_curves
from nlbench_leaderboard.page.mistakes import (
    kept_pairs,
    off_diagonal,
    prediction_matrix,
    worst_classes,
)
from nlbench_leaderboard.page.run_page import page_names, run_pages
from nlbench_leaderboard.ranking.board import RunPlace
from nlbench_leaderboard.ranking.rank import rank_boards
from nlbench_leaderboard.sources.run_files import RunFiles

K = 4
VOID.update({"img", "br", "rect", "polyline"})


def full_record(**change: Any) -> RunRecord:
    """Return a record with all that a page can show."""
    everything: dict[str, Any] = {
        "fingerprint": "0123456789abcdef" * 4,
        "dataset__n_classes": K,
        "dataset__class_names": ["cat", "dog", "cow", "hen"],
        "noise__transition_matrix": [[0.6, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        "noise__realized_rate_per_class": [0.4, 0.0, 0.0, 0.0],
        "metrics__test__accuracy_per_class": [0.5, 0.9, 1.0, 0.7],
        "metrics__selection__recall_per_class": [0.6, 0.9, None, 0.8],
        "selector__knowledge": ["class names"],
        "curves": {"train_loss": [1.5, 0.5, 0.25], "noisy_val_accuracy": [None, 0.5, 0.75]},
        "score_histogram": {"edges": [0.0, 0.5, 1.0], "clean": [2.0, 6.0], "noisy": [3.0, 1.0]},
        "environment": {"python": "3.12", "packages": {"torch": "2.6"}},
        "config": {"trainer": {"epochs": 3}},
        "command": "nlbench run --selector clip-knn --seed 0",
        "diagnostics": {"n_steps": 60},
    }
    return make("clip-knn", 0, 0.81, **{**everything, **change})


def evidence() -> Evidence:
    """Return decisions on eight samples and predictions for six images."""
    return Evidence(
        index=np.arange(8),
        clean_label=np.array([0, 0, 0, 0, 1, 2, 3, 3]),
        noisy_label=np.array([1, 1, 1, 0, 1, 2, 3, 0]),
        keep=np.array([1, 1, 0, 1, 1, 0, 1, 1], dtype=bool),
        score=np.linspace(0, 1, 8),
        test_label=np.array([0, 0, 1, 2, 3, 3]),
        predicted=np.array([0, 1, 1, 2, 0, 0]),
    )


def contributed(record: RunRecord) -> ContributedRun:
    return ContributedRun(record, evidence())


def page_of(record: RunRecord, files: RunFiles | None = None) -> tuple[Page, str]:
    ((_, text),) = run_pages(rank_boards([record]), files or RunFiles())
    return Page(text), text


def words(page: Page) -> str:
    return re.sub(r"\s+", " ", " ".join(page.texts))


# What it shows -----------------------------------------------------------------------------------


def test_everything_that_is_known_is_on_the_page() -> None:
    run = contributed(full_record())
    page, text = page_of(run.record, RunFiles(contributed=[run]))
    shown = words(page)
    for expected in (
        "clip-knn , seed 0",
        "81.00 %",
        "nlbench run --selector clip-knn --seed 0",
        "realized rate 39.00 %",
        "class names",
        "train loss",
        "epoch 1: 1.5; epoch 3: 0.25; lowest 0.25, highest 1.5",
        "epoch 2: 50.00 %; epoch 3: 75.00 %",
        "trainer.epochs",
        "packages.torch",
        "n_steps",
        "a file of runs, which carries no images",
    ):
        assert expected in shown
    assert text.count('class="heat"') == 2
    links = page.values("href")
    assert "../index.html#run-0123456789ab" in links
    assert f"../index.html#{rank_boards([run.record])[0].id}" in links


def test_wrongly_kept_pairs_and_predictions_are_counted() -> None:
    run = contributed(full_record())
    _, text = page_of(run.record, RunFiles(contributed=[run]))
    rows = re.findall(
        r"<bdi>(\w+)</bdi></th><td><bdi>(\w+)</bdi></td>"
        r'<td class="num">(\d+)</td><td class="num">(\d+)</td>',
        text,
    )
    assert rows == [("cat", "dog", "2", "3"), ("hen", "cat", "1", "1")]


def test_a_slow_count_agrees() -> None:
    found = evidence()
    assert found.clean_label is not None
    slow = {
        (int(c), int(n))
        for c, n, k in zip(found.clean_label, found.noisy_label, found.keep, strict=True)
        if k and c != n
    }
    pairs = kept_pairs(found, K)
    assert pairs is not None
    assert {(p.first, p.second) for p in pairs} == slow
    counts = prediction_matrix(found, K)
    assert counts is not None
    assert counts.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [2, 0, 0, 0]]
    assert [(p.first, p.second, p.n, p.of) for p in off_diagonal(counts)] == [
        (3, 0, 2, 2),
        (0, 1, 1, 2),
    ]


def test_classes_stand_worst_first() -> None:
    assert [found.index for found in worst_classes(full_record())] == [0, 3, 1, 2]
    many = full_record(dataset__n_classes=100, dataset__class_names=[],
                       metrics__test__accuracy_per_class=[i / 100 for i in range(100)])  # fmt: skip
    assert [found.index for found in worst_classes(many)] == list(range(10))


def test_many_classes_give_the_largest_flips_and_no_huge_table() -> None:
    matrix = np.eye(100)
    matrix[7, 8], matrix[7, 7] = 0.75, 0.25
    record = full_record(dataset__n_classes=100, dataset__class_names=[],
                         noise__transition_matrix=matrix.tolist())  # fmt: skip
    _, text = page_of(record)
    assert 'class="heat"' not in text
    row = '<th scope="row"><bdi>7</bdi></th><td><bdi>8</bdi></td><td class="num">75.00</td>'
    assert row in text


def test_a_failed_run_shows_its_error() -> None:
    error = {"type": "ValueError", "message": "no such class", "traceback": "line 12\nline 13"}
    page, _ = page_of(make("broken", 0, None, error=error))
    shown = words(page)
    assert "Why it failed" in shown
    assert "ValueError: no such class" in shown
    assert "line 12 line 13" in shown
    assert "did not finish" in shown


def test_what_is_missing_is_said() -> None:
    page, _ = page_of(make("bare"))
    shown = words(page)
    for expected in (
        "The record has no transition matrix",
        "The record has no histogram of scores",
        "The record has no learning curves",
        "The record has no command",
        "The record has no configuration",
        "the decisions sample by sample are not stored beside this record",
        "the predictions are not stored beside this record",
        "No images are shown",
    ):
        assert expected in shown


@pytest.mark.parametrize(
    "bad",
    [
        {"noisy_label": np.full(8, 99)},
        {"clean_label": np.full(8, -1)},
        {"keep": np.ones(3, dtype=bool)},
        {"predicted": np.zeros(2, dtype=np.int64)},
    ],
)
def test_samples_that_do_not_fit_the_record_are_not_counted(bad: dict[str, Any]) -> None:
    from dataclasses import replace

    run = ContributedRun(full_record(), replace(evidence(), **bad))
    page, text = page_of(run.record, RunFiles(contributed=[run]))
    assert "The samples beside this record do not match it" in words(page)
    assert text.count('class="heat"') == 1


def test_damaged_files_are_named_and_stop_nothing(tmp_path: Path) -> None:
    store, record = RunStore(tmp_path), full_record()
    store.write(record)
    (store.folder(record.fingerprint) / "selection.parquet").write_bytes(b"nonsense")
    (store.folder(record.fingerprint) / "gallery.json").write_text('{"format": "other"}')
    page, _ = page_of(record, RunFiles(store, [record]))
    shown = words(page)
    assert "selection.parquet' is damaged" in shown
    assert "gallery.json' is damaged" in shown


def test_curves_have_axes_and_shares_are_in_percent() -> None:
    accuracy, loss = learning_curves({"test_accuracy": [0.5, 0.25, 0.75], "train_loss": [2.0, 0.5]})
    assert accuracy.name == "test accuracy, %"
    assert accuracy.words == ("epoch 1: 50.00 %; epoch 3: 75.00 %; lowest 25.00 %, highest 75.00 %")
    for curve, ticks in ((accuracy, {"40", "60", "1", "2", "3", "epoch"}), (loss, {"1", "2"})):
        assert ticks <= set(re.findall(r"<text[^>]*>([^<]*)", str(curve.svg)))
    assert loss.words.startswith("epoch 1: 2; epoch 2: 0.5")
    (odd,) = learning_curves({"my_rate": [1.5, 2.0]})
    assert "%" not in odd.name


def test_curves_and_histograms_that_cannot_be_drawn_are_left_out() -> None:
    nan = float("nan")
    assert learning_curves({"a": [], "b": [None], "c": [nan]}) == []
    assert histogram({}) is None
    assert histogram({"edges": [0.0, 1.0], "clean": [1.0, 2.0]}) is None
    assert histogram({"edges": [0.0, nan], "clean": [1.0]}) is None
    picture = histogram({"edges": [0.0, 1.0, 2.0], "all": [3.0, 1.0]})
    assert picture is not None
    assert "4 all labels, the middle half between 0 and 1" in picture


# Names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_never_becomes_markup(text: str) -> None:
    for record in hostile(text):
        page, raw = page_of(record)
        assert page.tags.count("script") == 1
        assert {"iframe", "object", "embed", "img"}.isdisjoint(page.tags)
        assert not any(key.startswith("on") for _, key, _ in page.attributes)
        assert not re.search("[\u202a-\u202e\x00-\x08\x1b]", raw)
    run = contributed(full_record(dataset__class_names=[text] * K, curves={text: [1.0]}))
    page, _ = page_of(run.record, RunFiles(contributed=[run]))
    assert {"iframe", "object", "embed", "img"}.isdisjoint(page.tags)


def test_a_page_is_named_by_the_fingerprint_and_stays_in_its_folder(tmp_path: Path) -> None:
    evil = ["../../evil", "/etc/evil", "0123", "", "A" * 64, "0" * 64]
    records = [make(f"s{i}", 0, fingerprint=text) for i, text in enumerate(evil)]
    boards = rank_boards(records)
    names = page_names(boards)
    assert names[RunPlace(boards[0].id, "s5", 0)] == "0" * 12
    assert all(re.fullmatch(r"[0-9a-f]{12}", name) for name in names.values())
    build(content_of(boards), tmp_path / "site", ["html"])
    assert {p.name for p in tmp_path.iterdir()} == {"site"}
    assert len(list((tmp_path / "site" / "runs").iterdir())) == len(records)


def test_two_records_of_one_run_have_two_pages() -> None:
    first = full_record()
    again = full_record(metrics__test__accuracy_last=0.5, finished_at="2026-02-01T00:00:00Z")
    boards = rank_boards([first, again])
    assert sorted(page_names(boards).values()) == ["0123456789ab", "0123456789ab-2"]
    assert len(dict(run_pages(boards, RunFiles()))) == 2


def test_every_link_of_the_board_leads_to_a_page_and_back(tmp_path: Path) -> None:
    build(content_of(rank_boards(sample())), tmp_path, ["html"])
    index = Page((tmp_path / "index.html").read_text())
    links = [link for link in index.values("href") if link.startswith("runs/")]
    assert len(links) == len(sample())
    for link in links:
        back = Page((tmp_path / link).read_text()).values("href")
        targets = [b.partition("#")[2] for b in back if b.startswith("../index.html#")]
        assert len(targets) == 3
        assert set(targets) <= set(index.values("id"))


def test_pages_of_runs_that_are_gone_are_removed(tmp_path: Path) -> None:
    build(content_of(rank_boards(sample())), tmp_path, ["html"])
    mine = tmp_path / "runs" / "notes.html"
    mine.write_text("mine")
    build(content_of(rank_boards(sample()[:2])), tmp_path, ["html"])
    assert len(list((tmp_path / "runs").iterdir())) == 2 + 1
    build(content_of(rank_boards(sample())), tmp_path, ["html"], with_runs=False)
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["notes.html"]
    assert "runs/" not in "".join(Page((tmp_path / "index.html").read_text()).values("href"))


def test_the_images_of_a_local_run_are_on_its_page(tmp_path: Path) -> None:
    store, record = RunStore(tmp_path), full_record()
    store.write(record)
    sample = {"id": "a/<b>.png", "noisy_label": 1, "clean_label": 0, "score": 0.75, "keep": True,
              "png": "iVBORw0KGgo="}  # fmt: skip
    groups = [{"key": "kept-noisy", "n": 30, "samples": [sample]},
              {"key": "dropped-clean", "n": 0, "samples": []}]  # fmt: skip
    file = store.folder(record.fingerprint) / "gallery.json"
    file.write_text(json.dumps({"format": "nlbench-gallery/1", "groups": groups}))
    page, _ = page_of(record, RunFiles(store, [record]))
    assert page.values("alt") == ["a/<b>.png, labelled dog, clean label cat"]
    assert page.values("src") == ["data:image/png;base64,iVBORw0KGgo="]
    assert "Kept, though the label is wrong: 1 of 30" in words(page)
    assert any("img-src data:" in value for value in page.values("content"))
