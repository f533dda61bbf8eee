"""What MLflow is given, and which stores are accepted; nothing here fills a store."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow_records import make_record

from nlbench.errors import ConfigError, RunError
from nlbench.results.record import ProtocolInfo, TrainerInfo
from nlbench.tracking import MlflowTracker, default_tracking_uri, read_records
from nlbench.tracking import store as mlflow_store
from nlbench.tracking.board import board_of
from nlbench.tracking.files import per_class_table
from nlbench.tracking.schema import clean_name, curve_points, cut, note_of, params_of, tags_of
from nlbench.tracking.store import mask, resolve_uri


def test_values_that_are_not_finite_are_named_instead_of_logged() -> None:
    record = make_record(curves={"train_loss": [1.0, float("nan"), float("inf")]})
    points, dropped = curve_points(record)
    assert [(point.key, point.value) for point in points] == [("train/loss", 1.0)]
    assert dropped == ["train/loss"]


def test_the_class_table_is_percent_with_gaps() -> None:
    table = per_class_table(make_record())
    assert table["columns"] == ["class", "noise_rate", "selection_recall", "test_accuracy"]
    assert table["data"] == [["0", None, 80.0, None], ["1", None, None, None]]


@pytest.mark.parametrize("uri", ["./mlruns", "file:///data/mlruns", "/data/mlruns"])
def test_plain_folders_are_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sqlite:///"):
        MlflowTracker.open(uri, tmp_path)


@pytest.mark.parametrize(
    "uri", ["ftp://host/x", "sqlite:mlflow.db", "sqlite://", "http://", "http://host:port"]
)
def test_malformed_uris_are_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        resolve_uri(uri, tmp_path)


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert resolve_uri(None, tmp_path / "h") == f"sqlite:///{tmp_path}/h/mlflow/mlflow.db"
    assert resolve_uri("sqlite:///sub/my.db", tmp_path) == f"sqlite:///{tmp_path}/sub/my.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://example.org/")
    assert resolve_uri(None, tmp_path) == "https://example.org"
    assert resolve_uri("sqlite:////x/y.db", tmp_path) == "sqlite:////x/y.db"
    assert mask("postgresql://ann:pw@host/db") == "postgresql://***@host/db"


@pytest.mark.parametrize("name", ["50%25", "is it?", "run #1"])
def test_a_home_folder_that_a_uri_cannot_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NLBENCH_HOME"):
        default_tracking_uri(tmp_path / name)


def test_a_dead_server_is_noticed_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_store, "HEALTH_TIMEOUT_S", 0.3)
    start = time.monotonic()
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://ann:secret@127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RunError, match="nlbench sync") as caught:
            MlflowTracker.open(uri, tmp_path)
    with pytest.raises(RunError, match="nlbench sync"):
        MlflowTracker.open(uri, tmp_path)  # closed by now: refuses connections
    assert "secret" not in str(caught.value)
    assert time.monotonic() - start < 5


def test_reading_creates_no_store_and_a_broken_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no MLflow store"):
        read_records(f"sqlite:///{tmp_path}/none/mlflow.db")
    assert list(tmp_path.iterdir()) == []
    broken = tmp_path / "mlflow.db"
    broken.write_text("this is not a database" * 100)
    with pytest.raises(RunError, match=r"file is not a database. Move .* away"):
        MlflowTracker.open(f"sqlite:///{broken}", tmp_path)


def test_names_and_values_are_made_fit_without_meeting() -> None:
    assert clean_name("hp.a b/c-d_e.1") == "hp.a b/c-d_e.1"
    assert clean_name("a@b") != clean_name("a%b")
    assert len(cut("x" * 10_000)) == 500
    method = make_record(
        method="elr",
        protocol=ProtocolInfo(id="p", sha256="s", version=1, settings={"network": "small-cnn"}),
        trainer=TrainerInfo(name="elr", params={"lr": 1, "beta": 0.9}, variant={"beta": 0.9}),
    )
    expected = {"method": "elr", "trainer": "elr", "lr": "1", "tp.beta": "0.9"}
    assert {**expected, "network": "small-cnn"}.items() <= params_of(method).items()


def test_tracking_is_light_until_it_is_used() -> None:
    code = "import sys, nlbench.tracking; print('mlflow' in sys.modules)"
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_runs_of_other_code_are_told_apart() -> None:
    old, new = (make_record(versions={"selector": v, "noise": 1}) for v in (1, 2))
    assert params_of(new)["versions"] == "noise 1, selector 2"
    assert tags_of(old, "b")["nlbench.group"] != tags_of(new, "b")["nlbench.group"]
    assert tags_of(new, "b")["nlbench.versions"] == '{"noise":1,"selector":2}'


def test_means_do_not_mix_losses_nor_their_settings() -> None:
    trainers = [("elr", 1.0), ("elr", 3.0), ("gce", 1.0), ("elr", 1.0)]
    groups = [
        tags_of(
            make_record(
                label="none",
                seed=seed,
                method=name,
                trainer=TrainerInfo(name=name, params={"strength": strength}),
            ),
            "b",
        )["nlbench.group"]
        for seed, (name, strength) in enumerate(trainers)
    ]
    assert len(set(groups)) == 3
    assert groups[0] == groups[3]


def test_accuracy_on_noisy_test_labels_is_marked() -> None:
    record = make_record()
    dataset = record.dataset.model_copy(update={"test_labels_are_clean": False})
    noisy = record.model_copy(update={"dataset": dataset})
    assert tags_of(noisy, "b")["nlbench.test_labels"] == "noisy"
    assert tags_of(record, "b")["nlbench.test_labels"] == "clean"
    assert "(last epoch, against noisy labels)" in note_of(noisy)
    assert "against noisy labels" in board_of(noisy).tags["mlflow.note.content"]
    assert "against noisy labels" not in board_of(record).tags["mlflow.note.content"]
