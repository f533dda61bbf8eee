"""Opening an MLflow store: its URI, the checks before the first call, and the server command."""

from __future__ import annotations

import os
import sqlite3
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

from nlbench.errors import ConfigError, RunError

HEALTH_TIMEOUT_S = 5.0
LOCK_TIMEOUT_S = 120.0
READ_HINT = "Check the store, or fill it again with `nlbench sync`."
SYNC_HINT = "The local record is kept; run `nlbench sync` once the store answers."

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DATABASES = ("postgresql", "mysql", "mssql")
_CLIENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # The defaults, seven retries of two minutes each, block a call to a dead server for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


def default_tracking_uri(home: Path) -> str:
    """Return the URI of the SQLite store under a home folder."""
    return sqlite_uri(home.absolute() / "mlflow" / "mlflow.db")


def sqlite_uri(path: Path) -> str:
    """Return the SQLite URI of a file.

    Raises:
        ConfigError: if the path has a character that a URI cannot carry.

    >>> sqlite_uri(Path("/data/mlflow.db"))
    'sqlite:////data/mlflow.db'
    """
    text = path.absolute().as_posix()
    # Encoding them does not help: MLflow and the versions of SQLAlchemy decode differently.
    if set(text) & set("%?#"):
        raise ConfigError(
            f"the path of an MLflow store must not contain %, ? or #, got {text!r}. "
            "Set NLBENCH_HOME or the tracking URI to another folder."
        )
    return f"sqlite:///{text}"


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite URI, None for any other URI."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").split("?")[0])


def is_http(uri: str) -> bool:
    """Return whether a URI names an MLflow server."""
    return uri.startswith(("http://", "https://"))


def resolve_uri(uri: str | None, home: Path) -> str:
    """Return the absolute URI of the store to use.

    Args:
        uri: What the user asked for; without it ``MLFLOW_TRACKING_URI`` counts, then the store
            under `home`.
        home: The folder for everything that nlbench writes.

    Returns:
        A URI that does not depend on the current folder.

    Raises:
        ConfigError: if the URI is malformed or names a kind of store that does not work.
    """
    text = (uri or os.environ.get("MLFLOW_TRACKING_URI") or "").strip()
    if not text:
        return default_tracking_uri(home)
    if text.startswith("sqlite:"):
        return _resolve_sqlite(text)
    if is_http(text):
        return _check_http(text)
    if text.split(":")[0].split("+")[0] in _DATABASES and "://" in text:
        return text
    if "://" not in text or text.startswith("file:"):
        raise ConfigError(
            f"the tracking URI must name a database or a server, got {mask(text)!r}: MLflow no "
            "longer maintains stores in plain folders. "
            f"Use 'sqlite:///{text.removeprefix('file:').rstrip('/').lstrip('/')}/mlflow.db', "
            "or the address of a server; `mlflow migrate-filestore` moves old runs."
        )
    raise ConfigError(
        f"the tracking URI must start with sqlite:///, http:// or https://, got {mask(text)!r}. "
        "Leave it out to use the store in the nlbench home folder."
    )


def mask(uri: str) -> str:
    """Return a URI without its credentials, fit for printing.

    >>> mask("https://ann:secret@example.org:5000/ml")
    'https://***@example.org:5000/ml'
    """
    head, scheme, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    if not scheme or "@" not in authority:
        return uri
    return f"{head}://***@{authority.rpartition('@')[2]}{slash}{path}"


def public_base(uri: str) -> str | None:
    """Return the address of a server's web page, None where the store has no server."""
    if not is_http(uri):
        return None
    parts = urlsplit(uri)
    netloc = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))


