"""Runs that travel: exported, verified, refused where they do not match, merged on a board."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.config.run_config import versioned_sha256
from nlbench.contribution import evidence_of, read_folder, read_runs
from nlbench.contribution.packing import key_of, pack, unpack
from nlbench.errors import DataError
from nlbench.results.store import RunStore

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two real runs: one chooses before training, one after every epoch."""
    home = tmp_path_factory.mktemp("made")
    for selector, seed in (("random", 0), ("small-loss", 1)):
        nlbench.run(
            selector, noise="asymmetric", noise_rate=0.4, seed=seed, epochs=3,
            settings={"selector.warmup_epochs": 1} if selector == "small-loss" else {},
            track=False, home=home,
        )  # fmt: skip
    return home


@pytest.fixture
def exported(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NLBENCH_HOME", str(made))
    path = tmp_path / "contributed" / "mine.json"
    result = CliRunner().invoke(app, ["export", "--all", "--out", str(path)])
    assert result.exit_code == 0, result.stderr
    return path


def verify(path: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["verify", str(path)], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout + result.stderr


def counts(output: str, check: str) -> list[str]:
    line = next(line for line in output.splitlines() if line.startswith(check))
    return line.removeprefix(check).split()[:3]


def edited(path: Path, edit: Edit, run: int = 0) -> Path:
    """Change one run of a file as a forger would, who writes the fingerprint anew."""
    content = json.loads(path.read_text())
    record = content["runs"][run]["record"]
    before = json.dumps(record["config"])
    edit(record)
    if json.dumps(record["config"]) != before:
        record["command"] = ""  # it would contradict the configuration
    fingerprint = versioned_sha256(record["config"])
    if "keep fingerprint" not in record["diagnostics"]:
        record["fingerprint"] = fingerprint
    path.write_text(json.dumps(content))
    return path


def with_array(path: Path, name: str, values: Any) -> Path:
    """Replace one array of the first run, under its right hash."""
    content = json.loads(path.read_text())
    content["arrays"][key_of(values)] = pack(values)
    content["runs"][0]["evidence"][name] = key_of(values)
    path.write_text(json.dumps(content))
    return path


# What is exported is accepted ----------------------------------------------------------------


def test_real_runs_pass_every_check(exported: Path) -> None:
    code, output = verify(exported)
    assert code == 0, output
    for check in ("fingerprint", "consistency", "selection metrics", "test metrics", "selector"):
        assert counts(output, check) == ["2", "0", "0"], output
    assert counts(output, "noise") == ["2", "0", "0"]


def test_the_same_runs_give_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    CliRunner().invoke(app, ["export", "--all", "--out", str(again)])
    assert again.read_bytes() == exported.read_bytes()
    assert exported.stat().st_size < 2 * 25_000


def test_the_records_come_back_whole(exported: Path, made: Path) -> None:
    store = RunStore(made)
    runs = read_runs(exported)
    own = [record.model_copy(deep=True) for record in store.records()[0]]
    for record in own:
        assert record.environment.pop("machine")  # the only thing that stays at home
    assert [run.record for run in runs] == own
    for run in runs:
        assert run.evidence is not None
        ours = evidence_of(store.folder(run.record.fingerprint))
        assert ours is not None
        for name, values in ours.arrays().items():
            np.testing.assert_array_equal(run.evidence.arrays()[name], values)
        assert {"predicted", "predicted_noisy_val", "test_label"} <= set(ours.arrays())


def test_runs_are_chosen_by_prefix_or_filter(exported: Path, made: Path, tmp_path: Path) -> None:
    first, second = (r.fingerprint for r in RunStore(made).records()[0])
    out = tmp_path / "one.json"
    assert CliRunner().invoke(app, ["export", first[:10], "--out", str(out)]).exit_code == 0
    assert [run.record.fingerprint for run in read_runs(out)] == [first]
    command = ["export", "--all", "--selector", "random", "--noise", "asymmetric:0.4"]
    assert CliRunner().invoke(app, [*command, "--out", str(out)]).exit_code == 0
    assert [run.record.selector.name for run in read_runs(out)] == ["random"]
    for wrong in ([], ["--all", second], ["0" * 64], ["--all", "--noise", "pair"]):
        result = CliRunner().invoke(app, ["export", *wrong, "--out", str(out)])
        assert result.exit_code == 2, result.stdout


def test_without_evidence_the_metrics_are_not_checked(exported: Path) -> None:
    CliRunner().invoke(app, ["export", "--all", "--no-evidence", "--out", str(exported)])
    code, output = verify(exported)
    assert code == 0
    assert counts(output, "selection metrics") == ["0", "0", "2"]
    assert "the file has no samples of the run" in output


# What does not match is refused --------------------------------------------------------------


def raise_accuracy(record: dict[str, Any]) -> None:
    """Consistently: last epoch, curve, best. Only the predictions tell."""
    record["metrics"]["test"]["accuracy_last"] = 1.0
    record["metrics"]["test"]["accuracy_best_oracle"] = 1.0
    record["metrics"]["test"]["epoch_best_oracle"] = 3
    record["metrics"]["test"]["accuracy_per_class"] = [1.0] * 10
    record["curves"]["test_accuracy"][-1] = 1.0
    if record["metrics"]["test"]["epoch_noisy_val"] == 3:
        record["metrics"]["test"]["accuracy_noisy_val"] = 1.0


def put(*path: Any, value: Any) -> Edit:
    def edit(record: dict[str, Any]) -> None:
        *parents, last = path
        for key in parents:
            record = record[key]
        record[last] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("metrics", "test", "accuracy_last", value=0.9999), "accuracy_last is 0.9999"),
        (raise_accuracy, "metrics.test.accuracy_last is 1.0, its samples give"),
        (put("metrics", "selection", "f1", value=0.99), "f1 is 0.99"),
        (put("metrics", "selection", "auroc", value=0.99), "metrics.selection.auroc is 0.99"),
        (put("metrics", "selection", "kept_fraction", value=0.123), "not a multiple of 1/1293"),
        (put("metrics", "selection", "worst_class_recall", value=0.9), "worst_class_recall"),
        (put("metrics", "test", "epoch_noisy_val", value=77), "epoch_noisy_val is 77"),
        (put("score_histogram", "clean", value=[1.0]), "score_histogram"),
        (put("noise", "sha256", value="0" * 64), "noise.sha256 is 000000000000"),
        (put("noise", "nominal_rate", value=0.2), "noise.nominal_rate is 0.2"),
        (put("noise", "realized_rate", value=0.9), "noise.realized_rate is 0.9"),
        (put("seed", value=5), "seed is 5, by `config` it is"),
        (put("config", "seed", value=5), "seed is"),
        (put("selector", "is_bound", value=True), "selector.is_bound is True"),
        (put("selector", "knowledge", value=["everything"]), "selector.knowledge"),
        (put("protocol", "id", value="v9"), "protocol.id is 'v9'"),
        (put("protocol", "settings", "image_size", value=9), "protocol.settings"),
        (put("dataset", "n_classes", value=10**12), "class names for 1000000000000 classes"),
        (put("times", "train_s", value=-1.0), "times.train_s is -1.0"),
        (put("times", "total_s", value=0.0), "the phases took"),
        (put("finished_at", value="2001-01-01"), "started_at"),
        (put("status", value="failed"), "status is 'failed'"),
        (put("diagnostics", value={"keep fingerprint": 1}), "ok"),
    ],
)
def test_a_changed_number_is_named(exported: Path, edit: Edit, message: str) -> None:
    code, output = verify(edited(exported, edit))
    assert message in output
    assert code == (0 if message == "ok" else 3)
    if code:
        assert "1 of 1 files are refused" in output


