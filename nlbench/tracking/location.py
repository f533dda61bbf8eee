"""Where a store is on the disk: its file, and the folder of its artifacts."""

from __future__ import annotations

from pathlib import Path

from nlbench.tracking.store import is_http, sqlite_path


def file_of(uri: str) -> tuple[int, int] | None:
    """Return which file a SQLite store is: a new one under the same name is another store."""
    path = sqlite_path(uri)
    if path is None or not path.exists():
        return None
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def artifact_root(uri: str, home: Path) -> Path | None:
    """Return the folder for artifacts; a server decides for itself."""
    if is_http(uri):
        return None
    path = sqlite_path(uri)
    # MLflow's own default depends on the folder in which the first process happened to start.
    return (path.parent if path else home.absolute() / "mlflow") / "artifacts"
