"""What of a row or run is a contributor's word alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from nlbench.contribution import ContributedRun, unchecked
from nlbench.results.record import RunRecord
from nlbench_leaderboard.sources.run_files import RunFiles


@dataclass(frozen=True)
class Claims:
    """Whether seconds and memory were measured elsewhere, and what cannot be checked here.

    `unchecked` goes from what is not checked to the reason.
    """

    is_claimed: bool = False
    unchecked: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_alarming(self) -> bool:
        """Whether more is unknown than the samples, which large files leave out by choice."""
        return bool({"selector", "noise"} & set(self.unchecked))

    def without(self, shared: Claims) -> Claims:
        """Return what a table does not say of all its rows."""
        own = {k: v for k, v in self.unchecked.items() if shared.unchecked.get(k) != v}
        return Claims(self.is_claimed and not shared.is_claimed, own)


def shared_claims(claims: Collection[Claims]) -> Claims:
    """Return what holds for every row of a table, which then says it once.

    An alarm is repeated in its row all the same.
    """
    if not claims or any(claim.is_alarming for claim in claims):
        return Claims(bool(claims) and all(claim.is_claimed for claim in claims))
    first, *others = claims
    same = {
        k: v for k, v in first.unchecked.items() if all(o.unchecked.get(k) == v for o in others)
    }
    return Claims(all(claim.is_claimed for claim in claims), same)


def claims_of(records: Iterable[RunRecord], files: RunFiles) -> Claims:
    """Return what contributors alone say of these runs."""
    runs = [run for run in map(files.contributed, records) if run is not None]
    missing: dict[str, str] = {}
    for run in _one_of_each(runs):
        missing |= unchecked(run)
    return Claims(any(run.record.metrics for run in runs), missing)


def _one_of_each(runs: Iterable[ContributedRun]) -> list[ContributedRun]:
    """Return a run for each answer that `unchecked` may give: seeds of a row mostly share one."""
    kinds = {}
    for run in runs:
        record, evidence = run.record, run.evidence
        complete = evidence is not None and evidence.predicted is not None
        versions = str(sorted(record.versions.items(), key=str))
        kinds[
            record.selector.name, str(record.selector.params), record.noise.kind, versions,
            evidence is None, complete, record.metrics is None,
        ] = run  # fmt: skip
    return list(kinds.values())
