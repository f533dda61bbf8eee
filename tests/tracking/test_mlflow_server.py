"""A real MLflow server on this machine: it wants a password, and it is killed in mid-run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow_records import as_running, make_record
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.cli.stores import _stopped_as_by_ctrl_c
from nlbench.errors import RunError
from nlbench.results.store import RunStore
from nlbench.tracking import MlflowTracker, read_records, ui_environment

START_TIMEOUT_S = 120
PASSWORD = "correct horse battery"  # noqa: S105
EPOCHS = 4


class Server:
    """``mlflow server`` with basic authentication on a free port, startable again after a kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        settings = (
            "[mlflow]\ndefault_permission = READ\nadmin_username = admin\n"
            f"database_uri = sqlite:///{folder}/users.db\nauth_cache_ttl_seconds = 60\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        (folder / "auth.ini").write_text(settings)

    def start(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        command = [
            sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth",
            "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db",
            "--artifacts-destination", str(self.folder / "artifacts"),
            "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
        ]  # fmt: skip
        environment = {
            **os.environ, **ui_environment(),
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "for tests",
        }  # fmt: skip
        # A session of its own: a kill then takes its workers too, as losing the machine would.
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):  # noqa: S310
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        pytest.fail((self.folder / "server.log").read_text()[-3000:])

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("flask_wtf", reason="`mlflow server --app-name basic-auth` needs it")
    found = Server(tmp_path_factory.mktemp("server"))
    found.start()
    yield found
    found.kill()


@pytest.fixture
def server(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    one_server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    # What the server would answer is waited for as on any other day.
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    return one_server


def run_on(server: Server, seed: int, **more: Any) -> nlbench.RunRecord:
    return nlbench.run("random", seed=seed, epochs=EPOCHS, tracking_uri=server.uri, **more)


def client_of(server: Server) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=server.uri)


def cli(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout + result.stderr


def test_a_run_is_logged_to_a_server_that_wants_a_password(server: Server) -> None:
    record = run_on(server, seed=0)
    assert read_records(server.uri) == ([record], [])
    code, output = cli("ui", "--tracking-uri", server.uri)
    assert code == 0
    assert f"{server.uri}/#/experiments/" in output
    assert "(means over seeds)" in output
    assert "choose 'Model training' at the top left" in output
    links = [line for line in output.splitlines() if "/#/" in line]
    assert len(links) == 3
    assert all("workflowType=machine_learning" in link for link in links)
    assert "Starting" not in output


def test_a_wrong_password_names_the_variables_and_costs_no_run(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    record = run_on(server, seed=1)
    assert record.status == "finished"
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in caplog.text
    assert "wrong" not in caplog.text.replace("wrong password", "")
    code, output = cli("sync", "--tracking-uri", server.uri)
    assert code == 1
    assert "MLFLOW_TRACKING_PASSWORD" in output
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    code, output = cli("sync", "--tracking-uri", server.uri)
    assert code == 0
    assert record in read_records(server.uri)[0]


def test_a_server_that_is_killed_in_mid_run_costs_nothing(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    moments: dict[str, float] = {}

    def kill_after_first_epoch(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("train", 1):
            server.kill()
        if stage == "train" and done == total:
            moments["trained"] = time.monotonic()

    record = run_on(server, seed=2, progress=kill_after_first_epoch)
    waited = time.monotonic() - moments["trained"]
    assert record.status == "finished"
    assert RunStore().read(record.fingerprint) == record
    assert "nlbench sync" in caplog.text
    print(f"the dead server held the run up for {waited:.2f} s")
    assert waited < 20, f"the dead server held the run up for {waited:.1f} s"
    code, output = cli("sync", "--tracking-uri", server.uri)
    assert code == 1  # still gone
    assert "no MLflow server answers" in output

    server.start()
    code, output = cli("sync", "--tracking-uri", server.uri)
    assert code == 0, output
    assert f"1 uploaded, 0 already there, 0 failed: {server.uri}" in output
    assert_complete(server, record)
    code, output = cli("sync", "--tracking-uri", server.uri)
    assert "0 uploaded, 1 already there, 0 failed" in output
    assert_complete(server, record)


def assert_complete(server: Server, record: nlbench.RunRecord) -> None:
    """One run of this fingerprint, the one that was begun, with all that a run has."""
    client = client_of(server)
    (logged,) = MlflowTracker.open(server.uri, RunStore().home).runs_of(record.fingerprint)
    run = client.get_run(logged.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["selector"] == "random"
    assert run.data.params["seed"] == "2"
    assert record.metrics is not None
    accuracy = round(100 * record.metrics.test.accuracy_last, 4)
    assert run.data.metrics["test/acc_last"] == accuracy
    history = client.get_metric_history(logged.run_id, "train/test_acc")
    assert [point.step for point in history] == list(range(1, EPOCHS + 1))
    assert {item.path for item in client.list_artifacts(logged.run_id)} >= {
        "result.json", "figures", "selection", "tables", "config"
    }  # fmt: skip


def test_means_over_seeds_stand_in_their_own_experiment(server: Server) -> None:
    records = [run_on(server, seed=seed) for seed in (3, 4, 5)]
    client = client_of(server)
    seed_run = client.get_run(
        MlflowTracker.open(server.uri, RunStore().home).find(records[0].fingerprint)[0].run_id
    )
    parent = client.get_run(seed_run.data.tags["mlflow.parentRunId"])
    assert parent.info.experiment_id != seed_run.info.experiment_id
    siblings = client.search_runs([seed_run.info.experiment_id])
    values = [
        run.data.metrics["test/acc_last"] for run in siblings if run.info.status == "FINISHED"
    ]
    assert parent.data.metrics["seeds"] == len(values) >= 3
    mean = sum(values) / len(values)
    sd = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    assert parent.data.metrics["acc/mean"] == pytest.approx(mean, abs=1e-3)
    assert parent.data.metrics["acc/sd"] == pytest.approx(sd, abs=1e-3)
    assert parent.data.metrics["acc/ci95_low"] < mean < parent.data.metrics["acc/ci95_high"]
    assert "seed" not in parent.data.params
    assert len(read_records(server.uri)[0]) == len(values)  # a mean is no result of a run


def test_a_server_that_is_gone_before_the_run_is_noticed_at_once(server: Server) -> None:
    tracker = MlflowTracker.open(server.uri, RunStore().home)
    server.kill()
    began = time.monotonic()
    with pytest.raises(RunError, match="nlbench sync"):
        tracker.begin(as_running(make_record()))
    assert time.monotonic() - began < 10


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            return True
    except OSError:
        return False


def wait_for_page(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers(port):
        assert process.poll() is None
        assert time.monotonic() < deadline, "the page never came up"
        time.sleep(0.3)


# Whoever runs the tests in the background has some of these signals ignored.
AS_IN_A_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from nlbench.cli import main
main()
"""


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_the_page_ends_with_the_command_that_opened_it(
    number: signal.Signals, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", AS_IN_A_TERMINAL, "ui", "--port", str(port)]
    kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment = {**kept, "NLBENCH_HOME": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_for_page(process, port)
            process.send_signal(number)
            process.wait(timeout=30)
        finally:
            process.terminate()
    deadline = time.monotonic() + 10
    while answers(port):
        assert time.monotonic() < deadline, "the page is still there"
        time.sleep(0.2)


def test_a_page_under_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _stopped_as_by_ctrl_c():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
