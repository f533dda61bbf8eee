"""MLflow is filled from records and gives them back."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from mlflow_records import as_running, make_failed, make_metrics, make_record

from nlbench.errors import ConfigError, RunError
from nlbench.results.record import SelectorInfo
from nlbench.results.store import RunStore
from nlbench.tracking import (
    MlflowTracker,
    default_tracking_uri,
    read_records,
    sync,
    ui_command,
    ui_links,
)
from nlbench.tracking.board import board_of
from nlbench.tracking.files import selection_summary
from nlbench.tracking.schema import hide_home
from nlbench.tracking.store import sqlite_uri
from nlbench.tracking.view import VIEW_KEY, VIEW_TAG

HOSTILE = [
    "x" * 300,
    "<script>alert(1)</script>",
    "a/../b//c",
    "тест 日本 🧪",
    'it\'s "quoted" `and` \\ % $x$',
]
OPEN_FRESH = """
import sys
import zlib
from pathlib import Path
from nlbench.tracking import MlflowTracker
print(MlflowTracker.open(None, Path(sys.argv[1])).uri)
"""


@pytest.fixture(scope="module")
def opened_at_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, str]]]:
    """A store that four processes opened at the same time when it did not exist yet."""
    home = tmp_path_factory.mktemp("template")
    command = [sys.executable, "-c", OPEN_FRESH, str(home)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    root = Path(__file__).parents[2]
    processes = [subprocess.Popen(command, cwd=root, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    return home, [(p.returncode, out) for p, out in zip(processes, outputs, strict=True)]


@pytest.fixture
def home(
    opened_at_once: tuple[Path, list[tuple[int, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow").mkdir()
    shutil.copy(opened_at_once[0] / "mlflow" / "mlflow.db", tmp_path / "mlflow")
    return tmp_path


@pytest.fixture
def tracker(home: Path) -> MlflowTracker:
    return MlflowTracker.open(None, home)


@pytest.fixture
def client(home: Path, tracker: MlflowTracker) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=default_tracking_uri(home))


def test_four_processes_can_create_the_store_at_once(
    opened_at_once: tuple[Path, list[tuple[int, str]]],
) -> None:
    home, endings = opened_at_once
    assert [code for code, _ in endings] == [0] * 4, endings
    assert {out.strip() for _, out in endings} == {default_tracking_uri(home)}  # and no noise


def test_a_run_comes_back_as_it_was(home: Path, tracker: MlflowTracker) -> None:
    record = make_record()
    run_id = tracker.begin(as_running(record))
    assert tracker.find(record.fingerprint) == []
    tracked = tracker.finish(record, home / "no-folder", run_id)
    assert tracked.run_id == run_id
    assert tracked.url is None
    assert [run.run_id for run in tracker.find(record.fingerprint)] == [run_id]
    assert read_records(default_tracking_uri(home), home) == ([record], [])


def test_what_a_reader_of_the_web_page_sees(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    histogram = {"edges": [0.0, 0.5, 1.0], "clean": [5, 54], "noisy": [30, 11]}
    matrix = {"transition_matrix": [[0.6, 0.4], [0.4, 0.6]]}
    noise = make_record().noise.model_copy(update=matrix)
    tracked = tracker.finish(make_record(score_histogram=histogram, noise=noise), home, None)
    run = client.get_run(tracked.run_id)
    assert client.get_experiment(tracked.experiment_id).name == (
        "nlbench/digits-quick/digits-symmetric-0.40"
    )
    assert run.info.run_name == "clip-knn s0"
    assert run.info.end_time - run.info.start_time == 10_000
    wanted = {
        "selector": "clip-knn",
        "seed": "0",
        "noise_rate": "0.4",
        "epochs": "3",
        "lr": "0.1",
        "device": "cpu",
        "hp.n_neighbors": "10",
    }
    assert wanted.items() <= run.data.params.items()
    assert [i.dataset.digest for i in run.inputs.dataset_inputs] == ["0123456789abcdef"]
    note = run.data.tags["mlflow.note.content"]
    assert "nlbench run --seed 0" in note
    # MLflow's own links drop what its classical pages need; these do not.
    board = f"#/experiments/{run.info.experiment_id}/runs?viewStateShareKey={VIEW_KEY}"
    assert f"[table]({board}&workflowType=machine_learning)" in note
    assert f"[charts]({board}&workflowType=machine_learning&compareRunsMode=CHART)" in note
    names = {item.path for item in client.list_artifacts(tracked.run_id)}
    assert names >= {"result.json", "environment.json", "command.txt", "figures", "config"}
    figures = {item.path for item in client.list_artifacts(tracked.run_id, "figures")}
    assert figures == {"figures/score_histogram.svg", "figures/transition_matrix.svg"}


def test_metrics_are_percent_and_missing_values_stay_out(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    tracked = tracker.finish(make_record(), home, None)
    metrics = client.get_run(tracked.run_id).data.metrics
    assert metrics["sel/f1"] == 87.3333
    assert metrics["test/acc_last"] == 75.0
    assert metrics["time/train_s"] == 2.0
    assert metrics["train/loss"] == 1.0
    assert not {"sel/auprc", "test/acc_nval"} & metrics.keys()
    accuracy = client.get_metric_history(tracked.run_id, "train/test_acc")
    assert [(point.step, point.value) for point in accuracy] == [(1, 50.0), (3, 75.0)]


def test_a_failed_run_is_failed_and_says_why(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    record = make_failed()
    tracked = tracker.finish(record, home, tracker.begin(as_running(record)))
    run = client.get_run(tracked.run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["nlbench.state"] == "failed"
    assert run.data.tags["nlbench.error_type"] == "ValueError"
    assert run.data.tags["nlbench.error"] == "no sample was kept"
    assert "sel/f1" not in run.data.metrics
    assert [a.path for a in client.list_artifacts(tracked.run_id, "error")] == [
        "error/traceback.txt"
    ]
    assert read_records(default_tracking_uri(home)) == ([record], [])


def test_a_killed_run_is_closed_and_the_rest_is_left_alone(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    killed = tracker.begin(as_running(make_record()))
    tracker.close_killed(killed, "killed by signal 9")
    run = client.get_run(killed)
    assert (run.info.status, run.data.tags["nlbench.state"]) == ("KILLED", "stale")
    retry = tracker.begin(as_running(make_record()), retry_of=killed)
    assert client.get_run(retry).data.tags["nlbench.retry_of"] == killed
    finished = tracker.finish(make_record(), home, retry).run_id
    tracker.close_killed(finished, "too late")
    assert client.get_run(finished).info.status == "FINISHED"
    tracker.close_killed("0" * 32, "never existed")


def test_filling_again_after_an_interruption_doubles_nothing(
    home: Path, tracker: MlflowTracker, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_record()
    run_id = tracker.begin(as_running(record))

    def full_disk(*_: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tracker._client, "log_artifacts", full_disk)
        with pytest.raises(RunError, match="nlbench sync"):
            tracker.finish(record, home, run_id)
    assert client.get_run(run_id).info.status == "RUNNING"
    assert "sel/f1" not in client.get_run(run_id).data.metrics
    for _ in range(2):
        tracker.finish(record, home, run_id)
    history = client.get_metric_history(run_id, "train/loss")
    assert [point.value for point in history] == [2.0, 1.5, 1.0]
    assert len(client.get_metric_history(run_id, "sel/f1")) == 1
    assert len(client.get_run(run_id).inputs.dataset_inputs) == 1


def test_a_lost_store_is_filled_anew_and_only_once(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    store = RunStore(home)
    orphan = tracker.begin(as_running(make_record(seed=0)))  # its process died before `finish`
    for record in (make_record(seed=0), make_record(seed=1), make_failed(seed=2)):
        store.write(record)
    (store.folder("damaged")).mkdir()
    (store.folder("damaged") / "record.json").write_text("{")
    lines: list[str] = []
    report = sync(store, tracker, lines.append)
    assert (report.uploaded, report.already_there, len(report.failed)) == (3, 0, 1)
    assert "damaged" in report.failed[0]
    assert len(lines) == 3
    assert client.get_run(orphan).info.status == "FINISHED"  # it was completed, not doubled
    assert len(tracker.runs_of(make_record(seed=0).fingerprint)) == 1
    again = sync(store, tracker)
    assert (again.uploaded, again.already_there) == (0, 3)
    assert read_records(default_tracking_uri(home))[0] == store.records()[0]


def test_a_run_repeated_by_force_replaces_the_older(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    store = RunStore(home)
    store.write(make_record())
    sync(store, tracker)
    old = tracker.find(make_record().fingerprint)[0].run_id
    newer = make_record(metrics=make_metrics(f1=0.5), finished_at="2026-01-03T00:00:00+00:00")
    store.write(newer)
    assert sync(store, tracker).uploaded == 1
    assert client.get_run(old).data.tags["nlbench.state"] == "superseded"
    records, problems = read_records(default_tracking_uri(home))
    assert records == [newer]
    assert "2 runs with the same fingerprint differ" in problems[0]


def test_means_over_seeds_are_the_parents_and_stay_off_the_board(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    values = {0: 0.6, 1: 0.8, 2: 0.7}
    for seed, f1 in values.items():
        record = make_record(seed=seed, metrics=make_metrics(f1=f1))
        tracked = tracker.finish(record, home, None)
    newer = {"started_at": "2026-01-03T00:00:00+00:00", "finished_at": "2026-01-03T00:01:00+00:00"}
    again = make_record(seed=0, metrics=make_metrics(f1=0.9), **newer)
    tracker.finish(again, home, None)  # replaces seed 0
    tracker.finish(make_failed(seed=3), home, None)  # a failed run is no value
    parent = client.get_run(client.get_run(tracked.run_id).data.tags["mlflow.parentRunId"])
    assert parent.info.experiment_id != tracked.experiment_id
    assert parent.data.metrics["seeds"] == 3
    assert parent.data.metrics["f1/mean"] == 80.0
    assert parent.data.metrics["f1/sd"] == 10.0
    half = 4.302653 * 10 / 3**0.5  # t table: 0.975 quantile, 2 degrees of freedom
    assert parent.data.metrics["f1/ci95_low"] == pytest.approx(80 - half, abs=1e-3)
    assert parent.data.metrics["f1/ci95_high"] == pytest.approx(80 + half, abs=1e-3)
    assert [(i.dataset.name) for i in parent.inputs.dataset_inputs] == ["digits-symmetric-0.40"]
    assert len(client.search_runs([parent.info.experiment_id])) == 1
    names = [r.selector.name for r in read_records(default_tracking_uri(home))[0]]
    assert len(names) == 4  # three seeds and the failed one; no mean among them


def test_means_that_somebody_deleted_are_made_anew(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    first, second = (make_record(seed=s, metrics=make_metrics(f1=0.6 + s / 5)) for s in (0, 1))
    parents = []
    for record in (first, second):
        run_id = tracker.finish(record, home, None).run_id
        parents.append(client.get_run(run_id).data.tags["mlflow.parentRunId"])
        client.delete_run(parents[0])
    assert parents[0] != parents[1]
    assert client.get_run(parents[1]).data.metrics["f1/mean"] == 70.0


class Counted:
    """A client that notes what is asked of it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.requests: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.requests.append(name)
        return getattr(self._client, name)