def open_client(uri: str, *, create: bool = True) -> Any:
    """Open a store, creating a SQLite one where there is none.

    Args:
        uri: As `resolve_uri` gives it.
        create: Whether a missing SQLite file is created.

    Returns:
        An ``MlflowClient``; only its methods with explicit run ids are used.

    Raises:
        RunError: if the store does not answer or cannot be used.
    """
    for key, value in _CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    path = sqlite_path(uri)
    check_alive(uri)
    with guarded(uri), _first_touch(path, create=create), warnings.catch_warnings():
        # Deprecations inside MLflow's own imports are for its authors, not for our users.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def guarded(uri: str, hint: str = SYNC_HINT) -> Iterator[None]:
    """Turn errors of MLflow and of the network into a `RunError` that says what to do.

    Args:
        uri: The store, named in the message.
        hint: The next step for the user.

    Raises:
        RunError: instead of any error of MLflow or of the operating system.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not type(error).__module__.startswith("mlflow."):
            raise
        text = mask(" ".join(str(error).split()))[:300].rstrip(".")
        raise RunError(f"MLflow at {mask(uri)} failed: {text}. {_who(error)}{hint}") from error


def _who(error: Exception) -> str:
    """Return what to do where a server did not take the login."""
    code = getattr(error, "error_code", "")
    if code == "UNAUTHENTICATED" or "error code 401" in str(error):
        return (
            "It wants a login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
            "(or MLFLOW_TRACKING_TOKEN). "
        )
    if code == "PERMISSION_DENIED" or "error code 403" in str(error):
        return "This user lacks the right: ask for EDIT on the nlbench experiments. "
    return ""


def ui_command(uri: str, port: int, host: str = "127.0.0.1") -> list[str]:
    """Return the command that shows a store in the browser; run it with `ui_environment`.

    Raises:
        ConfigError: if the store is a server, which has its own web page.
    """
    if is_http(uri):
        raise ConfigError(f"{mask(uri)} is a server already. Open it in a browser.")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    path = sqlite_path(uri)
    if path is not None:
        root = (path.parent / "artifacts").as_uri()
        # On one machine, files written through the server and past it must have the same
        # addresses; a client elsewhere can only hand its files to the server.
        local = ["--no-serve-artifacts", "--default-artifact-root", root]
        command += local if host in _LOOPBACK else ["--artifacts-destination", root]
    return [*command, "--host", host, "--port", str(port), "--workers", "1"]


def ui_environment() -> dict[str, str]:
    """Return the environment for `ui_command`: no telemetry, no job runner with its processes."""
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**quiet, **os.environ}


def _resolve_sqlite(uri: str) -> str:
    path, mark, query = uri.removeprefix("sqlite:///").partition("?")
    if not uri.startswith("sqlite:///") or not path.strip("/") or path == ":memory:":
        raise ConfigError(
            f"a SQLite tracking URI must name a file, got {uri!r}. "
            "Write sqlite:///relative/mlflow.db or sqlite:////absolute/mlflow.db."
        )
    return sqlite_uri(Path(path).expanduser()) + mark + query


def _check_http(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(
            f"the tracking URI must be http(s)://host[:port], got {mask(uri)!r}. "
            "Check its spelling."
        )
    return uri.rstrip("/")


def check_alive(uri: str) -> None:
    """Ask a server whether it is there: the answer takes seconds, a call to a dead one minutes.

    Raises:
        RunError: if `uri` names a server and it does not answer.
    """
    if not is_http(uri):
        return
    url = f"{public_base(uri)}/health"
    try:
        with urllib.request.urlopen(url, timeout=HEALTH_TIMEOUT_S):  # noqa: S310 - http(s) only
            return
    except urllib.error.HTTPError as error:
        reason = f"HTTP status {error.code}"
        error.close()
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "reason", error))
    raise RunError(f"no MLflow server answers at {url}: {reason}. {SYNC_HINT}")


@contextmanager
def _first_touch(path: Path | None, *, create: bool) -> Iterator[None]:
    """Hold a lock on a SQLite store: several processes that migrate it at once destroy it."""
    if path is None:
        yield
        return
    if not path.exists() and not create:
        raise RunError(f"there is no MLflow store at {path}. Run `nlbench sync` to fill one.")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = f"{path}.lock"
    writable = os.access(path.parent, os.W_OK)
    with FileLock(lock, timeout=LOCK_TIMEOUT_S) if writable else nullcontext():
        _check_sqlite(path)
        yield


def _check_sqlite(path: Path) -> None:
    # MLflow retries a file that cannot be opened for more than a minute, with a page of text.
    try:
        connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)
        try:
            connection.execute("PRAGMA schema_version").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise RunError(
            f"{path} cannot be used as an MLflow store: {error}. "
            "Move the file away; `nlbench sync` fills a new one from the local records."
        ) from None
