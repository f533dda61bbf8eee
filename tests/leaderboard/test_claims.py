"""What nobody can check of a contributed run is not shown as checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nlbench.contribution import ContributedRun, backed_runs, read_runs
from nlbench_leaderboard.build import build, content_of
from nlbench_leaderboard.ranking.rank import rank_boards
from nlbench_leaderboard.sources.run_files import RunFiles

FILE = Path(__file__).parents[2] / "leaderboard" / "records" / "digits-symmetric.json"


@pytest.fixture(scope="module")
def runs() -> list[ContributedRun]:
    every = read_runs(FILE)
    name = every[0].record.method
    return [run for run in every if run.record.method == name]


def pages(folder: Path, runs: list[ContributedRun], local: bool = False) -> tuple[str, str]:
    """Return the page of the board and of one run."""
    records = [run.record for run in runs]
    files = RunFiles(None, records if local else (), () if local else runs)
    build(content_of(rank_boards(records), (), files), folder, ["html"])
    one = sorted((folder / "runs").glob("*.html"))[0]
    return (folder / "index.html").read_text(), one.read_text()


def unknown_noise(run: ContributedRun) -> ContributedRun:
    noise = run.record.noise.model_copy(update={"kind": "of-mars"})
    return replace(run, record=run.record.model_copy(update={"noise": noise}))


def test_seconds_and_memory_of_contributed_runs_are_claimed(
    runs: list[ContributedRun], tmp_path: Path
) -> None:
    page, run_page = pages(tmp_path / "theirs", runs)
    assert page.count(">Cost, claimed</th>") == page.count('class="results"') > 0
    assert page.count("the contributor's claim") == page.count("<tbody class=") > 0
    assert "Cost, claimed by the contributor" in run_page
    assert "not checked" not in page.lower().replace("<dt>not checked</dt>", "")
    page, run_page = pages(tmp_path / "ours", runs, local=True)
    assert "Cost, claimed" not in page
    assert "<h3>Cost</h3>" in run_page


@pytest.mark.parametrize(
    ("change", "what", "reason"),
    [
        (unknown_noise, "noise", "no noise &#39;of-mars&#39; is installed here"),
        (lambda run: replace(run, evidence=None), "results", "the file has no samples of the run"),
        (
            lambda run: replace(run, evidence=replace(run.evidence, predicted=None)),
            "test accuracy",
            "the file has no predictions of the run",
        ),
        (
            lambda run: replace(
                run,
                record=run.record.model_copy(
                    update={"versions": {**run.record.versions, "selector": "code:0123"}}
                ),
            ),
            "selector",
            "in the record",
        ),
    ],
)
def test_what_cannot_be_checked_here_is_visible(
    runs: list[ContributedRun], tmp_path: Path, change: object, what: str, reason: str
) -> None:
    page, run_page = pages(tmp_path, [change(run) for run in runs])  # type: ignore[operator]
    if what in ("noise", "selector"):  # an alarm stands in every row that it is of
        assert f'<span class="badge below">not checked: {what}</span>' in page
        assert f"not checked here: {what}, since" in page
    else:
        assert f"Not checked here, of all these rows: {what}, since" in page
        assert "badge" not in page.partition(f"not checked: {what}")[0][-30:]
    assert reason in page
    assert f"Not checked here: {what}, since" in run_page
    assert reason in run_page


def test_what_not_every_row_lacks_is_said_in_its_row(tmp_path: Path) -> None:
    every = read_runs(FILE)
    names = sorted({run.record.method for run in every})[:2]
    few = [run for run in every if run.record.method in names]
    mixed = [replace(r, evidence=None) if r.record.method == names[0] else r for r in few]
    page, _ = pages(tmp_path, mixed)
    assert page.count('<span class="badge">not checked: results</span>') == page.count(
        'class="results"'
    )
    assert "of all these rows" not in page
    ours = [run.record for run in few if run.record.method == names[1]]
    theirs = [run for run in few if run.record.method == names[0]]
    files = RunFiles(None, ours, theirs)
    records = [run.record for run in few]
    build(content_of(rank_boards(records), (), files), tmp_path / "half", ["html"])
    page = (tmp_path / "half" / "index.html").read_text()
    assert page.count("<small>claimed</small>") == 2 * page.count('class="results"')
    assert "Cost, claimed" not in page


def test_a_run_without_samples_replaces_none_that_has_them(runs: list[ContributedRun]) -> None:
    record = runs[0].record
    later = record.model_copy(update={"finished_at": "2026-11-01T00:00:00+00:00"})
    kept, said = backed_runs([runs[0], ContributedRun(later)])
    assert kept == [runs[0]]
    assert record.fingerprint[:12] in said[0]
    assert backed_runs([ContributedRun(later)], [record.fingerprint])[0] == []
