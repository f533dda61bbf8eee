"""Published numbers: read with care, shown beside the measured ones, never among them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from board_records import make, results_csv
from test_leaderboard_build import HOSTILE, Page, sample

from nlbench.errors import DataError
from nlbench.results.record import RunRecord
from nlbench_leaderboard.escape import clean
from nlbench_leaderboard.formats.as_json import to_json
from nlbench_leaderboard.formats.markdown import to_markdown
from nlbench_leaderboard.page.board_page import to_html
from nlbench_leaderboard.ranking.board import Board
from nlbench_leaderboard.ranking.rank import rank_boards
from nlbench_leaderboard.sources import reported
from nlbench_leaderboard.sources.reported import HEADING, Reported, read_reported, reported_for

GOOD: dict[str, Any] = {
    "source": {"title": "A Study", "venue": "Journal 2025", "arxiv": "2501.00001"},
    "protocol": "all images, best epoch",
    "results": [
        {
            "datasets": ["digits"],
            "noise": "symmetric",
            "rate": 0.4,
            "noise_text": "symmetric 40 %",
            "method": "theirs",
            "network": "ResNet",
            "accuracy_best": 0.9999,
        }
    ],
}


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def changed(**change: Any) -> dict[str, Any]:
    return GOOD | {"results": [GOOD["results"][0] | change]}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Reported]:
    rows = read_reported(write(tmp_path, GOOD))
    monkeypatch.setattr(reported, "shipped", lambda: tuple(rows))
    return rows


def board(records: list[RunRecord]) -> Board:
    (only,) = rank_boards(records)
    return only


def on(dataset: str, kind: str, split: str = "", **params: str) -> Board:
    change = {"dataset__split": split, "noise__nominal_rate": None, "noise__params": params}
    return board([make(dataset__name=dataset, noise__kind=kind, **change)])


# The shipped files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "split", "expected"),
    [
        ("animal10n", "", 0.8885),
        ("clothing1m", "balanced part", 0.7487),
        ("red-mini-imagenet", "red noise 0.2, clean validation as test", 0.6144),
        ("red-mini-imagenet", "red noise 0.4, clean validation as test", 0.5842),
        ("red-mini-imagenet", "red noise 0.6, clean validation as test", 0.5318),
        ("red-mini-imagenet", "red noise 0.8, clean validation as test", 0.4382),
    ],
)
def test_clipcleaners_numbers(dataset: str, split: str, expected: float) -> None:
    rows = reported_for(on(dataset, "none", split))
    (row,) = (row for row in rows if row.result.method.startswith("CLIPCleaner"))
    assert row.result.accuracy_best == expected
    assert row.result.accuracy_last is None
    assert "best epoch on the test set" in row.protocol
    assert "arXiv 2408.10012" in row.source.text


@pytest.mark.parametrize("dataset", ["cifar10", "cifar10n"])
@pytest.mark.parametrize(
    ("label_set", "expected"),
    [
        ("aggre", {"Cross-entropy": (0.9170, 0.8661), "Co-teaching": (0.9193, 0.9181),
                   "DivideMix": (0.9562, 0.9531), "SOP+": (0.9604, 0.9595)}),
        ("random1", {"Cross-entropy": (0.9020, 0.8203), "PES (semi)": (0.9520, 0.9498)}),
        ("worse", {"Cross-entropy": (0.8391, 0.6826), "Co-teaching": (0.8092, 0.7359),
                   "DivideMix": (0.9310, 0.9249), "ELR": (0.8789, 0.8783)}),
    ],
)  # fmt: skip
def test_numbers_on_cifar_n(dataset: str, label_set: str, expected: dict[str, Any]) -> None:
    rows = reported_for(on(dataset, "human", label_set=label_set, label_file="somewhere.pt"))
    numbers = {r.result.method: (r.result.accuracy_best, r.result.accuracy_last) for r in rows}
    assert numbers.items() >= expected.items()
    assert len(rows) == 8
    assert {row.result.n_seeds for row in rows} == {3}


def test_numbers_on_cifar_100n_whether_its_only_label_set_is_named_or_not() -> None:
    rows = reported_for(on("cifar100n", "human"))
    numbers = {r.result.method: (r.result.accuracy_best, r.result.accuracy_last) for r in rows}
    assert len(numbers) == 8
    assert numbers["Cross-entropy"] == (0.6119, 0.4918)
    assert numbers["SOP+"] == (0.6388, 0.6335)
    assert reported_for(on("cifar100n", "human", label_set="noisy")) == rows


@pytest.mark.parametrize(
    ("dataset", "kind", "rate", "expected"),
    [
        ("cifar10", "symmetric-inclusive", 0.2, {"DivideMix": 0.961, "SSR+": 0.967}),
        ("cifar10", "symmetric-inclusive", 0.9, {"Co-teaching+": 0.479, "C2D": 0.936}),
        ("cifar100n", "symmetric-inclusive", 0.8, {"NGC": 0.627, "RRL": 0.577}),
        ("cifar10n", "asymmetric", 0.4, {"ELR+": 0.930, "SSR": 0.951}),
    ],
)
def test_numbers_on_synthetic_noise(
    dataset: str, kind: str, rate: float, expected: dict[str, float]
) -> None:
    rows = reported_for(
        board([make(dataset__name=dataset, noise__kind=kind, noise__nominal_rate=rate)])
    )
    numbers = {r.result.method: r.result.accuracy_best for r in rows if "SSR" in r.source.title}
    assert numbers.items() >= expected.items()
    assert "Co-teaching+" in numbers or kind == "asymmetric"


def test_numbers_at_the_best_and_the_last_epoch() -> None:
    rows = reported_for(board([make(dataset__name="cifar10", noise__kind="symmetric-inclusive")]))
    assert [(r.result.method, r.result.accuracy_best, r.result.accuracy_last) for r in rows] == [
        ("Cross-entropy", 0.799, 0.648),
        ("DivideMix", 0.951, 0.947),
    ]


@pytest.mark.parametrize(
    ("dataset", "method", "expected"),
    [("clothing1m", "IDO", 0.7477), ("clothing1m", "DivideMix", 0.7459),
     ("animal10n", "Nested + Co-teaching", 0.841), ("animal10n", "SELFIE", 0.818)],
)  # fmt: skip
def test_numbers_on_labels_as_shipped(dataset: str, method: str, expected: float) -> None:
    rows = reported_for(on(dataset, "none"))
    assert {r.result.method: r.result.accuracy_best for r in rows}[method] == expected


def test_a_class_map_of_ones_own_is_another_noise() -> None:
    mine = {"noise__params": {"class_map": {"0": 1}}, "noise__kind": "asymmetric"}
    assert reported_for(board([make(dataset__name="cifar10", **mine)])) == ()


@pytest.mark.parametrize(
    "other",
    [
        on("digits", "symmetric"),
        on("cifar10", "human", label_set="random2"),
        on("cifar10", "symmetric"),
        on("animal10n", "symmetric"),
        on("red-mini-imagenet", "none"),
        on("red-mini-imagenet", "none", "red noise 0.5"),
    ],
    ids=lambda board: board.title,
)
def test_no_number_where_data_or_noise_differ(other: Board) -> None:
    assert reported_for(other) == ()


def test_the_last_epoch_never_beats_the_best() -> None:
    results = [row.result for row in reported.shipped()]
    assert len(results) == 129
    for result in results:
        if result.accuracy_best is not None and result.accuracy_last is not None:
            assert result.accuracy_last <= result.accuracy_best


# The loader --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(accuracy_best=99.99), "results.0.accuracy_best.*less than or equal to 1"),
        (changed(accuracy_best="0.9"), "results.0.accuracy_best.*valid number"),
        (changed(accuracy_best=None), "results.0.*accuracy_best, accuracy_last or both"),
        (changed(accuracy_bset=0.9), "results.0.accuracy_bset.*not permitted"),
        (changed(datasets=[]), r"results.0.datasets.*at least 1"),
        (changed(n_seeds=0), "results.0.n_seeds"),
        (changed(method=""), "results.0.method"),
        (GOOD | {"results": []}, "results.*at least 1"),
        (GOOD | {"source": {"title": "A", "venue": "B", "arxiv": "see web"}}, "source.arxiv"),
        ({k: v for k, v in GOOD.items() if k != "protocol"}, "protocol.*required"),
        ([], "the file.*dictionary"),
        (None, "the file.*dictionary"),
    ],
)
def test_a_file_that_lacks_something_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        read_reported(path)
    assert str(path) in str(caught.value)
    assert "Correct the file" in str(caught.value)


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"!!python/object:os.system {}"])
def test_a_file_that_is_no_plain_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"(?s)study\.yaml.*Correct the file"):
        read_reported(path)
    with pytest.raises(DataError, match="nowhere"):
        read_reported(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("rate", "nominal", "expected"),
    [(0.4, 0.4, True), (0.3, 0.1 + 0.2, True), (0.4, 0.2, False), (None, 0.4, False),
     (0.4, None, False), (None, None, True)],
)  # fmt: skip
def test_rates_match(
    tmp_path: Path, rate: float | None, nominal: float | None, expected: bool
) -> None:
    (row,) = read_reported(write(tmp_path, changed(rate=rate)))
    here = board([make(noise__nominal_rate=nominal)])
    assert row.result.matches(here.dataset, here.noise) is expected


# The outputs -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("study")
def test_the_page_shows_them_apart() -> None:
    text = to_html(rank_boards(sample()))
    page = Page(text)
    assert page.tags.count("aside") == 1
    (aside,) = re.findall(r"<aside.*?</aside>", text, re.DOTALL)
    for words in (HEADING, "theirs", "99.99", "A Study, Journal 2025, arXiv 2501.00001",
                  "all images, best epoch", "symmetric 40 %", "not stated"):  # fmt: skip
        assert words in aside
    assert "knn" not in aside
    assert "data-sort" not in aside
    assert "theirs" not in text.replace(aside, "")
    assert page.tags.count("table") == page.tags.count("caption")
    assert aside.count("<th ") == aside.count("scope=")


@pytest.mark.usefixtures("study")
def test_markdown_and_json_show_them_apart() -> None:
    boards = rank_boards(sample())
    above, _, below = to_markdown(boards).partition(f"### {HEADING}")
    assert "theirs" not in above
    assert "| theirs | 99.99 | – | ResNet | A Study, Journal 2025, arXiv 2501.00001 |" in below
    (written,) = json.loads(to_json(boards))["boards"]
    (row,) = written["reported"]
    assert (row["method"], row["accuracy_best"], row["accuracy_last"]) == ("theirs", 0.9999, None)
    assert row["source"]["arxiv"] == "2501.00001"
    assert row["comparable"] is False


def test_measured_rows_stay_as_they_are(
    study: list[Reported], monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = rank_boards(sample())
    shown = (
        results_csv(boards),
        json.loads(to_json(boards)),
        to_html(boards),
        to_markdown(boards),
    )
    monkeypatch.setattr(reported, "shipped", tuple)
    bare = (
        results_csv(boards),
        json.loads(to_json(boards)),
        to_html(boards),
        to_markdown(boards),
    )
    assert shown[0] == bare[0]
    assert not any("theirs" in row["method"] for row in csv.DictReader(io.StringIO(shown[0])))
    assert shown[1]["boards"][0].pop("reported")
    assert bare[1]["boards"][0].pop("reported") == []
    assert shown[1] == bare[1]
    assert re.sub(r"\s*<aside.*?</aside>\s*", "\n", shown[2], flags=re.DOTALL) == bare[2]
    assert shown[3].startswith(bare[3].rstrip())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_a_file_never_becomes_markup(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = changed(method=text, network=text, noise_text=text)
    hostile |= {"protocol": text, "source": {"title": text, "venue": text, "authors": text}}
    rows = read_reported(write(tmp_path, hostile))
    monkeypatch.setattr(reported, "shipped", lambda: tuple(rows))
    boards = rank_boards(sample())
    page = Page(to_html(boards))
    assert page.tags.count("script") == 1
    assert {"img", "iframe"}.isdisjoint(page.tags)
    assert clean(text)[:30] in " ".join(clean(t) for t in page.texts)
    assert not re.search("[\u202a-\u202e\x1b]", "".join(page.texts))
    below = to_markdown(boards).partition(HEADING)[2]
    lines = [line for line in below.splitlines() if line]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {7}
    assert not any(re.search(r"(?<!\\)[<`]", line) for line in lines)
    json.loads(to_json(boards))
