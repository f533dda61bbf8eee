"""Runs at a URL that many machines share, with copies of them in a folder here.

At the URL is what a finished or failed run left: ``runs/<fingerprint>/record.json`` and the files
beside it. The record is written last and read first, so a run is there as a whole or not at all;
its digests tell whether the copies are what was written. Who is at which run is told by leases,
in ``leases/<fingerprint>/``. All else of a home stays here.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from nlbench.errors import DataError, NlbenchError, refusals
from nlbench.files import entries_of, write_atomic
from nlbench.files.buckets import Bucket, BucketPlace, UnreachableError
from nlbench.files.leases import leased
from nlbench.results.digests import unsealed
from nlbench.results.gallery import GALLERY_FILE
from nlbench.results.record import RunRecord
from nlbench.results.record_file import read_record
from nlbench.results.samples import PREDICTIONS_FILE, SELECTION_FILE

log = logging.getLogger("nlbench")

RECORD_FILE = "record.json"
BESIDE = (SELECTION_FILE, PREDICTIONS_FILE, GALLERY_FILE)

_VERSION_FILE = "shared-version"
_OF_A_RUN = re.compile(r"runs/[0-9a-f]{64}/[^/]+")
_FRESH_S = 5.0
_RUNS_AT_ONCE = 100


class SharedRuns:
    """The runs at a URL, and the folder with their copies.

    What cannot be uploaded is noted in ``unsent`` beside the folder, and the next command uploads
    it. Once the store has answered, it may go away: runs go on, and are not lost.
    """

    def __init__(self, url: str, runs: Path) -> None:
        self._bucket = Bucket(url, "NLBENCH_HOME")
        self._runs, self._unsent = runs, runs.with_name("unsent")
        self._has_written = False
        self._all_since = -_FRESH_S

    @property
    def shown(self) -> str:
        """The URL, without what may be secret in it."""
        return self._bucket.shown

    def pull_all(self) -> None:
        """Upload what is missing there, and fetch all runs that are new there.

        Raises:
            UnreachableError: if the store does not answer.
        """
        if time.monotonic() - self._all_since < _FRESH_S:
            return
        self._push_unsent()
        found = self._bucket.found("runs")
        versions = {
            Path(name).parent.name: stored.version
            for name, stored in found.items()
            if name.endswith(f"/{RECORD_FILE}") and _is_of_a_run(name)
        }
        new = [f for f, version in versions.items() if self._version_here(f) != version]
        for start in range(0, len(new), _RUNS_AT_ONCE):
            self._fetch({f: versions[f] for f in new[start : start + _RUNS_AT_ONCE]}, found)
        self._all_since = time.monotonic()

    def pull(self, fingerprint: str, *, is_fresh: bool = False) -> None:
        """Fetch a run if another machine has written it; a store that went away is passed over.

        Args:
            fingerprint: Of the run.
            is_fresh: Whether to ask even if everything was looked at a moment ago.
        """
        if not is_fresh and time.monotonic() - self._all_since < _FRESH_S:
            return
        try:
            stored = self._bucket.stored(f"runs/{fingerprint}/{RECORD_FILE}")
            if stored is not None and stored.version != self._version_here(fingerprint):
                names = {f"runs/{fingerprint}/{name}" for name in (*BESIDE, RECORD_FILE)}
                self._fetch({fingerprint: stored.version}, names)
        except UnreachableError as error:
            self._say_gone(error)

    def note_unsent(self, fingerprint: str) -> None:
        """Note that a run is to be uploaded; `push` takes the note away again."""
        write_atomic(self._unsent / fingerprint, "", is_synced=False)

    def push(self, fingerprint: str) -> None:
        """Upload a run; where the store has gone away, the next command does it."""
        try:
            self._push(fingerprint)
        except UnreachableError as error:
            self._say_gone(error)

    @contextmanager
    def taken(self, fingerprint: str) -> Iterator[bool]:
        """Hold the lease on a run; where the store has gone away since it answered, without it.

        Raises:
            UnreachableError: if it may not be written, as a bucket that is missing or read-only.
        """
        lease = leased(
            BucketPlace(self._bucket, f"leases/{fingerprint}"),
            f"run {fingerprint[:12]}",
            put_error=UnreachableError,
        )
        try:
            has_it = lease.__enter__()
            self._has_written = True
        except UnreachableError as error:
            refused = isinstance(error.__cause__, PermissionError | FileNotFoundError)
            if refused and not self._has_written:
                raise
            self._say_gone(error)
            yield True
            return
        try:
            yield has_it
        finally:
            lease.__exit__(None, None, None)

    def _fetch(self, versions: dict[str, str], names: Iterable[str]) -> None:
        """Put runs into the folder here, each with its record last."""
        of_runs = [n for n in names if n.split("/")[1] in versions and _is_of_a_run(n)]
        contents = self._bucket.read_all(of_runs)
        for fingerprint, version in versions.items():
            record = contents.get(f"runs/{fingerprint}/{RECORD_FILE}")
            if record is None or (self._unsent / fingerprint).exists():
                continue
            with refusals(self._runs / fingerprint):
                for name in (*BESIDE, RECORD_FILE):
                    content = contents.get(f"runs/{fingerprint}/{name}")
                    if content is not None:
                        write_atomic(self._runs / fingerprint / name, content, is_synced=False)
            if _is_whole(record):
                write_atomic(self._runs / fingerprint / _VERSION_FILE, version, is_synced=False)

    def _push_unsent(self) -> None:
        waiting = [path.name for path in entries_of(self._unsent)]
        for fingerprint in waiting:
            self._push(fingerprint)
        if waiting:
            n = f"{len(waiting)} run" + ("s" if len(waiting) > 1 else "")
            log.warning("%s that '%s' lacked: uploaded now.", n, self.shown)

    def _push(self, fingerprint: str) -> None:
        folder = self._runs / fingerprint
        if not self._is_worth_less(fingerprint):
            for name in (*BESIDE, RECORD_FILE):
                with suppress(FileNotFoundError):
                    self._bucket.write(f"runs/{fingerprint}/{name}", (folder / name).read_bytes())
            self._has_written = True
            stored = self._bucket.stored(f"runs/{fingerprint}/{RECORD_FILE}")
            if stored is not None:
                write_atomic(folder / _VERSION_FILE, stored.version, is_synced=False)
        (self._unsent / fingerprint).unlink(missing_ok=True)

    def _is_worth_less(self, fingerprint: str) -> bool:
        """Return whether a run failed here that another machine has finished meanwhile."""
        try:
            here = read_record(self._runs / fingerprint / RECORD_FILE)
        except NlbenchError:
            return True  # damaged: it is done again, and written then
        if here is None or here.status == "finished":
            return here is None
        there = self._bucket.read(f"runs/{fingerprint}/{RECORD_FILE}")
        try:
            record = RunRecord.from_json(there or b"", source=self.shown)
        except DataError:
            return False
        return record.status == "finished"

    def _version_here(self, fingerprint: str) -> str | None:
        """Return the version that was fetched or uploaded last; None where its copy is gone."""
        folder = self._runs / fingerprint
        try:
            version = (folder / _VERSION_FILE).read_text(encoding="utf-8")
            return version if (folder / RECORD_FILE).exists() else None
        except (OSError, ValueError):
            return None

    def forget(self, fingerprint: str) -> None:
        """Have a run fetched again: its copy here is damaged."""
        with suppress(OSError):
            (self._runs / fingerprint / _VERSION_FILE).unlink(missing_ok=True)

    def _say_gone(self, error: UnreachableError) -> None:
        text = str(error)
        if text not in _SAID:
            _SAID.add(text)
            log.warning(
                "%s Runs go on without it: records stay in '%s', and the next command uploads "
                "them.", text, self._runs.parent,
            )  # fmt: skip


_SAID: set[str] = set()


@cache
def shared_runs(url: str, runs: Path) -> SharedRuns:
    """Return the runs at a URL, one object per process.

    Raises:
        ConfigError: if the URL is not allowed, or its driver is not installed.
    """
    return SharedRuns(url, runs)


def _is_of_a_run(name: str) -> bool:
    """Return whether a file at the URL belongs to a run; its name becomes a path here."""
    return bool(_OF_A_RUN.fullmatch(name)) and name.rpartition("/")[2] in (*BESIDE, RECORD_FILE)


def _is_whole(record: bytes) -> bool:
    """Return whether a record is what was written; a damaged copy is fetched again next time."""
    try:
        unsealed(record)
    except (ValueError, DataError):
        return False
    return True