def test_a_run_is_logged_in_few_requests(home: Path, tracker: MlflowTracker, client: Any) -> None:
    """Every request is a round trip to a server, or up to four transactions on a file."""
    counted = Counted(client)
    tracker = MlflowTracker(counted, default_tracking_uri(home), home)
    for seed in range(3):
        record = make_record(seed=seed)
        counted.requests.clear()
        tracker.finish(record, home, tracker.begin(as_running(record)))
    assert sorted(counted.requests) == [
        "create_run",
        "get_run",
        "log_artifacts",
        "log_batch",  # params, for those who look at it while it runs
        "log_batch",  # curves, results and tags
        "log_batch",  # means
        "log_inputs",
        "search_runs",  # older results of the same run
        "search_runs",  # the other seeds
        "set_terminated",
    ]


def test_sync_gives_up_when_the_store_is_gone(
    home: Path, tracker: MlflowTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(home)
    for seed in range(6):
        store.write(make_record(seed=seed))

    def gone(*_: Any, **__: Any) -> None:
        raise ConnectionError("connection refused")

    monkeypatch.setattr(tracker._client, "search_experiments", gone)
    report = sync(store, tracker)
    assert (report.uploaded, len(report.failed)) == (0, 4)
    assert "3 records were not tried" in report.failed[-1]


@pytest.mark.parametrize("label", HOSTILE)
def test_any_selector_name_is_accepted(
    label: str, home: Path, tracker: MlflowTracker, client: Any
) -> None:
    many = {f"{label}-{number}": number for number in range(130)}
    selector = SelectorInfo(name=label, params={**many, "text": "y" * 9000})
    record = make_record(label=label, selector=selector)
    tracked = tracker.finish(record, home, None)
    params = client.get_run(tracked.run_id).data.params
    assert params["selector"] == label
    assert sum(key.startswith("hp.") for key in params) == 131
    assert "9000 characters, sha256" in params["hp.text"]
    assert read_records(default_tracking_uri(home)) == ([record], [])


def test_boards_that_differ_never_share_an_experiment(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    plain = make_record(seed=0)
    other_data = plain.dataset.model_copy(update={"fingerprint": "c" * 64})
    other_noise = plain.noise.model_copy(update={"params": {"cap": 1}})
    close_rate = plain.noise.model_copy(update={"nominal_rate": 0.4004})
    other_protocol = plain.protocol.model_copy(update={"sha256": "a" * 64})
    variants = [
        plain,
        make_record(seed=1, dataset=other_data),
        make_record(seed=2, noise=other_noise),
        make_record(seed=3, noise=close_rate),
        make_record(seed=4, protocol=other_protocol),
    ]
    ids = [tracker.finish(record, home, None).experiment_id for record in variants]
    assert len(set(ids)) == len(variants)
    names = {client.get_experiment(number).name for number in ids}
    assert len(names) == len(variants)
    assert all(name.startswith("nlbench/digits-quick/digits-symmetric-0.40") for name in names)
    seed_noise = plain.noise.model_copy(update={"sha256": "1" * 64, "params": {"seed": 9}})
    assert board_of(make_record(noise=seed_noise)).key == board_of(plain).key
    fresh = MlflowTracker.open(None, home)
    assert [fresh.finish(record, home, None).experiment_id for record in variants] == ids


def test_a_deleted_experiment_is_explained(home: Path, tracker: MlflowTracker, client: Any) -> None:
    tracked = tracker.finish(make_record(), home, None)
    client.delete_experiment(tracked.experiment_id)
    with pytest.raises(RunError, match="mlflow experiments restore"):
        MlflowTracker.open(None, home).begin(as_running(make_record()))


def test_runs_logged_by_half_or_tampered_with_are_reported(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    half = tracker.begin(as_running(make_record(seed=0)))
    client.set_terminated(half)
    swapped = tracker.finish(make_record(seed=1), home, None).run_id
    client.set_tag(swapped, "nlbench.fingerprint", "f" * 64)
    foreign = tracker.finish(make_record(seed=2), home, None).run_id
    client.set_tag(foreign, "nlbench.schema", "99")
    records, problems = read_records(default_tracking_uri(home))
    assert records == []
    assert len(problems) == 3
    assert any("not logged completely" in text for text in problems)
    assert any("has the fingerprint" in text for text in problems)
    assert any("schema is '99'" in text for text in problems)


def test_the_home_folder_does_not_leave_the_machine(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    secret = str(Path.home() / "private" / "images")
    record = make_record(config={"root": secret}, command=f"nlbench run --data {secret}")
    tracked = tracker.finish(record, home, None)
    run = client.get_run(tracked.run_id)
    texts = [*run.data.tags.values(), *run.data.params.values()]
    folder = Path(client.download_artifacts(tracked.run_id, "", str(home)))
    texts += [path.read_text() for path in folder.rglob("*.json")]
    texts += [path.read_text() for path in folder.rglob("*.txt")]
    if len(Path.home().parts) > 1:
        assert not [text for text in texts if secret in text]
        assert hide_home(secret) == "~/private/images"
        assert hide_home(f"/data{secret}") == f"/data{secret}"


def test_the_selection_is_kept_with_a_table_that_can_be_read(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {
        "index": [0, 1, 2, 3],
        "id": ["a", "b", "c", "d"],
        "noisy_label": [0, 0, 0, 1],
        "clean_label": [0, 0, 1, 1],
        "score": [0.9, 0.2, 0.6, 0.1],
        "keep": [True, False, True, False],
    }
    pq.write_table(pa.table(columns), home / "selection.parquet")
    tracked = tracker.finish(make_record(), home, None)
    found = {item.path for item in client.list_artifacts(tracked.run_id, "selection")}
    assert found == {"selection/selection.parquet", "selection/summary.csv"}
    rows = list(
        csv.DictReader(selection_summary(home / "selection.parquet", ["=A1", "b"]).splitlines())
    )
    assert rows[0] == {
        "class": "'=A1",
        "n": "3",
        "noisy": "1",
        "kept": "2",
        "kept_clean": "1",
        "precision": "0.5000",
        "recall": "0.5000",
    }
    assert (rows[1]["precision"], rows[1]["recall"]) == ("", "0.0000")


def test_a_damaged_selection_file_is_noted_and_harms_nothing_else(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    (home / "selection.parquet").write_bytes(b"not parquet")
    tracked = tracker.finish(make_record(), home, None)
    run = client.get_run(tracked.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["nlbench.problems"].startswith("selection: ")


def test_a_home_folder_with_an_odd_name_works(
    opened_at_once: tuple[Path, list[tuple[int, str]]], tmp_path: Path
) -> None:
    odd = tmp_path / "mü 日本 $x & 'y'"
    (odd / "mlflow").mkdir(parents=True)
    shutil.copy(opened_at_once[0] / "mlflow" / "mlflow.db", odd / "mlflow")
    uri = sqlite_uri(odd / "mlflow" / "mlflow.db")
    tracker = MlflowTracker.open(uri, odd)
    tracker.finish(make_record(), odd, None)
    assert read_records(uri) == ([make_record()], [])
    assert [path.name for path in tmp_path.iterdir()] == [odd.name]


def test_the_web_interface_is_found(home: Path, tracker: MlflowTracker, client: Any) -> None:
    tracked = tracker.finish(make_record(), home, None)
    uri = default_tracking_uri(home)
    command = ui_command(uri, 5001)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5001"
    assert "--no-serve-artifacts" in command
    assert "--no-serve-artifacts" not in ui_command(uri, 5001, host="0.0.0.0")  # noqa: S104
    with pytest.raises(ConfigError, match="is a server"):
        ui_command("https://example.org", 5001)
    (means, link), (table, table_link), (charts, charts_link) = ui_links(
        uri, "http://127.0.0.1:5001/"
    )
    board = "digits-quick/digits-symmetric-0.40"
    assert means == f"nlbench/{board} (means over seeds)"
    beside = client.get_experiment_by_name(f"nlbench-means/{board}")
    assert f"/#/experiments/{beside.experiment_id}/runs?" in link
    assert table == f"nlbench/{board} (table)"
    assert f"//127.0.0.1:5001/#/experiments/{tracked.experiment_id}/runs?" in table_link
    assert charts.endswith("(charts)")
    assert "compareRunsMode=CHART" in charts_link
    assert all("workflowType=machine_learning" in text for text in (link, table_link, charts_link))
    names = []
    for experiment in (client.get_experiment(tracked.experiment_id), beside):
        view = view_of(client, experiment.experiment_id)
        names.append((view["name"], view["compareRunCharts"][0]["metricKey"]))
        assert (
            f"[table](#/experiments/{experiment.experiment_id}/runs?"
            in (experiment.tags["mlflow.note.content"])
        )
    assert names == [("Leaderboard", "test/acc_last"), ("Means over seeds", "acc/mean")]


def view_of(client: Any, experiment_id: str) -> dict[str, Any]:
    """Return a saved view as MLflow's web interface reads it."""
    tag = json.loads(client.get_experiment(experiment_id).tags[VIEW_TAG])
    kind, _, packed = tag["state"].partition(";")
    assert kind == "deflate"
    return {"name": tag["name"], **json.loads(zlib.decompress(base64.b64decode(packed)))}


def grouped_by(client: Any, experiment_id: str) -> list[str]:
    return [k["groupByData"] for k in view_of(client, experiment_id)["groupBy"]["groupByKeys"]]


def test_a_board_groups_by_version_once_a_selector_has_two(
    home: Path, tracker: MlflowTracker, client: Any
) -> None:
    def finish(label: str, version: int, seed: int) -> str:
        mark = hashlib.sha256(f"{label} {version} {seed}".encode()).hexdigest()
        versions = {"selector": version}
        record = make_record(label=label, versions=versions, seed=seed, fingerprint=mark)
        return tracker.finish(record, home, None).experiment_id

    for label, version, seed in [("it's", 1, 0), ("it's", 1, 1), ("none", 2, 0)]:
        experiment = finish(label, version, seed)
    assert grouped_by(client, experiment) == ["selector"]
    finish("it's", 2, 0)
    assert grouped_by(client, experiment) == ["selector", "versions"]
    # A view from an earlier nlbench is replaced by the one that fits the runs.
    client.set_experiment_tag(experiment, VIEW_TAG, "from before")
    MlflowTracker.open(None, home).finish(make_record(seed=5), home, None)
    assert grouped_by(client, experiment) == ["selector", "versions"]


def test_boards_have_means_of_their_own(home: Path, tracker: MlflowTracker, client: Any) -> None:
    noises = [make_record().noise.model_copy(update={"nominal_rate": r}) for r in (0.2, 0.4)]
    for seed, noise in enumerate(noises):
        tracker.finish(make_record(noise=noise, seed=seed), home, None)
    links = ui_links(default_tracking_uri(home), "http://127.0.0.1:5000")
    means = [title for title, _ in links if "means" in title]
    assert means == [
        f"nlbench/digits-quick/digits-symmetric-{r} (means over seeds)" for r in ("0.20", "0.40")
    ]
    for rate in ("0.20", "0.40"):
        beside = client.get_experiment_by_name(
            f"nlbench-means/digits-quick/digits-symmetric-{rate}"
        )
        (run,) = client.search_runs([beside.experiment_id])
        assert run.info.run_name == "clip-knn mean"
