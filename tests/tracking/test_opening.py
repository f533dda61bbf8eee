"""A store is there whole or not at all, and whatever goes wrong is one message with the cure."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.errors import ConfigError, NlbenchError, RunError
from nlbench.tracking.open_errors import opening_error
from nlbench.tracking.opening import open_client
from nlbench.tracking.store import resolve_uri, sqlite_uri

OPEN = """
import resource, sys
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from nlbench.errors import NlbenchError
from nlbench.tracking.opening import open_client
try:
    open_client(sys.argv[1])
except NlbenchError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def opening(path: Path, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPEN, sqlite_uri(path), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def n_tables(folder: Path) -> int:
    counts = [0]
    for file in folder.rglob("*.db"):
        try:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as store:
                query = "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
                counts.append(store.execute(query).fetchone()[0])
        except sqlite3.Error:
            continue
    return max(counts)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_client(sqlite_uri(path))
    assert sorted(p.name for p in path.parent.iterdir()) == ["mlflow.db", "mlflow.db.lock"]
    return path.read_bytes()


@pytest.fixture
def half_made(tmp_path: Path, complete: bytes) -> Path:
    """A store as an interrupted migration leaves it: tables without the last ones' bookkeeping."""
    path = tmp_path / "home" / "mlflow" / "mlflow.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(complete)
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("DELETE FROM alembic_version")
        store.execute("DROP TABLE logged_model_tags")
    return path


def test_a_store_whose_creation_was_killed_does_not_stay(tmp_path: Path) -> None:
    path = tmp_path / "mlflow" / "mlflow.db"
    process = opening(path)
    deadline = time.monotonic() + 120
    while n_tables(tmp_path) < 25:
        assert time.monotonic() < deadline
        assert process.poll() is None, "it was complete before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    open_client(sqlite_uri(path))
    assert sorted(p.name for p in path.parent.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_a_disk_that_is_full_leaves_no_store_and_one_message(tmp_path: Path) -> None:
    path = tmp_path / "mlflow" / "mlflow.db"
    output = opening(path, limit=200_000).communicate()[0]
    assert output.startswith("RunError: the MLflow store sqlite:///"), output
    assert "Traceback" not in output
    assert not path.exists()
    open_client(sqlite_uri(path))


def test_a_store_that_is_half_made_costs_no_run_and_is_named(
    half_made: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = half_made.parents[1]
    monkeypatch.setenv("NLBENCH_HOME", str(home))
    record = nlbench.run("none", noise="none", epochs=1, home=home)
    assert record.status == "finished"
    (message,) = [m for m in caplog.messages if "MLflow" in m]
    assert "whatever created it was killed, or the disk was full" in message
    assert f"Move '{half_made}' away" in message
    for command in ("doctor", "sync"):
        result = CliRunner().invoke(app, [command])
        text = result.stdout + result.stderr
        assert "It is incomplete" in text, command
        assert "Nothing is missing" not in text
    half_made.unlink()
    assert opening(half_made).communicate()[0] == ""


def test_doctor_creates_no_store(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert "not created yet" in result.stdout
    assert not (tmp_path / "home" / "mlflow").exists()


@pytest.mark.parametrize(
    ("uri", "package"),
    [
        ("postgresql://u:pw@localhost/db", "psycopg[binary]"),
        ("postgresql+psycopg2://u:pw@localhost/db", "psycopg2-binary"),
        ("mysql://u:pw@localhost/db", "mysqlclient"),
        ("mysql+pymysql://u:pw@localhost/db", "pymysql"),
        ("mssql://u:pw@localhost/db", "pyodbc"),
    ],
)
def test_a_missing_driver_is_named_with_its_package_and_no_password(
    uri: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_drivers(monkeypatch)
    result = CliRunner().invoke(app, ["sync", "--tracking-uri", uri])
    assert result.exit_code == 1
    assert f'pip install "{package}"' in result.stderr
    assert "pw" not in result.stderr


def without_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("psycopg", "psycopg2", "MySQLdb", "pymysql", "pyodbc"):
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_missing_driver_costs_no_run_and_sync_completes_it(
    command: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uri = "postgresql://u:pw@localhost/db"
    with monkeypatch.context() as patch:
        without_drivers(patch)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        seeds = ["--seeds", "0"] if command == "sweep" else []
        axes = ["--selector", "none", "--noise", "none", "--epochs", "1"]
        result = CliRunner().invoke(app, [command, *axes, *seeds])
        (message,) = [m for m in caplog.messages if "MLflow" in m]
        doctor = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.stderr
    assert 'pip install "psycopg[binary]"' in message
    assert message.endswith("Runs continue without MLflow.")
    assert "\n" not in message
    assert 'pip install "psycopg[binary]"' in doctor.stdout
    assert "Nothing is missing" not in doctor.stdout
    done = CliRunner().invoke(app, ["sync"])  # the store that opens: here the local one
    assert "1 uploaded, 0 already there, 0 failed" in done.stdout, done.stderr


@pytest.mark.parametrize("uri", ["postgresql+foo://h/db", "postgresql://h:notaport/db"])
def test_a_uri_that_no_database_has_is_a_mistake(uri: str) -> None:
    with pytest.raises(ConfigError, match="dialect://user:password@host:port/database"):
        open_client(uri)


class Wrapped(Exception):  # noqa: N818 - stands for sqlalchemy's
    def __init__(self, orig: Exception) -> None:
        super().__init__(f"({type(orig).__name__}) {orig}\n[SQL: CREATE TABLE x]\n(Background)")
        self.orig = orig


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (Wrapped(sqlite3.OperationalError("table spans already exists")), "It is incomplete"),
        (sqlite3.OperationalError("database or disk is full"), "Free some space"),
        (OSError(28, "No space left on device"), "Free some space"),
        (PermissionError(13, "Permission denied"), "You lack permission to write"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "You lack permission"),
        (sqlite3.OperationalError("database is locked"), "Another process has used it"),
        (sqlite3.DatabaseError("file is not a database"), "Move '/x/y.db' away"),
        (Exception("Detected out-of-date database schema (found 1)"), "mlflow db upgrade"),
        (ModuleNotFoundError("No module named 'mlflow'", name="mlflow"), "pip install -U mlflow"),
        (KeyError("anything"), "nlbench sync"),
    ],
)
def test_every_error_has_one_message_with_a_cure(error: Exception, cure: str) -> None:
    message = str(opening_error("sqlite:////x/y.db", error))
    assert cure in message
    assert "\n" not in message
    assert "[SQL" not in message
    assert isinstance(opening_error("sqlite:////x/y.db", error), RunError)


def test_a_database_server_that_is_gone_is_noticed_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("psycopg", reason="no PostgreSQL driver is installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(RunError, match="Check that the database server runs"):
        open_client(f"postgresql://u:pw@127.0.0.1:{port}/db")
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("uri", "advice"),
    [
        ("file:///data/w/mlruns", "sqlite:////data/w/mlruns/mlflow.db"),
        ("file:///data/my%20runs/", "sqlite:////data/my runs/mlflow.db"),
        ("/data/mlruns/", "sqlite:////data/mlruns/mlflow.db"),
        ("relative2.db", "sqlite:///{cwd}/relative2.db"),
        ("./mlruns", "sqlite:///{cwd}/mlruns/mlflow.db"),
        ("file:mlruns", "sqlite:///{cwd}/mlruns/mlflow.db"),
    ],
)
def test_the_advice_for_a_folder_names_the_very_store_that_works(
    uri: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        resolve_uri(uri, tmp_path)
    quoted = re.search(r"Use '([^']+)'", str(caught.value))
    assert quoted is not None
    assert quoted.group(1) == advice.format(cwd=tmp_path)
    assert resolve_uri(quoted.group(1), Path("/elsewhere")) == quoted.group(1)


def test_an_error_of_a_server_speaks_of_the_server() -> None:
    error: NlbenchError = opening_error("http://a:b@host:1", ValueError("odd answer"))
    assert "Check the server" in str(error)
    assert "a:b" not in str(error)
    assert os.linesep not in str(error)
