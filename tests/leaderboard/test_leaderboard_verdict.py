"""What is separable from the best, what is unfinished; nothing unequal is ever compared."""

from __future__ import annotations

import re
from typing import Any

import pytest
from board_records import make, only, row_of

from nlbench.results.record import RunRecord
from nlbench_leaderboard.formats.headline import headline, rule_line
from nlbench_leaderboard.ranking.rank import rank_boards

WOBBLE = (0.01, -0.01, 0.02, -0.02, 0.0, 0.01, -0.02, 0.01)


def seeds(name: str, level: float, n: int = 5, step: int = 1, **change: Any) -> list[RunRecord]:
    return [make(name, s, level + WOBBLE[s * step % 8], **change) for s in range(n)]


def contest(n: int = 5) -> list[RunRecord]:
    """Return a best row, one close to it and one far below; their wobbles differ."""
    return [
        *seeds("best", 0.92, n),
        *seeds("close", 0.91, n, 3),
        *seeds("far", 0.5, n, 5),
        *seeds("none", 0.4, n, 7),
        *seeds("oracle", 0.97, n, selector__is_bound=True),
    ]


def verdicts(records: list[RunRecord]) -> dict[str, str]:
    return {row.label: row.verdict for row in only(records).rows}


def test_what_the_test_cannot_tell_apart_is_not_separable_and_the_rule_is_said() -> None:
    board = only(contest())
    assert verdicts(contest()) == {
        "best": "best", "close": "not separable", "far": "worse", "none": "", "oracle": "",
    }  # fmt: skip
    said = headline(board)
    assert said.best == "Best: best, 92.0 %."
    assert re.fullmatch(r"It is 1.8 points \(−\d.\d to \d.\d\) above the next, close", said.lead)
    assert said.luck == "may be luck"
    assert re.fullmatch(r"\(p = 0.\d+, n=5\)", said.evidence)
    assert said.others == ""
    assert said.gap == "It closes 91 % of the gap from none (40.2 %) to oracle (97.0 %)."
    assert "Holm-corrected over the 2 comparisons with the best only" in rule_line(board)
    assert "corrected over the 3 comparisons with none" in rule_line(board)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_with_few_seeds_nothing_is_called_not_separable(n: int) -> None:
    board = only(contest(n))
    assert "not separable" not in {row.verdict for row in board.rows}
    said = headline(board)
    assert (said.luck, said.evidence) == ("too few seeds to tell", f"(n={n}; run at least 5)")
    assert row_of(board, "close").verdict == "not tested"


def test_a_single_seed_says_that_nothing_was_tested() -> None:
    board = only(contest(1))
    assert {row.verdict for row in board.rows} == {"", "best", "not tested"}
    assert headline(board).luck == "too few seeds to tell"
    assert rule_line(board) == ""
    assert all(c.t_p is None for c in board.comparisons)


def test_a_clear_difference_is_found_with_few_seeds_too() -> None:
    records = [*seeds("best", 0.9, 4), *seeds("close", 0.89, 4, 3), *seeds("far", 0.1, 4, 3)]
    assert verdicts(records)["far"] == "worse"
    assert headline(only(records)).others == "Significantly worse even so: far."


def test_rows_that_lack_seeds_are_compared_and_not_marked() -> None:
    records = [*contest(), make("partial", 0, 0.99), make("partial", 1, 0.99)]
    board = only(records)
    assert row_of(board, "partial").verdict == ""
    assert row_of(board, "best").verdict == "best"
    assert {c.n for c in board.comparisons if "partial" in (c.first, c.second)} == {2}


def test_the_same_difference_on_every_seed_is_said_to_be_not_tested() -> None:
    board = only([*seeds("best", 0.92), *seeds("below", 0.91), *seeds("close", 0.915, step=3)])
    assert row_of(board, "below").verdict == "not tested"
    assert headline(board).luck == "not tested"
    assert headline(board).evidence == "(the same on every seed, n=5)"
    assert headline(board).others == "Not separable from the best either: close."


def test_equal_means_are_equally_best() -> None:
    records = [*seeds("a", 0.9), *seeds("b", 0.9), *seeds("far", 0.5, step=3)]
    assert verdicts(records) == {"a": "best", "b": "best", "far": "worse"}
    said = headline(only(records))
    assert said.best == "Best, with the same mean: a and b, 90.0 %."
    assert said.lead.startswith("They are 40.8 points (")
    assert said.luck == "not luck"


