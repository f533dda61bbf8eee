"""`nlbench compare`: two runs, or two files of runs, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow_records import make_metrics, make_record
from typer.testing import CliRunner, Result

from nlbench.cli import app
from nlbench.contribution import ContributedRun, encode
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore

CONFIG = {"selector": {"name": "clip-knn", "params": {"k": 10}}, "seed": 0}


def compare(*words: object, **environment: str) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, words)], env=environment)


def written(folder: Path, name: str, *records: RunRecord) -> Path:
    path = folder / name
    path.write_text(encode([ContributedRun(record) for record in records]))
    return path


def elsewhere(record: RunRecord, **changes: Any) -> RunRecord:
    """Return the record of the same run from a machine with another torch."""
    curves = {"train_loss": [2.0, 1.5, 1.25], "test_accuracy": [0.5, None, 0.5]}
    environment = {"python": "3.12.1", "device": "cpu", "packages": {"torch": "2.15.0"}}
    fields = {"curves": curves, "metrics": make_metrics(f1=0.8), "environment": environment}
    return record.model_copy(update={**fields, **changes})


@pytest.fixture
def here() -> RunRecord:
    packages = {"torch": "2.14.1"}
    environment = {"python": "3.12.1", "device": "cpu", "packages": packages}
    return make_record(environment=environment, config=CONFIG, versions={"selector": 1})


def test_the_same_run_from_two_machines(here: RunRecord, tmp_path: Path) -> None:
    RunStore().write(here)
    theirs = written(tmp_path, "theirs.json", make_record(seed=5), elsewhere(here))
    result = compare(here.fingerprint[:8], theirs, "--json")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["same_run"] is True
    named = {(d["part"], d["name"]): d for d in content["differences"]}
    assert named["environment", "packages.torch"]["second"] == "2.15.0"
    assert named["metrics", "selection.f1"]["delta"] == pytest.approx(0.8 - 0.873333333)
    assert named["curves", "train_loss"]["epoch"] == 3
    assert named["curves", "train_loss"]["delta"] == 0.25
    assert {part for part, _ in named} == {"environment", "metrics", "curves"}


def test_two_runs_differ_in_settings_code_and_labels(here: RunRecord, tmp_path: Path) -> None:
    config = {"selector": {"name": "clip-knn", "params": {"k": 20}}, "seed": 0}
    noise = here.noise.model_copy(update={"sha256": "f" * 64})
    other = elsewhere(
        here, fingerprint="a" * 64, config=config, noise=noise, versions={"selector": 2}
    )
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "record.json").write_text(here.to_json())
    (tmp_path / "two.json").write_text(other.to_json())
    result = compare(tmp_path / "one", tmp_path / "two.json")
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["selector.params.k", "10", "20", "+10"] in lines
    assert ["selector", "1", "2", "+1"] in lines
    assert any(line[:1] == ["sha256"] and line[2].startswith("ffff") for line in lines if line)
    assert any(line[:3] == ["train_loss,", "epoch", "3"] for line in lines)
    assert ["data", "equal"] not in lines  # a part without differences is not listed


def test_equal_records_are_said_to_be(here: RunRecord, tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", here)
    result = compare(path, path)
    assert "Equal in everything but times." in result.stdout
    assert "test.accuracy_last" in result.stdout  # the headline is shown all the same


def test_two_files_are_compared_by_fingerprint(here: RunRecord, tmp_path: Path) -> None:
    equal, alone, alien = (make_record(seed=seed) for seed in (1, 2, 3))
    later = equal.model_copy(update={"started_at": "2027-01-01T00:00:00+00:00"})
    first = written(tmp_path, "a.json", here, equal, alone)
    second = written(tmp_path, "b.json", elsewhere(here), later, alien)
    runs = json.loads(compare(first, second, "--json").stdout)["runs"]
    outcome = {run["fingerprint"]: run for run in runs}
    assert outcome[equal.fingerprint]["outcome"] == "equal"
    assert outcome[alone.fingerprint]["outcome"] == "only in the first"
    assert outcome[alien.fingerprint]["outcome"] == "only in the second"
    assert outcome[here.fingerprint]["outcome"] == "differs"
    assert outcome[here.fingerprint]["selection_f1"] == pytest.approx(-0.0733, abs=1e-3)
    assert outcome[here.fingerprint]["first_epoch"] == 3
    text = compare(first, second).stdout
    assert "1 differs" in text
    assert equal.fingerprint[:12] not in text  # what is equal is counted, not listed


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("no-such-file.json", "is not an existing file, nor a run fingerprint"),
        ("", "is not an existing file, nor a run fingerprint"),
        ("abc", "no run matches 'abc'"),
    ],
)
def test_what_is_no_run_is_answered(word: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", make_record())
    result = compare(path, word)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_prefix_of_several_runs_is_answered() -> None:
    for seed in range(30):
        RunStore().write(make_record(seed=seed))
    prefix = make_record(seed=0).fingerprint[:1]
    result = compare(prefix, prefix)
    assert result.exit_code == 2
    assert "give a longer prefix" in result.stderr


def test_a_run_that_the_other_file_lacks_is_answered(tmp_path: Path) -> None:
    one = written(tmp_path, "one.json", make_record(seed=9))
    many = written(tmp_path, "many.json", make_record(seed=1), make_record(seed=2))
    result = compare(one, many)
    assert result.exit_code == 2
    assert "no run matches" in result.stderr


def test_a_pipe_cuts_nothing_and_a_narrow_terminal_folds(
    here: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # set where tests run in parallel
    config = {"selector": {"name": "clip-knn", "a_setting_with_a_rather_long_name" * 3: 1}}
    first = written(tmp_path, "a.json", here)
    second = written(tmp_path, "b.json", here.model_copy(update={"config": config}))
    assert "selector." + "a_setting_with_a_rather_long_name" * 3 in compare(first, second).stdout
    narrow = compare(first, second, COLUMNS="40")
    assert narrow.exit_code == 0
    table = narrow.stdout.split("configuration")[1]
    assert max(map(len, table.splitlines())) <= 40
