"""What lies beside a record: the decisions sample by sample, the predictions, the images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nlbench.errors import DataError
from nlbench.results.gallery import Group, read_gallery
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore

if TYPE_CHECKING:
    from nlbench.contribution import ContributedRun, Evidence


@dataclass(frozen=True)
class Beside:
    """What was found of one run.

    `place` says where the record comes from, `problems` which files were there and could not be
    read.
    """

    place: str
    evidence: Evidence | None = None
    gallery: tuple[Group, ...] = ()
    problems: tuple[str, ...] = ()


class RunFiles:
    """Finds what belongs to a record; reads it only when asked, and keeps nothing of it."""

    def __init__(
        self,
        store: RunStore | None = None,
        local: Collection[RunRecord] = (),
        contributed: Sequence[ContributedRun] = (),
    ) -> None:
        # By identity: two records may have one fingerprint, and only one of them these files.
        self._store = store
        self._local = {id(record): record for record in local}
        self._contributed = {id(run.record): run for run in contributed}

    def of(self, record: RunRecord) -> Beside:
        """Return what there is of a run; files that are damaged are named, not raised."""
        run = self._contributed.get(id(record))
        if run is not None:
            return Beside("a file of runs, which carries no images", run.evidence)
        if self._store is None or id(record) not in self._local:
            return Beside("a tracking server, of which only records are read")
        from nlbench.contribution import evidence_of

        folder = self._store.folder(record.fingerprint)
        problems: list[str] = []
        evidence: Evidence | None = None
        gallery: tuple[Group, ...] = ()
        try:
            evidence = evidence_of(folder)
        except DataError as error:
            problems.append(str(error))
        try:
            gallery = read_gallery(folder)
        except DataError as error:
            problems.append(str(error))
        return Beside("the local store", evidence, gallery, tuple(problems))
