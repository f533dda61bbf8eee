"""What an error of a store means to its user: one sentence, and the cure."""

from __future__ import annotations

import errno

from nlbench.errors import ConfigError, NlbenchError, RunError
from nlbench.tracking.store import is_http, login_hint, mask, sqlite_path

SYNC_HINT = "`nlbench sync` fills it from the local records afterwards."

# The package that brings the module.
_DRIVERS = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "pymysql": "pymysql",
    "mysql": "mysql-connector-python",
    "pyodbc": "pyodbc",
    "pymssql": "pymssql",
}
# Parts of what SQLite, SQLAlchemy and MLflow say; the first that fits counts.
_HALF_MADE = ("already exists", "no such table", "no such column", "duplicate column")
_OTHER_MLFLOW = ("out-of-date database schema", "can't locate revision")


def opening_error(uri: str, error: Exception) -> NlbenchError:
    """Return the error that a user sees for any exception that opening a store raised.

    Args:
        uri: The store.
        error: Whatever was raised.

    Returns:
        A ConfigError where the URI itself is at fault, else a RunError: runs go on without it.
    """
    name = mask(uri)
    if isinstance(error, ImportError):
        return _missing_module(name, error)
    if not is_http(uri) and _is_malformed(error):
        return ConfigError(
            f"the tracking URI {name!r} cannot be read: {_text(error)}. Write it as "
            "dialect://user:password@host:port/database."
        )
    cure = login_hint(error) or _cure(uri, error)
    return RunError(f"the MLflow store {name} cannot be opened: {_text(error)}. {cure}")


def _missing_module(name: str, error: ImportError) -> RunError:
    module = (error.name or "").partition(".")[0]
    if module in _DRIVERS:
        return RunError(
            f"the driver of the MLflow store {name} is not installed ({_text(error)}). Install it: "
            f'pip install "{_DRIVERS[module]}". {SYNC_HINT}'
        )
    if name.startswith("postgresql") and "pq wrapper" in str(error):  # psycopg without its library
        return RunError(
            f"the driver of the MLflow store {name} is incomplete: it lacks libpq. Install it: "
            f'pip install "psycopg[binary]". {SYNC_HINT}'
        )
    return RunError(f"MLflow cannot be imported: {_text(error)}. Repair it: pip install -U mlflow")


def _is_malformed(error: Exception) -> bool:
    return type(error).__name__ in ("ArgumentError", "NoSuchModuleError", "ValueError")


def _cure(uri: str, error: Exception) -> str:
    text, path = str(error).lower(), sqlite_path(uri)
    number = error.errno if isinstance(error, OSError) else None
    if any(part in text for part in _OTHER_MLFLOW):
        return (
            "Another version of MLflow made it. Make a copy of the database, then run "
            f"`mlflow db upgrade {mask(uri)}`; if a newer MLflow made it, pip install -U mlflow."
        )
    if number in (errno.ENOSPC, errno.EDQUOT) or "disk is full" in text:
        return f"Free some space there. {SYNC_HINT}"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS) or "readonly database" in text:
        return "You lack permission to write there: choose another store with --tracking-uri."
    if "locked" in text or isinstance(error, TimeoutError):
        return f"Another process has used it for minutes: wait for it or stop it. {SYNC_HINT}"
    if is_http(uri):
        return f"Check the server. {SYNC_HINT}"
    if path is None:
        return (
            "Check that the database server runs, and host, user, password and database in the "
            f"URI. {SYNC_HINT}"
        )
    if any(part in text for part in _HALF_MADE):
        return (
            "It is incomplete: whatever created it was killed, or the disk was full. Move "
            f"'{path}' away; the next run creates a new one, and {SYNC_HINT}"
        )
    return f"Move '{path}' away if it is not an MLflow store or is damaged. {SYNC_HINT}"


def _text(error: Exception) -> str:
    """Return an error in one line, without the SQL statement that it happened in."""
    original = getattr(error, "orig", None) or error
    text = " ".join(str(original).partition("[SQL:")[0].split())
    return mask(text)[:300].rstrip(". ") or type(error).__name__
