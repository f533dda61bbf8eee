"""The local store of runs: what is finished, what is running, what was killed.

Layout under the home folder (`NLBENCH_HOME`, default ``./nlbench-runs``)::

    runs/<fingerprint>/record.json     the RunRecord; there only when the run ended by itself
    runs/<fingerprint>/running.json    there while the run is under way; left behind by SIGKILL
    runs/<fingerprint>/started.json    the same as a RunRecord, from when its data is read
    runs/<fingerprint>/checkpoints/    the last two of a run that has not ended well
    runs/<fingerprint>/selection.parquet, predictions.parquet, gallery.json
    mlflow/mlflow.db, mlflow/artifacts/
    cache/embeddings/

Where `NLBENCH_HOME` is a URL, the home has copies of the runs there: `nlbench.results.shared`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlbench.errors import BusyError, DataError, NlbenchError, PausedError, refusals
from nlbench.files import entries_of, home_dir, write_atomic
from nlbench.files.urls import checked_url, home_url, is_url, mirror_folder
from nlbench.results.digests import has_digests
from nlbench.results.gallery import GALLERY_FILE
from nlbench.results.markers import Trace, attempt_in, forget, read_marker, trace_in
from nlbench.results.record import RunRecord
from nlbench.results.record_file import read_record, write_record
from nlbench.results.samples import PREDICTIONS_FILE, SELECTION_FILE
from nlbench.results.taking import is_taken, taken

if TYPE_CHECKING:
    from nlbench.results.shared import SharedRuns

BESIDE = (SELECTION_FILE, PREDICTIONS_FILE, GALLERY_FILE)
"""The files beside a record, which are written before it."""


@dataclass(frozen=True)
class Claim:
    """The right to run one fingerprint, held for as long as the process lives."""

    folder: Path
    attempt: int
    previous_killed: bool
    previous_mlflow_run: str | None


@dataclass(frozen=True)
class Unfinished:
    """A run that was begun and has no record; one that is not `alive` was killed, or paused."""

    record: RunRecord
    alive: bool
    is_paused: bool = False


class RunStore:
    """Records and artifacts of runs, one folder per fingerprint."""

    def __init__(self, home: Path | str | None = None) -> None:
        """Open the runs of a home.

        Args:
            home: A folder or URL; `NLBENCH_HOME` where left out.

        Raises:
            ConfigError: if it is a URL that is not allowed, or its driver is not installed.
            UnreachableError: if what is at the URL does not answer.
        """
        self._url = _url_of(home)
        place = mirror_folder(self._url) if self._url else Path(home or home_dir())
        self.home = place.expanduser().absolute()
        self.runs = self.home / "runs"
        if self._shared is not None:
            self._shared.pull_all()

    @property
    def place(self) -> str:
        """Where the runs are, for people: a folder, or a URL."""
        return str(self.runs) if self._shared is None else self._shared.shown

    @property
    def has_url(self) -> bool:
        """Whether the home is at a URL, and its folder has copies."""
        return self._url is not None

    @property
    def _shared(self) -> SharedRuns | None:
        if self._url is None:
            return None
        from nlbench.results.shared import shared_runs

        return shared_runs(self._url, self.runs)

    def folder(self, fingerprint: str) -> Path:
        """Return the folder of one run; it may not exist yet."""
        return self.runs / fingerprint

    def read(self, fingerprint: str) -> RunRecord | None:
        """Return the record of a fingerprint, or None where the run never ended.

        Raises:
            DataError: if the record is there but damaged; `write` takes its place.
            RefusedError: if it must not be read, or the disk does not give it.
        """
        path, shared = self.folder(fingerprint) / "record.json", self._shared
        if shared is None:
            return read_record(path)
        try:
            record = read_record(path)
            if record is not None and record.status == "finished":
                return record
        except DataError:
            shared.forget(fingerprint)
        shared.pull(fingerprint)
        return read_record(path)

    def write(self, record: RunRecord) -> Path:
        """Write a record after the files beside it; from then on the run counts as ended.

        Raises:
            DataError: if what was written cannot be read back; an older record then stays.
            RefusedError: if the operating system does not take it.
        """
        path, shared = self.folder(record.fingerprint) / "record.json", self._shared
        if shared is not None:
            shared.note_unsent(record.fingerprint)
        write_record(path, record, [path.with_name(name) for name in BESIDE])
        with suppress(OSError):  # the record is what counts
            self._started(record.fingerprint).unlink(missing_ok=True)
        if shared is not None:
            shared.push(record.fingerprint)
        return path

    def has_digests(self, fingerprint: str) -> bool:
        """Return whether a record's file has digests; those of earlier versions have none."""
        return has_digests(self.folder(fingerprint) / "record.json")

    def write_started(self, record: RunRecord) -> None:
        """Write what is known of a run that has begun; `write` takes it away again."""
        write_record(self._started(record.fingerprint), record)

    def unfinished(self) -> list[Unfinished]:
        """Return the runs that are under way, were killed or ended early, by fingerprint."""
        unfinished = []
        for folder in self._folders():
            record = _readable_record(folder / "started.json")
            if record is None:  # not begun, or it ended just now; damaged, it names no result
                continue
            earlier = _readable_record(folder / "record.json")
            if earlier is not None and earlier.status == "finished":
                continue  # done again by --force: the finished record stands until then
            is_paused = bool(read_marker(folder / "running.json").get("is_paused"))
            unfinished.append(Unfinished(record, is_taken(folder), is_paused))
        return unfinished

    def traces(self) -> list[Trace]:
        """Return the killed runs that MLflow may still show as running, by fingerprint."""
        found = (trace_in(folder / "running.json") for folder in self._folders())
        return [t for t in found if t and not is_taken(self.folder(t.fingerprint))]

    @contextmanager
    def settling(self, trace: Trace) -> Iterator[bool]:
        """Hold a killed run while it is completed or closed in MLflow; its trace then goes.

        Yields:
            Whether it is held; False where another process has taken the run up. After an error
            the trace stays, and the next command tries again.
        """
        folder = self.folder(trace.fingerprint)
        marker = folder / "running.json"
        with self._taken(trace.fingerprint) as is_held:
            if not is_held or trace_in(marker) != trace:
                yield False
                return
            yield True
            if self._attempts(trace.fingerprint) >= trace.attempt:
                with refusals(marker, "deleted"):
                    marker.unlink(missing_ok=True)  # its record was written: nothing left to do
            else:
                settled = {**read_marker(marker), "mlflow_uri": None}
                write_atomic(marker, json.dumps(settled))

    def _started(self, fingerprint: str) -> Path:
        return self.folder(fingerprint) / "started.json"

    def _folders(self) -> list[Path]:
        """Return the folders of all runs, by name; none where there is no home yet.

        Raises:
            RefusedError: if they cannot be listed.
        """
        return entries_of(self.runs)

    def records(self) -> tuple[list[RunRecord], list[str]]:
        """Return all readable records, in order of fingerprint, and a message per other one.

        Raises:
            RefusedError: if the folder of all runs cannot be read.
        """
        if self._shared is not None:
            self._shared.pull_all()
        good: list[RunRecord] = []
        bad: list[str] = []
        for folder in self._folders():
            try:
                record = None if folder.is_file() else read_record(folder / "record.json")
            except (NlbenchError, OSError) as error:
                bad.append(str(error))
            else:
                good += [] if record is None else [record]
        return good, bad

    @contextmanager
    def claim(self, fingerprint: str) -> Iterator[Claim]:
        """Hold the right to run a fingerprint.

        The operating system drops the lock when the process dies, however it dies. A
        ``running.json`` that is found under a free lock is therefore the trace of a killed run.

        Raises:
            BusyError: if another live process runs the same fingerprint.
            RefusedError: if its folder cannot be written.
        """
        folder = self.folder(fingerprint)
        marker = folder / "running.json"
        with self._taken(fingerprint) as is_held:
            if not is_held:
                raise BusyError(
                    f"run {fingerprint[:12]} is under way in another process. "
                    "Wait for it, or stop that process and repeat the command."
                )
            if self._shared is not None:  # it may have ended elsewhere a moment ago
                self._shared.pull(fingerprint, is_fresh=True)
            previous = read_marker(marker)
            claim = Claim(
                folder=folder,
                attempt=max(attempt_in(previous), self._attempts(fingerprint)) + 1,
                previous_killed=bool(previous),
                previous_mlflow_run=previous.get("mlflow_run"),
            )
            self.mark(claim)
            try:
                yield claim
            except PausedError:
                self._note_pause(marker)
                raise  # as after a kill: the next attempt goes on
            except Exception:
                # It failed by itself; only a process that dies leaves the marker behind.
                forget(marker)
                raise
            forget(marker)

    @contextmanager
    def held(self, fingerprint: str) -> Iterator[bool]:
        """Hold a fingerprint while a record from elsewhere is put here; nothing is run.

        Yields:
            Whether it is held; False where a live process runs it.

        Raises:
            RefusedError: if its folder cannot be written.
        """
        with self._taken(fingerprint) as is_held:
            yield is_held

    @contextmanager
    def _taken(self, fingerprint: str) -> Iterator[bool]:
        """Take a run here, and at the URL of the home where it has one."""
        with taken(self.folder(fingerprint)) as is_held:
            if is_held and self._shared is not None:
                with self._shared.taken(fingerprint) as is_held_there:
                    yield is_held_there
            else:
                yield is_held

    def _attempts(self, fingerprint: str) -> int:
        record = _readable_record(self.folder(fingerprint) / "record.json")
        return record.attempt if record else 0  # a damaged one is about to be replaced

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

    def _note_pause(self, marker: Path) -> None:
        with suppress(OSError):  # then it counts as killed, and goes on all the same
            write_atomic(marker, json.dumps({**read_marker(marker), "is_paused": True}))

    def note_mlflow(self, fingerprint: str, place: Mapping[str, str | None]) -> None:
        """Note where in MLflow a run was logged."""
        write_atomic(self.folder(fingerprint) / "mlflow.json", json.dumps(dict(place)))

    def mlflow_run(self, fingerprint: str) -> dict[str, Any]:
        """Return what `note_mlflow` noted, empty where the run was not logged."""
        return read_marker(self.folder(fingerprint) / "mlflow.json")


def _url_of(home: Path | str | None) -> str | None:
    """Return the URL of a home; None where it is a folder without one."""
    if isinstance(home, str) and is_url(home):
        return checked_url(home, "home")
    named = home_url()
    # The folder of its copies stands for it, as another part of a command hands it on.
    return named if named and home in (None, mirror_folder(named)) else None


def _readable_record(path: Path) -> RunRecord | None:
    try:
        return read_record(path)
    except (NlbenchError, OSError):
        return None
