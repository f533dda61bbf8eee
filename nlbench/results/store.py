"""The local store of runs: what is finished, what is running, what was killed.

Layout under the home folder (`NLBENCH_HOME`, default ``./nlbench-runs``)::

    runs/<fingerprint>/record.json     the RunRecord; there only when the run ended by itself
    runs/<fingerprint>/running.json    there while the run is under way; left behind by SIGKILL
    runs/<fingerprint>/started.json    the same as a RunRecord, from when its data is read
    runs/<fingerprint>/selection.parquet, predictions.parquet, gallery.json
    mlflow/mlflow.db, mlflow/artifacts/
    cache/embeddings/
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nlbench.errors import BusyError, DataError
from nlbench.files import home_dir, write_atomic
from nlbench.results.record import RunRecord


@dataclass(frozen=True)
class Claim:
    """The right to run one fingerprint, held for as long as the process lives."""

    folder: Path
    attempt: int
    previous_killed: bool
    previous_mlflow_run: str | None


@dataclass(frozen=True)
class Trace:
    """What a killed process left of a run: its attempt, and where in MLflow it was being logged."""

    fingerprint: str
    attempt: int
    mlflow_uri: str
    mlflow_run: str | None


@dataclass(frozen=True)
class Unfinished:
    """A run that was begun and has no record; one that is not `alive` was killed."""

    record: RunRecord
    alive: bool


class RunStore:
    """Records and artifacts of runs, one folder per fingerprint."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = (home or home_dir()).absolute()
        self.runs = self.home / "runs"

    def folder(self, fingerprint: str) -> Path:
        """Return the folder of one run; it may not exist yet."""
        return self.runs / fingerprint

    def read(self, fingerprint: str) -> RunRecord | None:
        """Return the record of a fingerprint, or None where the run never ended.

        Raises:
            DataError: if the record is there but damaged.
        """
        path = self.folder(fingerprint) / "record.json"
        try:
            return RunRecord.from_json(path.read_bytes(), source=str(path))
        except FileNotFoundError:
            return None

    def write(self, record: RunRecord) -> Path:
        """Write a record; from then on the run counts as ended.

        Raises:
            DataError: if what was written cannot be read back; an older record then stays.
        """
        path = self.folder(record.fingerprint) / "record.json"
        _write_readable(path, record)
        self._started(record.fingerprint).unlink(missing_ok=True)
        return path

    def write_started(self, record: RunRecord) -> None:
        """Write what is known of a run that has begun; `write` takes it away again."""
        _write_readable(self._started(record.fingerprint), record)

    def unfinished(self) -> list[Unfinished]:
        """Return the runs that are under way and those that were killed, by fingerprint."""
        unfinished = []
        for path in sorted(self.runs.glob("*/started.json")):
            try:
                record = RunRecord.from_json(path.read_bytes(), source=str(path))
            except (DataError, FileNotFoundError):  # it ended just now, or names no result anyway
                continue
            if _counts_already(path.with_name("record.json")):
                continue  # done again by --force: the finished record stands until then
            unfinished.append(Unfinished(record, alive=_is_held(path.with_name("lock"))))
        return unfinished

    def traces(self) -> list[Trace]:
        """Return the killed runs that MLflow may still show as running, by fingerprint."""
        found = (_trace(path) for path in sorted(self.runs.glob("*/running.json")))
        return [t for t in found if t and not _is_held(self.folder(t.fingerprint) / "lock")]

    @contextmanager
    def settling(self, trace: Trace) -> Iterator[bool]:
        """Hold a killed run while it is completed or closed in MLflow; its trace then goes.

        Yields:
            Whether it is held; False where another process has taken the run up. After an error
            the trace stays, and the next command tries again.
        """
        folder = self.folder(trace.fingerprint)
        marker, lock = folder / "running.json", FileLock(folder / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            if _trace(marker) != trace:
                yield False
                return
            yield True
            if self._attempts(trace.fingerprint) >= trace.attempt:
                marker.unlink(missing_ok=True)  # its record was written, so nothing is left to do
            else:
                settled = {**_read_marker(marker), "mlflow_uri": None}
                write_atomic(marker, json.dumps(settled))
        finally:
            lock.release()

    def _started(self, fingerprint: str) -> Path:
        return self.folder(fingerprint) / "started.json"

    def records(self) -> tuple[list[RunRecord], list[str]]:
        """Return all readable records, in order of fingerprint, and a message per damaged one."""
        good: list[RunRecord] = []
        bad: list[str] = []
        for path in sorted(self.runs.glob("*/record.json")):
            try:
                good.append(RunRecord.from_json(path.read_bytes(), source=str(path)))
            except DataError as error:
                bad.append(str(error))
        return good, bad

    @contextmanager
    def claim(self, fingerprint: str) -> Iterator[Claim]:
        """Hold the right to run a fingerprint.

        The operating system drops the lock when the process dies, however it dies. A
        ``running.json`` that is found under a free lock is therefore the trace of a killed run.

        Raises:
            BusyError: if another live process runs the same fingerprint.
        """
        folder = self.folder(fingerprint)
        folder.mkdir(parents=True, exist_ok=True)
        marker = folder / "running.json"
        try:
            with FileLock(folder / "lock", timeout=0):
                previous = _read_marker(marker)
                claim = Claim(
                    folder=folder,
                    attempt=max(int(previous.get("attempt", 0)), self._attempts(fingerprint)) + 1,
                    previous_killed=bool(previous),
                    previous_mlflow_run=previous.get("mlflow_run"),
                )
                self.mark(claim)
                try:
                    yield claim
                except Exception:
                    # It failed by itself; only a process that dies leaves the marker behind.
                    marker.unlink(missing_ok=True)
                    raise
                marker.unlink(missing_ok=True)
        except Timeout:
            raise BusyError(
                f"run {fingerprint[:12]} is under way in another process. "
                "Wait for it, or stop that process and repeat the command."
            ) from None

    @contextmanager
    def held(self, fingerprint: str) -> Iterator[bool]:
        """Hold a fingerprint while a record from elsewhere is put here; nothing is run.

        Yields:
            Whether it is held; False where a live process runs it.
        """
        folder = self.folder(fingerprint)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _attempts(self, fingerprint: str) -> int:
        try:
            record = self.read(fingerprint)
        except DataError:  # damaged: it is about to be replaced
            return 0
        return record.attempt if record else 0

    def mark(
        self, claim: Claim, mlflow_uri: str | None = None, mlflow_run: str | None = None
    ) -> None:
        """Note in ``running.json`` who runs, and in which MLflow store and run it is logged."""
        content = {
            "pid": os.getpid(),
            "attempt": claim.attempt,
            "mlflow_uri": mlflow_uri,
            "mlflow_run": mlflow_run,
        }
        write_atomic(claim.folder / "running.json", json.dumps(content))

    def note_mlflow(self, fingerprint: str, place: Mapping[str, str | None]) -> None:
        """Note where in MLflow a run was logged."""
        write_atomic(self.folder(fingerprint) / "mlflow.json", json.dumps(dict(place)))

    def mlflow_run(self, fingerprint: str) -> dict[str, Any]:
        """Return what `note_mlflow` noted, empty where the run was not logged."""
        return _read_marker(self.folder(fingerprint) / "mlflow.json")


def _write_readable(path: Path, record: RunRecord) -> None:
    """Write a record beside its place, read it back, and only then put it there."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        write_atomic(fresh, record.to_json())
        RunRecord.from_json(fresh.read_bytes(), source=str(path))
    except (DataError, ValueError) as error:  # ValueError: a number that JSON does not have
        fresh.unlink(missing_ok=True)
        culprit = next(_unwritable(record.model_dump()), str(error))
        raise DataError(
            f"the record of run {record.fingerprint[:12]} cannot be read back, so it is not kept: "
            f"{culprit}"
        ) from None
    fresh.replace(path)


def _unwritable(value: Any, name: str = "") -> Iterator[str]:
    """Yield what JSON or UTF-8 cannot hold, with the next step."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _unwritable(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _unwritable(part, f"{name}.{number}")
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        yield f"{name} is not UTF-8 text, got {value!a}. Rename the file or folder of that name."
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{name} must be a finite number, got {value}. Check what computed it."


def _counts_already(path: Path) -> bool:
    try:
        return RunRecord.from_json(path.read_bytes()).status == "finished"
    except (DataError, FileNotFoundError):
        return False


def _is_held(lock: Path) -> bool:
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def _trace(marker: Path) -> Trace | None:
    content = _read_marker(marker)
    uri, run = content.get("mlflow_uri"), content.get("mlflow_run")
    if not isinstance(uri, str):
        return None
    attempt = int(content.get("attempt", 0))
    return Trace(marker.parent.name, attempt, uri, run if isinstance(run, str) else None)


def _read_marker(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
