"""Flipped bits in files that results rest on are noticed when the files are read."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hostile_runs import one_run
from typer.testing import CliRunner

from nlbench.cli import app
from nlbench.config.resolve import resolve
from nlbench.contribution import read_runs
from nlbench.contribution.evidence import evidence_of, write_evidence
from nlbench.errors import DataError
from nlbench.plugins.registry import make_component
from nlbench.results.samples import PREDICTIONS_FILE, SELECTION_FILE, least_trusted
from nlbench.results.store import RunStore
from nlbench.runner.inputs import noisy_labels_of

N_FLIPS = 400


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of one finished run, in the home that commands use."""
    source = tmp_path / "one.json"
    source.write_text(one_run())
    (run,) = read_runs(source)
    store = RunStore()
    folder = store.folder(run.record.fingerprint)
    folder.mkdir(parents=True)
    assert run.evidence is not None
    write_evidence(folder, run.evidence)
    store.write(run.record)
    return folder


def flip(path: Path, rng: Random, whole: bytes) -> None:
    data = bytearray(whole)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def test_no_flipped_bit_of_a_record_is_ranked(place: Path) -> None:
    path, rng = place / "record.json", Random(0)  # noqa: S311 - no secret
    whole = path.read_bytes()
    assert len(RunStore().records()[0]) == 1
    for _ in range(N_FLIPS):
        flip(path, rng, whole)
        records, problems = RunStore().records()
        assert records == []
        assert str(path) in problems[0]


@pytest.mark.parametrize("name", [SELECTION_FILE, PREDICTIONS_FILE])
def test_no_flipped_bit_of_the_samples_is_believed(place: Path, name: str) -> None:
    rng, whole = Random(1), (place / name).read_bytes()  # noqa: S311 - no secret
    assert evidence_of(place) is not None
    for _ in range(100):
        flip(place / name, rng, whole)
        with pytest.raises(DataError, match=rf"{name}' is damaged: its digest differs"):
            evidence_of(place)
    if name == SELECTION_FILE:
        with pytest.raises(DataError, match="its digest differs"):
            least_trusted(place, 5)


def test_samples_of_another_run_are_not_taken_for_this_one(place: Path) -> None:
    evidence = evidence_of(place)
    assert evidence is not None
    evidence.keep[0] = not evidence.keep[0]
    write_evidence(place, evidence)
    with pytest.raises(DataError, match="not what was written"):
        evidence_of(place)


def test_a_record_without_digests_is_ranked_if_it_agrees_with_itself(place: Path) -> None:
    path = place / "record.json"
    content = json.loads(path.read_text())
    assert list(content.pop("digests")) == [SELECTION_FILE, PREDICTIONS_FILE, "record"]
    path.write_text(json.dumps(content, indent=1))
    assert "Left out" not in board()
    content["metrics"]["selection"]["f1"] = 0.25
    path.write_text(json.dumps(content, indent=1))
    assert "before records had digests" in board()
    assert RunStore().records()[1] == []  # it can still be read


def board() -> str:
    result = CliRunner().invoke(app, ["leaderboard", "--json"])
    assert "Traceback" not in result.output
    return result.output


def test_a_label_file_that_changes_during_a_sweep_is_refused(tmp_path: Path) -> None:
    data = make_component("datasets", "digits", {}).load(None)
    labels = data.train_labels.copy()
    file = tmp_path / "labels.npy"
    np.save(file, labels)
    config = resolve(selector="none", noise="labels", settings={"noise.labels": str(file)})
    assert noisy_labels_of(config, data, None).labels.tolist() == labels.tolist()
    labels[0] = (labels[0] + 1) % 10
    np.save(file, labels)
    with pytest.raises(DataError, match=r"`noise.labels` file '.*' has changed since the run was"):
        noisy_labels_of(config, data, None)