def test_a_lead_that_the_test_finds_is_no_luck() -> None:
    said = headline(only([*seeds("best", 0.92), *seeds("far", 0.5, step=5)]))
    assert said.best == "Best: best, 92.0 %."
    assert said.lead.startswith("It is 41.0 points (")
    assert (said.luck, said.others) == ("not luck", "")
    assert said.answer.endswith(", far: not luck (p < 0.001, n=5).")


def test_one_method_alone_has_no_verdict() -> None:
    board = only([*seeds("a", 0.9), *seeds("none", 0.5)])
    assert row_of(board, "a").verdict == ""
    assert headline(board).best == "Only one method has every seed: a, 90.0 %."
    assert [(c.first, c.second) for c in board.comparisons] == [("a", "none")]


def test_the_best_has_every_seed_and_it_is_said_where_others_lack_some() -> None:
    said = headline(only([make("a", 0, 0.9), make("b", 1, 0.8)]))
    assert said.best == "Highest mean so far: a, 90.0 %, with 1 of 2 seeds."
    ahead = [*contest(), make("ahead", 0, 0.99)]
    assert headline(only(ahead)).best == "Best of those with all 5 seeds: best, 92.0 %."
    assert headline(only([make("a", 0, None)])).text == "No method has a finished run."


def test_the_oracle_is_in_no_pair() -> None:
    names = {name for c in only(contest()).comparisons for name in (c.first, c.second)}
    assert names == {"best", "close", "far", "none"}


def test_excluded_labels_are_in_no_pair() -> None:
    records = [r for r in contest() if (r.selector.name, r.seed) != ("far", 0)]
    records.append(make("far", 0, 1.0, noise__sha256="other labels"))
    far = [c for c in only(records).comparisons if "far" in (c.first, c.second)]
    assert {c.n for c in far} == {4}
    assert all(abs(c.difference or 0) < 0.6 for c in far)


@pytest.mark.parametrize(
    "change",
    [{"protocol__sha256": "p2"}, {"noise__params": {"a": 1}}, {"dataset__fingerprint": "x"}],
)
def test_what_is_not_comparable_is_in_no_pair(change: dict[str, Any]) -> None:
    boards = rank_boards([*contest(), *seeds("other", 0.97, **change)])
    for board in boards:
        labels = {row.label for row in board.rows}
        pairs = {name for c in board.comparisons for name in (c.first, c.second)}
        assert pairs <= labels
        assert ("other" in labels) == (labels == {"other"})


# Interrupted, mixed ------------------------------------------------------------------------------


def test_a_run_whose_process_has_ended_is_interrupted_and_one_that_lives_is_running() -> None:
    lives = make("close", 5, status="running", fingerprint="lives", finished_at="")
    gone = make("far", 5, status="running", fingerprint="gone", finished_at="")
    (board,) = rank_boards([*contest(), lives, gone], killed={"gone"})
    assert "seed 5 running: not finished yet" in row_of(board, "close").notes
    assert any(
        n.startswith("seed 5 interrupted: its process has ended")
        for n in row_of(board, "far").notes
    )
    assert (board.count("running"), board.count("interrupted")) == (1, 1)
    # A seed that nobody has finished takes no row's completeness.
    assert board.seeds == (0, 1, 2, 3, 4)
    assert row_of(board, "best").verdict == "best"
    (alone,) = rank_boards([gone], killed={"gone"})
    assert alone.rows[0].status == "interrupted"


def test_a_run_that_was_begun_again_replaces_its_failure() -> None:
    failed = make("a", 0, None)
    again = make("a", 0, status="running", finished_at="", started_at="2026-01-02T00:00:00Z")
    assert only([failed, again]).rows[0].status == "running"


def test_runs_made_on_other_devices_or_versions_are_pointed_out() -> None:
    def on(device: str, torch: str) -> dict[str, Any]:
        return {"environment": {"device": device, "packages": {"torch": torch}}}

    mixed = [make("a", 0, **on("cpu", "2.6")), make("b", 0, **on("cuda", "2.7"))]
    notes = only([*mixed, make("c", 0, **on("cpu", "2.6"))]).notes
    assert "Made with different devices: cpu (2 runs), cuda (1 run)." in notes
    assert "Made with different versions of torch: 2.6 (2 runs), 2.7 (1 run)." in notes
    assert only([make("a", 0, **on("cpu", "2.6")), make("b")]).notes == ()


def test_a_board_of_equal_kept_share_says_so() -> None:
    (note,) = only([make("a", protocol__settings={"equal_keep": 0.5})]).notes
    assert note.startswith("Equal kept share: every method trains on the 50 %")
