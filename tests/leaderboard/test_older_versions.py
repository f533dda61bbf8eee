"""Runs of older versions are listed apart, with one line; two records of one run are news."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from board_records import make, only, row_of
from rich.console import Console
from test_leaderboard_build import Page

from nlbench.config.resolve import resolve
from nlbench.contribution import installed_versions, installed_versions_of
from nlbench.plugins import registry
from nlbench.results.record import RunRecord
from nlbench_leaderboard.build import content_of
from nlbench_leaderboard.formats.as_json import to_json
from nlbench_leaderboard.formats.latex import to_latex
from nlbench_leaderboard.formats.markdown import to_markdown
from nlbench_leaderboard.formats.tables import to_csv
from nlbench_leaderboard.formats.terminal import summary_table
from nlbench_leaderboard.page.board_page import to_html
from nlbench_leaderboard.ranking.again import sweep_command
from nlbench_leaderboard.ranking.rank import rank_boards

NOW = {"selector": 1, "trainer": 1, "training": 1}
LATER = "2026-02-01T00:00:00Z"


def runs(name: str, accuracy: float = 0.8, n: int = 2, **change: Any) -> list[RunRecord]:
    command = f"nlbench run --selector {name} --dataset digits --noise symmetric --noise-rate 0.4"
    return [
        make(name, seed, accuracy, command=f"{command} --seed {seed}", **change)
        for seed in range(n)
    ]


def standing(records: list[RunRecord], installed: Any = None) -> dict[str, tuple[Any, str]]:
    (board,) = rank_boards(records, installed=installed)
    return {row.name: (row.rank, row.older) for row in board.rows}


# Which runs are current --------------------------------------------------------------------------


def test_an_older_version_of_a_selector_is_not_ranked_and_has_a_row_of_its_own() -> None:
    new = runs("a", 0.6, versions={**NOW, "selector": 2}, fingerprint="new")
    assert standing([*runs("a", 0.9), *new, *runs("b", 0.7)]) == {
        "b": (1, ""),
        "a": (2, ""),
        "a [selector 1]": (None, "selector 1 (now 2)"),
    }


def test_a_selectors_version_says_nothing_about_other_selectors() -> None:
    both = [*runs("a"), *runs("b", versions={**NOW, "selector": 7})]
    assert {older for _, older in standing(both).values()} == {""}


@pytest.mark.parametrize("version", [7, "code:" + "f" * 64])
def test_a_trainers_version_says_nothing_about_other_trainers(version: int | str) -> None:
    plain = runs("a", trainer={"name": "cross-entropy"})
    own = {"method": "my-loss", "trainer": {"name": "my-loss"}}
    other = runs("none", versions={**NOW, "trainer": version}, **own)
    assert {older for _, older in standing([*plain, *other]).values()} == {""}
    newer = runs("b", versions={**NOW, "trainer": 2}, trainer={"name": "cross-entropy"})
    assert standing([*plain, *other, *newer])["a"] == (None, "trainer 1 (now 2)")


def test_every_other_part_counts_for_the_whole_board() -> None:
    new = runs("b", versions={**NOW, "training": 2})
    assert standing([*runs("a"), *new]) == {"b": (1, ""), "a": (None, "training 1 (now 2)")}


def test_of_two_hashes_that_of_the_record_that_ended_last_is_current() -> None:
    first, last = "code:" + "f" * 64, "code:" + "0" * 64
    old = runs("a", versions={**NOW, "selector": first})
    new = runs("a", versions={**NOW, "selector": last}, finished_at=LATER, fingerprint="new")
    assert standing([*new, *old]) == {
        "a": (1, ""),
        "a [selector ffffffff]": (None, "selector ffffffff (now 00000000)"),
    }


def test_a_part_that_was_not_recorded_is_older() -> None:
    less = runs("a", versions={"selector": 1, "trainer": 1}, fingerprint="less")
    assert standing([*less, *runs("a")])["a [training not recorded]"][0] is None


def test_runs_without_versions_are_never_ranked_even_where_no_run_has_any() -> None:
    before = {"versions": {}}
    alone = only([*runs("a", **before), *runs("b", **before)])
    assert {row.rank for row in alone.rows} == {None}
    assert alone.main_rows == alone.rows
    assert alone.seeds == (0, 1)
    both = standing([*runs("a", **before), *runs("a", fingerprint="new")])
    assert both == {"a": (1, ""), "a [no versions recorded]": (None, "no versions recorded")}


def test_what_is_installed_counts_as_well() -> None:
    records = runs("a")
    newer = {r.fingerprint: {**NOW, "trainer": 3} for r in records}
    assert standing(records, newer) == {"a": (None, "trainer 1 (now 3)")}
    older = {r.fingerprint: {**NOW, "trainer": 0} for r in records}
    assert standing(records, older) == {"a": (1, "")}
    code = runs("p", versions={**NOW, "selector": "code:1"})
    edited = {r.fingerprint: {**NOW, "selector": "code:2"} for r in code}
    assert standing(code, edited) == {"p": (None, "selector 1 (now 2)")}


@pytest.mark.parametrize("key", ["encoder", "teacher"])
def test_different_encoders_of_selectors_are_not_compared(key: str) -> None:
    def on(encoder: str, version: int) -> list[RunRecord]:
        return runs(f"on-{encoder}", versions={**NOW, f"selector_{key}": version},
                    selector__params={key: f"{encoder}:model"})  # fmt: skip

    assert {older for _, older in standing([*on("timm", 1), *on("open_clip", 4)]).values()} == {""}


def test_a_hash_of_prompts_is_compared_like_a_hash_of_code() -> None:
    old, new = "text:" + "a" * 64, "text:" + "b" * 64
    records = [*runs("a", versions={**NOW, "prompts": old}),
               *runs("b", versions={**NOW, "prompts": new}, finished_at=LATER)]  # fmt: skip
    assert standing(records)["a"] == (None, "prompts aaaaaaaa (now bbbbbbbb)")


def test_old_seeds_and_old_labels_do_not_touch_the_current_rows() -> None:
    old = runs("a", n=5, versions={**NOW, "noise": 1}, noise__sha256="old labels")
    new = runs("a", n=2, versions={**NOW, "noise": 2}, fingerprint="new")
    board = only([*old, *new])
    current = row_of(only(new), "a")
    mine = next(row for row in board.rows if not row.older)
    assert (mine.rank_text, mine.n_expected, mine.missing_seeds) == ("1", 2, ())
    assert mine.stats == current.stats
    assert board.seeds == (0, 1)
    assert board.count("excluded") == 0


def test_an_older_reference_is_no_reference() -> None:
    old = runs("none", 0.5, versions={**NOW, "training": 1})
    board = only([*old, *runs("a", versions={**NOW, "training": 2})])
    assert board.bound("lower") is None
    assert board.comparisons == ()


# The line ----------------------------------------------------------------------------------------


def test_one_line_says_how_many_of_which_parts_and_what_to_do() -> None:
    board = only([*runs("a"), *runs("b", versions={**NOW, "training": 2})])
    assert board.older is not None
    assert board.older.line == (
        "2 of 4 runs are from older versions (training): not ranked. Run them again to rank them: "
        "nlbench sweep --dataset digits --noise symmetric:0.4 --selector a --seeds 0-1"
    )
    before = only(runs("a", versions={}))
    assert before.older is not None
    assert before.older.line.startswith(
        "2 of 2 runs are from before component versions were recorded: not ranked. Run them again"
    )
    again = only([*runs("a", versions={}), *runs("a", fingerprint="new")])
    assert again.older is not None
    assert again.older.line.endswith("All of these have been run again with the current versions.")
    assert only(runs("a")).older is None


@pytest.mark.parametrize(
    "commands",
    [
        [""],
        ["nlbench run --selector 'a"],
        ["rm -rf / --seed 0"],
        ["nlbench run --seed 0 --set trainer.epochs=3", "nlbench run --seed 1"],
        ["nlbench run --selector a --seed 0 --set selector.k=3",
         "nlbench run --selector b --seed 0 --set selector.k=3"],
        ["nlbench run --seed x"],
    ],
)  # fmt: skip
def test_runs_that_one_sweep_cannot_repeat_have_no_sweep(commands: list[str]) -> None:
    assert sweep_command([make(command=command) for command in commands]) is None


def test_the_sweep_keeps_settings_and_quotes_names() -> None:
    command = "nlbench run --selector 'a b' --noise none --seed 3 --set data.path='my images'"
    assert sweep_command([make(command=command)]) == (
        "nlbench sweep --set 'data.path=my images' --noise none --selector 'a b' --seeds 3"
    )


def shown(records: list[RunRecord]) -> dict[str, str]:
    """Return the board in every format that people and programs read."""
    content = content_of(rank_boards(records))
    console = Console(width=1000, file=io.StringIO(), color_system=None)
    console.print(summary_table(content.boards))
    page = " ".join(Page(to_html(content.boards)).texts)
    return {
        "page": page,
        "markdown": to_markdown(content.boards).replace("\\", ""),
        "terminal": console.file.getvalue(),  # type: ignore[attr-defined]
        "json": to_json(content.boards),
        "csv": to_csv(content.tables["boards"]),
        "latex": to_latex(content.boards),
    }


@pytest.mark.parametrize("older_only", [True, False])
def test_every_format_has_the_line_once_per_board(older_only: bool) -> None:
    records = runs("old", versions={})
    records += [] if older_only else runs("new")
    for name, text in shown(records).items():
        assert text.count("before component versions were recorded: not ranked") == 1, name
        assert ("old" in text) or name in ("markdown", "terminal", "latex"), name


def test_older_rows_are_listed_apart_on_the_page_and_whole_where_nothing_is_current() -> None:
    apart = to_html(rank_boards([*runs("old", versions={}), *runs("new")]))
    main, _, older = apart.partition('<details class="older">')
    assert 'id="digits-symmetric-0.40-v1--old"' not in main
    assert 'id="digits-symmetric-0.40-v1--old"' in older
    alone = to_html(rank_boards(runs("old", versions={})))
    assert '<details class="older">' not in alone
    assert 'id="digits-symmetric-0.40-v1--old"' in alone


# The versions that are installed -----------------------------------------------------------------


def recorded(selector: str = "small-loss", **versions: Any) -> RunRecord:
    """Return a record as a run of a built-in selector leaves it."""
    config = resolve(selector=selector)
    return make(selector, 0, fingerprint=config.fingerprint, config=config.canonical(),
                versions={**config.versions, **versions})  # fmt: skip


def test_a_run_of_today_has_todays_versions() -> None:
    record = recorded()
    assert installed_versions(record) == record.versions
    assert standing([record], installed_versions_of([record])) == {"small-loss": (1, "")}


def test_a_raised_version_makes_a_board_of_old_records_unranked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = recorded()
    selector = registry.selector_class("small-loss")
    raised = selector.version + 1
    monkeypatch.setattr(selector, "version", raised)
    assert standing([record], installed_versions_of([record])) == {
        "small-loss": (None, f"selector {raised - 1} (now {raised})")
    }


def test_prompts_of_ones_own_do_not_hide_the_versions_of_the_rest() -> None:
    record = recorded()
    protocol = {**record.config["protocol"], "prompts": "sha256:" + "0" * 64}
    own = record.model_copy(update={"config": {**record.config, "protocol": protocol}})
    rest = {part: version for part, version in record.versions.items() if part != "prompts"}
    assert installed_versions(own) == rest


def test_what_is_not_installed_or_not_readable_has_no_versions() -> None:
    record = recorded()
    unknown = {**record.config, "selector": {"name": "never-heard-of", "params": {}}}
    assert installed_versions(record.model_copy(update={"config": unknown})) is None
    assert installed_versions(record.model_copy(update={"config": {"a": 1}})) is None
    assert installed_versions_of([make("a")]) == {}


# Records of one run that differ ------------------------------------------------------------------


def on(torch: str, cpu: str) -> dict[str, Any]:
    return {"environment": {"cpu": cpu, "device": "cpu, 2 threads", "packages": {"torch": torch}}}


def twins() -> list[RunRecord]:
    return [
        make("a", 1, 0.975, fingerprint="f" * 64, **on("2.14.1", "EPYC")),
        make("a", 1, 0.9556, fingerprint="f" * 64, finished_at=LATER, **on("2.15.0", "Xeon")),
    ]


def test_two_records_of_one_run_that_differ_are_announced_everywhere() -> None:
    for name, text in shown(twins()).items():
        if name == "latex":
            continue
        for words in ("2.14.1", "2.15.0", "EPYC", "Xeon", "nlbench compare", "--rerun"):
            assert words in text, (name, words)
        assert "0.9556" in text or "95.5600" in text, name
    (one,) = only(twins()).disagreements
    assert (one.row, one.seed, one.number) == ("a", 1, "Test accuracy, last epoch")
    assert [record.value for record in one.records] == [0.975, 0.9556]
    content = json.loads(to_json(rank_boards(twins())))
    assert content["boards"][0]["disagreements"][0]["fingerprint"] == "f" * 64
    (line,) = csv.DictReader(io.StringIO(shown(twins())["csv"]))
    assert line["n_disagreements"] == "1"


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"metrics__selection__auroc": 0.5}, "AUROC"),
        ({"metrics__selection__auroc": None}, "AUROC"),
        ({"metrics__test__accuracy_per_class": [0.5, 0.5]}, "Test accuracy of class 0"),
        ({"metrics__test__other_tests": {"v2": 0.1}}, "Test accuracy on v2"),
        ({"metrics__selection__worst_class_recall": 0.1}, "Recall of the worst class"),
    ],
)
def test_whatever_number_differs_is_named(change: dict[str, Any], number: str) -> None:
    per_class = {"metrics__test__accuracy_per_class": [0.9, 0.9],
                 "metrics__test__other_tests": {"v2": 0.9}}  # fmt: skip
    other = make("a", finished_at=LATER, **{**per_class, **change})
    (one,) = only([make("a", **per_class), other]).disagreements
    assert one.number == number


def test_what_is_equal_but_for_rounding_or_is_another_run_is_no_news() -> None:
    close = make("a", 0, 0.9 + 1e-9, finished_at=LATER)
    assert only([make("a", 0, 0.9), close]).disagreements == ()
    other = make("a", 0, 0.5, fingerprint="other", finished_at=LATER)
    assert only([make("a", 0, 0.9), other]).disagreements == ()
    failed = make("a", 0, None, finished_at=LATER)
    assert only([make("a", 0, 0.9), failed]).disagreements == ()


def test_of_many_the_first_are_listed_and_the_others_counted() -> None:
    many = [
        make("a", seed, accuracy, finished_at=when)
        for seed in range(9)
        for accuracy, when in ((0.9, ""), (0.8, LATER))
    ]
    text = shown(many)["markdown"]
    assert text.count("records of one run differ") == 5
    assert "4 more runs with records that differ" in text


# Noisy test labels -------------------------------------------------------------------------------


def test_accuracy_on_noisy_test_labels_is_marked_in_every_format() -> None:
    noisy = runs("a", dataset__test_labels_are_clean=False)
    for name, text in shown(noisy).items():
        marked = 'against_noisy_labels": true' if name == "json" else "against noisy labels"
        assert marked in text, name
    for name, text in shown(runs("a")).items():
        assert "against noisy labels" not in text, name
        assert 'against_noisy_labels": true' not in text, name