def test_a_configuration_under_a_foreign_fingerprint_is_refused(exported: Path) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["diagnostics"] = {"keep fingerprint": 1}
        record["config"]["trainer"]["params"]["lr"] = 0.5

    code, output = verify(edited(exported, edit))
    assert code == 3
    assert "`config` has the fingerprint" in output


@pytest.mark.parametrize(
    ("name", "forge", "message"),
    [
        ("keep", lambda a: ~a, "metrics.selection.precision is"),
        ("score", lambda a: -a, "metrics.selection.auroc is"),
        ("predicted", lambda a: (a + 1) % 10, "metrics.test.accuracy_last is"),
        ("clean_label", lambda a: a[:-1], "clean_label must be 1293 classes"),
        ("noisy_label", lambda a: a + 250, "noisy_label must be 1293 classes"),
        ("index", lambda a: a[::-1], "ascending positions"),
        ("test_label", lambda a: a * 0, "metrics.test.accuracy_last is"),
    ],
)
def test_samples_that_do_not_give_the_metrics_are_refused(
    exported: Path, name: str, forge: Callable[[Any], Any], message: str
) -> None:
    evidence = read_runs(exported)[0].evidence
    assert evidence is not None
    code, output = verify(with_array(exported, name, forge(evidence.arrays()[name])))
    assert code == 3
    assert message in output


