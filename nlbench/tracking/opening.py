"""Opening an MLflow store: created in one piece, and one message for whatever goes wrong."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock

from nlbench.errors import NlbenchError, RunError
from nlbench.tracking.open_errors import opening_error
from nlbench.tracking.store import check_alive, is_http, said_when_slow, sqlite_path, sqlite_uri

LOCK_TIMEOUT_S = 120.0
CONNECT_TIMEOUT_S = 5

_CLIENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # The defaults, seven retries of two minutes each, block a call to a dead server for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


def open_client(uri: str, *, create: bool = True) -> Any:
    """Open a store, creating a SQLite one where there is none.

    Args:
        uri: As `resolve_uri` gives it.
        create: Whether a missing SQLite file is created.

    Returns:
        An ``MlflowClient``; only its methods with explicit run ids are used.

    Raises:
        ConfigError: if the URI is malformed.
        RunError: if the store does not answer or cannot be used, for want of its driver too.
    """
    for key, value in _CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    path = sqlite_path(uri)
    if path is not None:  # a connection that is kept goes on writing to a file that was deleted
        os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    check_alive(uri)
    if path is not None and not path.exists() and not create:
        raise RunError(f"there is no MLflow store at {path}. Run `nlbench sync` to fill one.")
    try:
        with _first_touch(uri, path), warnings.catch_warnings():
            # Deprecations inside MLflow's own imports are for its authors, not for our users.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            if path is not None:
                _check_file(path)
                if not path.exists() or not path.stat().st_size:
                    _create(path)
            elif not is_http(uri):
                _check_database(uri)
            return _connected(uri)
    except NlbenchError:
        raise
    except Exception as error:  # whatever it is, it must not cost a run a traceback
        raise opening_error(uri, error) from error


def _connected(uri: str) -> Any:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    with nullcontext() if sqlite_path(uri) else said_when_slow(uri):
        client.search_experiments(max_results=1)
    return client


@contextmanager
def _first_touch(uri: str, path: Path | None) -> Iterator[None]:
    """Hold a lock on a database: several processes that migrate a new one at once destroy it."""
    if is_http(uri):
        yield
        return
    if path is None:
        lock = Path(tempfile.gettempdir()) / f"nlbench-mlflow-{os.getuid()}.lock"
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f"{path.name}.lock")
    writable = os.access(lock.parent, os.W_OK)
    with FileLock(lock, timeout=LOCK_TIMEOUT_S) if writable else nullcontext():
        yield


def _create(path: Path) -> None:
    """Create a SQLite store under another name and rename it when it is complete.

    MLflow takes seconds and dozens of tables; a store that was cut off half-way would never open
    again.
    """
    for remains in path.parent.glob(f".{path.name}.new-*"):  # of a process that was killed
        shutil.rmtree(remains, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}.new-", dir=path.parent, ignore_cleanup_errors=True
    ) as folder:
        made, complete = Path(folder) / "made.db", Path(folder) / "complete.db"
        _connected(sqlite_uri(made))
        # A copy, since MLflow keeps a connection to the file that it made.
        with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(complete)) as target:
            source.backup(target)
        complete.replace(path)


def _check_file(path: Path) -> None:
    # MLflow retries a file that cannot be opened for more than a minute, with a page of text.
    if path.exists():
        with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()


def _check_database(uri: str) -> None:
    # The same for a server that does not answer: here it is asked once, for a few seconds.
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    timed = uri.startswith(("postgresql", "mysql"))
    arguments = {"connect_timeout": CONNECT_TIMEOUT_S} if timed else {}
    create_engine(uri, poolclass=NullPool, connect_args=arguments).connect().close()
