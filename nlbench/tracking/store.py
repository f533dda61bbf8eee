"""An MLflow store: its URI, the errors of calls to it, and the command that serves it."""

from __future__ import annotations

import logging
import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TypeGuard
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

from nlbench.errors import ConfigError, RunError, refusal

log = logging.getLogger("nlbench")

HEALTH_TIMEOUT_S = 5.0
SAYS_SO_AFTER_S = 5.0  # that a store has not answered yet
READ_HINT = "Check the store, or fill it again with `nlbench sync`."
SYNC_HINT = "The local record is kept; run `nlbench sync` once the store answers."

# Whose errors are the store's, not ours.
_LIBRARIES = (
    "mlflow",
    "sqlalchemy",
    "sqlite3",
    "requests",
    "urllib3",
    "psycopg",
    "psycopg2",
    "pymysql",
    "MySQLdb",
)
_ANY_CALL = "api/2.0/mlflow/experiments/get?experiment_id=0"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DATABASES = ("postgresql", "mysql", "mssql")


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
            f"longer maintains stores in plain folders. Use {_as_sqlite(text)!r}, "
            "or the address of a server; `mlflow migrate-filestore` moves old runs."
        )
    raise ConfigError(
        f"the tracking URI must start with sqlite:///, http:// or https://, got {mask(text)!r}. "
        "Leave it out to use the store in the nlbench home folder."
    )


def _as_sqlite(text: str) -> str:
    """Return the SQLite URI that stands for a path or ``file:`` URI; absolute, so it works as is.

    >>> _as_sqlite("file:///data/mlruns"), _as_sqlite("/data/my.db")
    ('sqlite:////data/mlruns/mlflow.db', 'sqlite:////data/my.db')
    """
    path = Path(url2pathname(urlsplit(text).path) if text.startswith("file:") else text)
    is_file = path.suffix in (".db", ".sqlite", ".sqlite3")
    return sqlite_uri((path if is_file else path / "mlflow.db").expanduser())


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


@contextmanager
def guarded(uri: str, hint: str = SYNC_HINT) -> Iterator[None]:
    """Turn errors of MLflow and of the network into a `RunError` that says what to do.

    A store that takes its time is said to, so that nobody looks at a silent screen.

    Args:
        uri: The store, named in the message.
        hint: The next step for the user.

    Raises:
        RunError: instead of any error of MLflow or of the operating system.
    """
    try:
        with said_when_slow(uri):
            yield
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if not isinstance(error, OSError) and library not in _LIBRARIES:
            raise
        if is_of_a_file(error):
            raise RunError(str(refusal(error, error.filename, "read or written"))) from error
        text = mask(" ".join(str(error).split()))[:300].rstrip(".")
        raise RunError(
            f"MLflow at {mask(uri)} failed: {text}. {login_hint(error)}{hint}"
        ) from error


@contextmanager
def said_when_slow(uri: str) -> Iterator[None]:
    """Say once that a store has not answered for seconds, while a call waits for it."""
    waiting = threading.Timer(SAYS_SO_AFTER_S, _say_slow, [mask(uri)])
    waiting.daemon = True
    waiting.start()
    try:
        yield
    finally:
        waiting.cancel()


def _say_slow(name: str) -> None:
    log.warning("MLflow at %s has not answered for %g s; waiting.", name, SAYS_SO_AFTER_S)


def is_of_a_file(error: BaseException | None) -> TypeGuard[OSError]:
    """Return whether the operating system refused one file, rather than a store that is gone."""
    return isinstance(error, OSError) and isinstance(error.filename, str | Path)


def login_hint(error: Exception) -> str:
    """Return what to do if a server refused the login; empty for other errors."""
    code = getattr(error, "error_code", "")
    if code == "UNAUTHENTICATED" or "error code 401" in str(error):
        return (
            "It requires a login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
            "(or MLFLOW_TRACKING_TOKEN). "
        )
    if code == "PERMISSION_DENIED" or "error code 403" in str(error):
        return "You lack permission: ask for EDIT on the nlbench experiments. "
    return ""


def ui_command(uri: str, port: int, host: str = "127.0.0.1") -> list[str]:
    """Return the command that shows a store in the browser; run it with `ui_environment`.

    Raises:
        ConfigError: if the store is a server, which has its own web page.
    """
    if is_http(uri):
        raise ConfigError(f"{mask(uri)} is a server. Open it in a browser.")
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

    Its health is asked for, and then its store, since a server whose database hangs is healthy.

    Raises:
        RunError: if `uri` names a server and it does not answer.
    """
    if not is_http(uri):
        return
    for path in ("health", _ANY_CALL):
        url = f"{public_base(uri)}/{path}"
        try:
            with urllib.request.urlopen(url, timeout=HEALTH_TIMEOUT_S):  # noqa: S310 - http(s) only
                continue
        except urllib.error.HTTPError as error:
            error.close()
            if path == _ANY_CALL:  # an answer, if only that it requires a login
                continue
            reason = f"HTTP status {error.code}"
        except (OSError, ValueError, HTTPException) as error:
            reason = str(getattr(error, "reason", error))
        raise RunError(f"no MLflow server answers at {url}: {reason}. {SYNC_HINT}")