def test_invented_samples_meet_the_real_data(exported: Path) -> None:
    """Moving every sample by one position keeps all metrics; the data set itself tells."""
    evidence = read_runs(exported)[0].evidence
    assert evidence is not None
    code, output = verify(with_array(exported, "index", np.arange(len(evidence.index))))
    assert code == 3
    assert "noisy_label is not that of the data" in output


def test_a_run_that_is_there_twice_is_named(exported: Path) -> None:
    content = json.loads(exported.read_text())
    content["runs"].append(content["runs"][0])
    exported.write_text(json.dumps(content))
    code, output = verify(exported)
    assert code == 3
    assert "is in the file 2 times" in output


# What is not at hand is said -----------------------------------------------------------------


def test_data_that_is_not_here_is_said(exported: Path, tmp_path: Path) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["dataset"]["name"] = record["config"]["dataset"]["name"] = "cifar10"
        record["config"]["dataset"]["options"] = {"download": True}
        record["protocol"]["id"] = "v1-" + record["protocol"]["sha256"][:6]

    code, output = verify(edited(exported, edit))
    assert counts(output, "noise") == ["1", "0", "1"], output
    assert "data not here" in output
    assert code == 0


def test_files_that_a_stranger_names_are_not_opened(exported: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.npy"
    trap.write_bytes(b"not an array; opening it would be an error of its own")

    def edit(record: dict[str, Any]) -> None:
        record["noise"].update(kind="labels", params={"labels": str(trap)})
        record["config"]["noise"] = {
            "kind": "labels", "rate": None, "options": {"labels": str(trap)}
        }  # fmt: skip

    code, output = verify(edited(exported, edit))
    assert "the run used files of its own" in output
    assert code == 0


# What is hostile is one clear error -----------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"format": "nlbench-runs"}), "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"[]", "must be an object"),
        (b'{"format": NaN}', "NaN is not a finite number"),
        (b'{"format": 1e999}', "1e999 is not a finite number"),
        (b'{"format": -Infinity}', "is not a finite number"),
        (b'{"format":"x","version":1,"arrays":{},"runs":[{}]}', "is not a file of runs"),
        (b'{"format":"nlbench-runs","version":9,"arrays":{},"runs":[{}]}', "version 9"),
        (b'{"format":"nlbench-runs","version":1,"arrays":{},"runs":[]}', "with a run"),
        (b'{"format":"nlbench-runs","version":1,"arrays":{},"runs":[1]}', "run 1 must be"),
        (
            b'{"format":"nlbench-runs","version":1,"arrays":{},'
            b'"runs":[{"record":{},"evidence":null}]}',
            "run 1 is not a run record",
        ),
    ],
)
def test_a_file_that_is_none_is_one_clear_error(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    code, output = verify(path)
    assert code == 3
    assert message in output
    assert "Traceback" not in output


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as stream:
        stream.truncate(2**40)  # sparse: a terabyte that takes no space
    code, output = verify(path)
    assert code == 3
    assert "larger than 64 MiB" in output


def test_text_where_a_number_belongs_is_refused(exported: Path) -> None:
    code, output = verify(edited(exported, put("metrics", "test", "accuracy_last", value="1.0")))
    assert code == 3
    assert "metrics.test.accuracy_last" in output


BOMB = base64.b64encode(zlib.compress(b"\0" * 10**7)).decode()


@pytest.mark.parametrize(
    "packed",
    [
        {"type": "u1", "n": 10, "data": BOMB},
        {"type": "u1", "n": 10**15, "data": BOMB},
        {"type": "u1", "n": True, "data": BOMB},
        {"type": "u1", "n": 3, "data": "****"},
        {"type": "u1", "n": 3, "data": base64.b64encode(b"not zlib").decode()},
        {"type": "object", "n": 3, "data": base64.b64encode(pickle.dumps([1, 2, 3])).decode()},
        {"type": ["u1"], "n": 3, "data": ""},
        {"n": 3},
        [1, 2, 3],
        None,
        pack(np.array([1.0, np.nan])),
    ],
)
def test_a_packed_array_that_is_none_is_refused(packed: Any) -> None:
    with pytest.raises(DataError):
        unpack(packed)


def test_an_array_under_a_wrong_hash_is_refused(exported: Path) -> None:
    content = json.loads(exported.read_text())
    first, second, *_ = content["arrays"]
    content["arrays"][first] = content["arrays"][second]
    exported.write_text(json.dumps(content))
    code, output = verify(exported)
    assert code == 3
    assert "does not have the hash it is named by" in output


# On the board --------------------------------------------------------------------------------


def board(folder: Path, home: Path, out: Path) -> tuple[dict[str, Any], str]:
    environment = {"NLBENCH_HOME": str(home)}
    command = ["leaderboard", "--records", str(folder), "--json"]
    result = CliRunner().invoke(app, command, env=environment)
    assert result.exit_code == 0, result.stderr
    page = CliRunner().invoke(
        app, ["leaderboard", "--records", str(folder), "--out", str(out)], env=environment
    )
    assert page.exit_code == 0, page.stderr
    return json.loads(result.stdout), result.stderr


def n_runs(content: dict[str, Any]) -> int:
    return sum(len(row["runs"]) for shown in content["boards"] for row in shown["rows"])


def test_contributed_runs_stand_beside_local_ones(
    exported: Path, made: Path, tmp_path: Path
) -> None:
    alone, _ = board(exported.parent, tmp_path / "empty", tmp_path / "site")
    assert n_runs(alone) == 2
    both, _ = board(exported.parent, made, tmp_path / "site")
    assert n_runs(both) == 2  # the same runs, once
    assert both["problems"] == []


def test_a_file_that_contradicts_itself_is_refused_by_name(
    exported: Path, made: Path, tmp_path: Path
) -> None:
    bad = exported.with_name("forged.json")
    bad.write_bytes(exported.read_bytes())
    edited(bad, put("metrics", "test", "accuracy_last", value=0.999))
    (exported.parent / "deeper").mkdir()
    (exported.parent / "deeper" / "pickle.json").write_bytes(pickle.dumps(1))
    content, errors = board(exported.parent, tmp_path / "empty", tmp_path / "site")
    assert n_runs(content) == 2
    assert len(content["problems"]) == 2
    assert "forged.json is refused, all 2 runs of it" in errors
    assert "pickle.json cannot be read" in errors
    page = (tmp_path / "site" / "index.html").read_text()
    assert "forged.json is refused" in page


def test_an_empty_folder_is_a_mistake(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["leaderboard", "--records", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "nlbench export --all" in result.stderr


def test_the_committed_records_are_what_they_say() -> None:
    folder = Path(__file__).parents[2] / "leaderboard" / "records"
    if not list(folder.rglob("*.json")):
        pytest.skip("no records are committed yet")
    records, problems = read_folder(folder)
    assert records
    assert problems == []
