"""What is stored beside a record: the decisions sample by sample, the predictions, the images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nlbench.errors import NlbenchError
from nlbench.results.gallery import Group, read_gallery
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore

if TYPE_CHECKING:
    from nlbench.contribution import ContributedRun, Evidence


@dataclass(frozen=True)
class Beside:
    """The files of one run.

    `place` says where the record comes from, `problems` which of its files could not be read.
    """

    place: str
    evidence: Evidence | None = None
    gallery: tuple[Group, ...] = ()
    problems: tuple[str, ...] = ()


class RunFiles:
    """The files that belong to records; they are read on demand and not kept.

    Several records may share a fingerprint, and only one of them these files: a record is found by
    its fingerprint and then compared as a whole.
    """

    def __init__(
        self,
        store: RunStore | None = None,
        local: Collection[RunRecord] = (),
        contributed: Sequence[ContributedRun] = (),
    ) -> None:
        self._store = store
        self._local: dict[str, list[RunRecord]] = {}
        for record in local:
            self._local.setdefault(record.fingerprint, []).append(record)
        self._contributed: dict[str, list[ContributedRun]] = {}
        for run in contributed:
            self._contributed.setdefault(run.record.fingerprint, []).append(run)

    def of(self, record: RunRecord) -> Beside:
        """Return the files of a run; damaged ones are named, not raised."""
        if self._store is not None and record in self._local.get(record.fingerprint, []):
            return self._stored(self._store, record)
        run = self.contributed(record)
        if run is not None:
            return Beside("a file of runs, which carries no images", run.evidence)
        return Beside("a tracking server, of which only records are read")

    def contributed(self, record: RunRecord) -> ContributedRun | None:
        """Return the run of a file of runs; None for one that was made here or on a server."""
        if record in self._local.get(record.fingerprint, []):
            return None
        runs = self._contributed.get(record.fingerprint, [])
        return next((run for run in runs if run.record == record), None)

    @staticmethod
    def _stored(store: RunStore, record: RunRecord) -> Beside:
        from nlbench.contribution import evidence_of

        folder = store.folder(record.fingerprint)
        problems: list[str] = []
        evidence: Evidence | None = None
        gallery: tuple[Group, ...] = ()
        try:
            evidence = evidence_of(folder)
        except NlbenchError as error:
            problems.append(str(error))
        try:
            gallery = read_gallery(folder)
        except NlbenchError as error:
            problems.append(str(error))
        return Beside("the local store", evidence, gallery, tuple(problems))
