"""Runs of another machine in this home: taken whole, checked, and never at a loss."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.contribution import evidence_of
from nlbench.results.record import RunRecord
from nlbench.results.samples import least_trusted
from nlbench.results.store import RunStore


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another machine's home: one run that was finished there."""
    home = tmp_path_factory.mktemp("other")
    nlbench.run(
        "random", noise="asymmetric", noise_rate=0.4, seed=0, epochs=2, track=False, home=home
    )
    return home


@pytest.fixture
def record(other: Path) -> RunRecord:
    (record,), _ = RunStore(other).records()
    return record


def take(source: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["import", str(source)])
    return result.exit_code, result.output


def export(home: Path, out: Path, *more: str) -> Path:
    words = ["export", "--all", "--out", str(out), *more]
    result = CliRunner().invoke(app, words, env={"NLBENCH_HOME": str(home)})
    assert result.exit_code == 0, result.output
    return out


def arrays(home: Path, fingerprint: str) -> dict[str, object]:
    evidence = evidence_of(RunStore(home).folder(fingerprint))
    return {} if evidence is None else {k: v.tolist() for k, v in evidence.arrays().items()}


def test_a_home_comes_whole_and_counts_as_finished(other: Path, record: RunRecord) -> None:
    assert take(other) == (0, "1 run new here\nNext: nlbench leaderboard (and nlbench sync, for "
                              "MLflow)\n")  # fmt: skip
    store = RunStore()
    assert store.read(record.fingerprint) == record
    name = "selection.parquet"
    ids = [pq.read_table(RunStore(home).folder(record.fingerprint) / name)["id"]
           for home in (other, store.home)]  # fmt: skip
    assert ids[0] == ids[1]
    again = nlbench.run("random", noise="asymmetric", noise_rate=0.4, seed=0, epochs=2, track=False)
    assert again == record, "it was run again"
    assert "1 run already here" in take(other)[1]


def test_a_file_brings_its_samples(other: Path, record: RunRecord, tmp_path: Path) -> None:
    code, output = take(export(other, tmp_path / "mine.json"))
    assert code == 0, output
    home = RunStore().home
    assert arrays(home, record.fingerprint) == arrays(other, record.fingerprint) != {}
    assert len(least_trusted(RunStore().folder(record.fingerprint), 3)) == 3


def test_samples_are_added_and_never_taken_away(
    other: Path, record: RunRecord, tmp_path: Path
) -> None:
    bare = export(other, tmp_path / "bare.json", "--no-evidence")
    assert take(bare)[0] == 0
    home = RunStore().home
    assert arrays(home, record.fingerprint) == {}
    assert "1 run here without samples, which are added now" in take(other)[1]
    full = arrays(home, record.fingerprint)
    assert full == arrays(other, record.fingerprint)
    assert "1 run already here" in take(bare)[1]
    assert arrays(home, record.fingerprint) == full


def test_other_numbers_leave_what_is_here(other: Path, record: RunRecord) -> None:
    assert record.metrics is not None
    test = record.metrics.test.model_copy(update={"accuracy_last": 0.125})
    mine = record.model_copy(update={"metrics": record.metrics.model_copy(update={"test": test})})
    store = RunStore()
    store.folder(record.fingerprint).mkdir(parents=True)
    store.write(mine)
    code, output = take(other)
    assert code == 0
    assert f"differs: {record.fingerprint[:12]} random" in output
    assert store.read(record.fingerprint) == mine


def test_a_run_under_way_here_is_left_alone(other: Path, record: RunRecord) -> None:
    with RunStore().claim(record.fingerprint):
        assert "under way here" in take(other)[1]
    assert RunStore().read(record.fingerprint) is None


def test_a_file_with_a_lie_is_refused_whole(other: Path, tmp_path: Path) -> None:
    file = export(other, tmp_path / "mine.json")
    content = json.loads(file.read_text())
    content["runs"][0]["record"]["metrics"]["test"]["accuracy_last"] = 0.999
    file.write_text(json.dumps(content))
    code, output = take(file)
    assert code == 3
    assert "refused: run " in output
    assert RunStore().records() == ([], [])


def test_a_wrong_run_of_a_home_is_left_out_before_it_names_a_folder(
    other: Path, record: RunRecord, tmp_path: Path
) -> None:
    home = tmp_path / "copy"
    for name in ("good", "wrong"):
        (home / "runs" / name).mkdir(parents=True)
    (home / "runs/good/record.json").write_text(record.to_json())
    wrong = record.model_copy(update={"fingerprint": "../../escaped"})
    (home / "runs/wrong/record.json").write_text(wrong.to_json())
    code, output = take(home)
    assert code == 3
    assert "not 64 hexadecimal digits" in output
    assert [r.fingerprint for r in RunStore().records()[0]] == [record.fingerprint]


def test_what_is_no_home_is_refused(tmp_path: Path) -> None:
    code, output = take(tmp_path / "nowhere")
    assert code == 2
    assert "must be a file that `nlbench export` wrote or a home" in output


def test_unknown_truth_stays_unknown(tmp_path: Path) -> None:
    from nlbench.contribution.evidence import Evidence, write_evidence

    n = np.arange(3)
    write_evidence(tmp_path, Evidence(n, n, n > 0, n.astype(np.float32)))
    back = evidence_of(tmp_path)
    assert back is not None
    assert set(back.arrays()) == {"index", "noisy_label", "keep", "score"}
    table = pq.read_table(tmp_path / "selection.parquet")
    assert table["clean_label"].null_count == 3
