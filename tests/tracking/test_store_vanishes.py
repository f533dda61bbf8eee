"""A store that hangs, is deleted or dies in the middle of a run costs seconds and a line."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.errors import RunError
from nlbench.results.store import RunStore
from nlbench.tracking import MlflowTracker, store

PLUGIN = '''"""Does something to the store in the middle of its run."""
import shutil
from dataclasses import dataclass
from pathlib import Path
import torch
from nlbench import Selection, Selector


@dataclass(frozen=True)
class Meddles(Selector):
    def select(self, data):
        BODY
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=data.uniform())
'''


class Hanging(BaseHTTPRequestHandler):
    """Healthy, and silent whatever else is asked for, or whatever is written."""

    answers_reads = False
    released = threading.Event()

    def do_GET(self) -> None:
        if self.path != "/health" and not self.answers_reads:
            self.released.wait(60)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        self.released.wait(60)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Hanging.released.clear()
    Hanging.answers_reads = False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hanging)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Hanging.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_healthy_server_that_hangs_is_noticed_within_seconds(
    server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "HEALTH_TIMEOUT_S", 0.5)
    began = time.monotonic()
    with pytest.raises(RunError, match=r"no MLflow server answers at .*timed out"):
        MlflowTracker.open(server, RunStore().home)
    assert time.monotonic() - began < 5
    record = nlbench.run("none", epochs=1, tracking_uri=server)
    assert record.status == "finished"
    assert any("Runs continue without MLflow" in text for text in caplog.messages)


def test_a_server_that_hangs_at_what_is_written_is_said_to(
    server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Hanging.answers_reads = True
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(store, "SAYS_SO_AFTER_S", 0.5)
    record = nlbench.run("none", epochs=1, tracking_uri=server)
    assert record.status == "finished"
    assert any("has not answered for 0.5 s; waiting" in text for text in caplog.messages)


@pytest.mark.parametrize("what", ["mlflow.db", ""])
def test_a_store_that_is_deleted_during_a_run_is_filled_again(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = RunStore().home / "mlflow" / what
    body = f"shutil.rmtree({str(target)!r})" if not what else f"Path({str(target)!r}).unlink()"
    plugin = tmp_path / "meddles.py"
    plugin.write_text(PLUGIN.replace("BODY", body))
    record = nlbench.run("meddles", epochs=1, plugins=[plugin])
    assert record.status == "finished"
    assert any("its record is kept here" in text for text in caplog.messages), caplog.messages
    assert RunStore().read(record.fingerprint) == record
    result = CliRunner().invoke(app, ["sync"])
    assert result.stdout.startswith("1 uploaded, 0 already there, 0 failed"), result.output
    (logged,) = MlflowTracker.open(None, RunStore().home).find(record.fingerprint)
    assert logged.status == "FINISHED"


def test_a_folder_of_artifacts_that_is_deleted_is_made_again(tmp_path: Path) -> None:
    nlbench.run("none", epochs=1)
    shutil.rmtree(RunStore().home / "mlflow" / "artifacts")
    record = nlbench.run("random", epochs=1)
    assert RunStore().mlflow_run(record.fingerprint)
