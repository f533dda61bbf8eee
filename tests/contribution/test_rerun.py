"""Runs that are repeated: equal, within rounding, different, or not possible here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow_records import make_record
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.config.run_config import versioned_sha256
from nlbench.contribution import draw_runs
from nlbench.contribution.rerun import judged
from nlbench.contribution.tolerance import BEFORE_TRAINING, CLEAN_TRAINING, NOISY_TRAINING, ONLINE
from nlbench.plugins.registry import make_component
from nlbench.results.record import RunRecord

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "noisy.npy"
    digits = make_component("datasets", "digits", {}).load(None)
    np.save(path, np.roll(np.asarray(digits.train_labels), 7))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, labels: Path) -> Path:
    """A home with two real runs, one of which used a file."""
    home = tmp_path_factory.mktemp("made")
    nlbench.run("random", noise="pair", noise_rate=0.3, epochs=1, track=False, home=home)
    nlbench.run(
        "none", noise="labels", settings={"noise.labels": str(labels)}, epochs=1, track=False,
        home=home,
    )  # fmt: skip
    return home


@pytest.fixture
def exported(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NLBENCH_HOME", str(made))
    path = tmp_path / "mine.json"
    assert CliRunner().invoke(app, ["export", "--all", "--out", str(path)]).exit_code == 0
    return path


def verify(path: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["verify", str(path), "--rerun", "1", *words])
    return result.exit_code, result.stdout + result.stderr


def edited(path: Path, edit: Edit) -> Path:
    """Change the run of `random` as a forger would: consistently, without its samples."""
    content = json.loads(path.read_text())
    runs = [r for r in content["runs"] if r["record"]["selector"]["name"] == "random"]
    record, content["runs"] = runs[0]["record"], runs
    runs[0]["evidence"] = None
    edit(record)
    record["fingerprint"] = versioned_sha256(record["config"])
    path.write_text(json.dumps(content))
    return path


def test_a_run_is_repeated_and_leaves_no_trace(exported: Path, made: Path) -> None:
    before = sorted(made.rglob("*"))
    code, output = verify(exported, "--selector", "random")
    assert code == 0, output
    assert "random on digits, pair 0.3, seed 0: equal" in output
    assert "the same bits are promised" in output
    assert sorted(made.rglob("*")) == before


def test_numbers_that_do_not_come_out_here_are_named(exported: Path) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["metrics"]["test"] = {
            **record["metrics"]["test"],
            "accuracy_last": 1.0,
            "accuracy_best_oracle": 1.0,
            "accuracy_noisy_val": 1.0,
            "accuracy_per_class": [1.0] * 10,
        }
        record["curves"]["test_accuracy"] = [1.0]

    code, output = verify(edited(exported, edit))
    assert code == 3
    assert "seed 0: differs" in output
    assert "test.accuracy_last is 1, here 0." in output
    assert "the curves part at epoch 1" in output


def test_the_selector_whose_code_differs_is_named_with_both_versions(exported: Path) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["versions"]["selector"] = record["config"]["versions"]["selector"] = 77

    code, output = verify(edited(exported, edit))
    assert code == 3
    assert "seed 0: not repeated" in output
    assert "the code of selector 'random' differs: version 77 in the record, version" in output
    assert "version 77 in the record" in output.split("Repeating")[0]  # the plain check, too


def test_an_encoder_or_toolbox_of_another_version_is_named(exported: Path) -> None:
    def edit(record: dict[str, Any]) -> None:
        for versions in (record["versions"], record["config"]["versions"]):
            versions.update(image_encoder="code:" + "ab" * 32, training=9)

    _, output = verify(edited(exported, edit))
    assert "the code of image encoder 'bundled-glyphs' differs: code abababababab" in output
    assert "the code of toolbox training differs: version 9 in the record" in output


def test_a_component_that_is_not_installed_is_named(exported: Path) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["selector"]["name"] = record["config"]["selector"]["name"] = "theirs"
        record["command"] = record["command"].replace("--selector random", "--selector theirs")

    code, output = verify(edited(exported, edit))
    assert code == 3
    assert "selector 'theirs' is not installed here: pass its file with --plugin" in output


def test_a_record_without_versions_cannot_be_repeated(exported: Path) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["versions"] = {}
        del record["config"]["versions"]

    code, output = verify(edited(exported, edit))
    assert code == 3
    assert "before versions of the code were kept" in output


def test_a_file_of_the_run_is_asked_for_and_must_be_the_same(
    exported: Path, labels: Path, tmp_path: Path
) -> None:
    code, output = verify(exported, "--selector", "none")
    assert code == 3
    assert "say where it is here with --set noise.labels=PATH" in output
    other = tmp_path / "other.npy"
    np.save(other, np.roll(np.load(labels), 1))
    code, output = verify(exported, "--selector", "none", "--set", f"noise.labels={other}")
    assert code == 3
    assert "noise.options.labels is sha256:" in output
    code, output = verify(exported, "--selector", "none", "--set", f"noise.labels={labels}")
    assert code == 0, output
    assert "seed 0: equal" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--selector", "oracle"), "none of the 0 matching runs is finished"),
        (("--selector", "random", "--set", "trainer.lr=1"), "--set trainer.lr: no drawn run"),
        (("--rerun", "0", "--seed", "3"), "need --rerun N"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    exported: Path, words: tuple[str, ...], message: str
) -> None:
    code, output = verify(exported, *words)
    assert code == 2
    assert message in output


def test_the_draw_depends_on_the_seed_and_the_runs_alone() -> None:
    records = [make_record(seed=seed) for seed in range(20)]
    failed = make_record(seed=99, status="failed")
    draws = {tuple(r.seed for r in draw_runs([*records, failed], 3, seed)) for seed in range(8)}
    assert len(draws) > 4
    assert draw_runs(records, 3, 1) == draw_runs(records[::-1], 3, 1)
    assert len(draw_runs([*records, failed], 50, 0)) == 20


# Tolerances -----------------------------------------------------------------------------------

HERE = {
    "system": "Linux x86_64", "cpu": "a, AVX2", "device": "cpu, 1 threads",
    "packages": {"torch": "2.14.1", "torchvision": "0.29", "numpy": "2.4", "scikit-learn": "1.9"},
}  # fmt: skip
OTHER_TORCH = {**HERE, "packages": {**HERE["packages"], "torch": "2.15.0"}}  # type: ignore[dict-item]
OTHER_CPU = {**HERE, "cpu": "b, AVX512"}
ONLINE_CURVES = {"test_accuracy": [0.5], "kept_fraction": [0.5]}
F1, ONLINE_F1 = BEFORE_TRAINING["f1"], ONLINE["f1"]


def shifted(record: RunRecord, f1: float = 0.0, test: float = 0.0) -> RunRecord:
    assert record.metrics is not None
    selection, tested = record.metrics.selection, record.metrics.test
    metrics = record.metrics.model_copy(
        update={
            "selection": selection.model_copy(update={"f1": (selection.f1 or 0.0) + f1}),
            "test": tested.model_copy(update={"accuracy_last": tested.accuracy_last + test}),
        }
    )
    return record.model_copy(update={"metrics": metrics})


@pytest.mark.parametrize(
    ("environment", "curves", "after", "f1", "test", "outcome"),
    [
        (HERE, {}, 0.0, 0.0, 0.0, "equal"),
        (OTHER_TORCH, {}, 0.0, 0.0, 0.0, "equal"),
        (HERE, {}, 0.0, 1e-12, 0.0, "differs"),
        (OTHER_TORCH, {}, 0.05, F1 * 0.9, CLEAN_TRAINING * 0.9, "within rounding"),
        (OTHER_CPU, {}, 0.05, F1 * 0.9, CLEAN_TRAINING * 0.9, "within rounding"),
        ({}, {}, 0.05, F1 * 0.9, 0.0, "within rounding"),
        (OTHER_CPU, {}, 0.05, F1 * 1.1, 0.0, "differs"),
        (OTHER_CPU, {}, 0.05, 0.0, CLEAN_TRAINING * 1.1, "differs"),
        (OTHER_CPU, {}, 0.3, 0.0, CLEAN_TRAINING * 1.1, "within rounding"),
        (OTHER_CPU, {}, 0.3, 0.0, NOISY_TRAINING * 1.1, "differs"),
        (OTHER_CPU, ONLINE_CURVES, 0.05, ONLINE_F1 * 0.9, NOISY_TRAINING * 0.9, "within rounding"),
        (OTHER_CPU, ONLINE_CURVES, 0.05, ONLINE_F1 * 1.1, 0.0, "differs"),
    ],
)
def test_what_counts_as_rounding(
    environment: dict[str, Any], curves: dict[str, Any], after: float, f1: float, test: float,
    outcome: str,
) -> None:  # fmt: skip
    stated = make_record(environment=environment, curves=curves)
    assert stated.metrics is not None
    selection = stated.metrics.selection.model_copy(update={"noise_rate_after": after})
    metrics = stated.metrics.model_copy(update={"selection": selection})
    stated = stated.model_copy(update={"metrics": metrics})
    repeated = shifted(stated.model_copy(update={"environment": HERE}), -f1, -test)
    assert judged(stated, repeated).outcome == outcome


def test_the_epoch_of_noisy_validation_is_not_judged() -> None:
    stated = make_record(environment=OTHER_CPU)
    assert stated.metrics is not None
    test = stated.metrics.test.model_copy(update={"accuracy_noisy_val": 0.1, "epoch_noisy_val": 1})
    metrics = stated.metrics.model_copy(update={"test": test})
    repeated = stated.model_copy(update={"metrics": metrics, "environment": HERE})
    assert judged(stated, repeated).outcome == "within rounding"


def test_other_noisy_labels_are_never_rounding() -> None:
    stated = make_record(environment=OTHER_TORCH)
    noise = stated.noise.model_copy(update={"sha256": "f" * 64})
    result = judged(stated, stated.model_copy(update={"noise": noise, "environment": HERE}))
    assert result.outcome == "differs"
    assert "noise: sha256" in result.details[0]


def test_the_reason_names_what_changed() -> None:
    stated = make_record(environment=OTHER_TORCH)
    tolerance = judged(stated, shifted(stated.model_copy(update={"environment": HERE}))).tolerance
    assert tolerance is not None
    assert "torch may differ" in tolerance.reason
    assert "numpy" not in tolerance.reason
