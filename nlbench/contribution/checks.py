"""The checks that a contributed run goes through, from its own words to the data at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nlbench.contribution.consistency import contradictions
from nlbench.contribution.document import ContributedRun
from nlbench.contribution.identity import mismatches

CHECKS = ("fingerprint", "consistency", "selection metrics", "test metrics", "selector", "noise")


@dataclass(frozen=True)
class Check:
    """One check of one run; `details` says what does not match, or why it was not checked."""

    name: str
    outcome: Literal["ok", "failed", "not checked"]
    details: tuple[str, ...] = ()


def quick_problems(run: ContributedRun) -> Iterator[str]:
    """Return what a record says wrongly about itself: fingerprint, protocol, numbers that clash."""
    yield from _details(mismatches(run.record))
    yield from _details(contradictions(run.record))


def verify_run(run: ContributedRun, data_dir: Path | None = None) -> list[Check]:
    """Check everything that can be checked of a run here.

    Args:
        run: As `read_runs` gives it.
        data_dir: Folder that contains the data sets, to make the noisy labels again.

    Returns:
        A check for each of `CHECKS`; the later ones are left out where the record contradicts
        itself, since they rely on its sizes.
    """
    record = run.record
    checks = [
        _outcome("fingerprint", mismatches(record)),
        _outcome("consistency", contradictions(record)),
    ]
    if any(check.outcome == "failed" for check in checks):
        return checks
    return [*checks, *_recomputed(run), _claims(run), _labels(run, data_dir)]


def _recomputed(run: ContributedRun) -> list[Check]:
    from nlbench.contribution.recompute import selection_differences, test_differences

    record, evidence = run.record, run.evidence
    if record.metrics is None:
        reason = ("the run failed: it has no metrics",)
    elif evidence is None:
        reason = ("the file has no samples of the run",)
    else:
        selection = _outcome("selection metrics", selection_differences(record, evidence))
        if evidence.predicted is None or evidence.test_label is None:
            why = ("the run kept no predictions",)
            return [selection, Check("test metrics", "not checked", why)]
        return [selection, _outcome("test metrics", test_differences(record, evidence))]
    return [Check(name, "not checked", reason) for name in ("selection metrics", "test metrics")]


def _claims(run: ContributedRun) -> Check:
    from nlbench.contribution.origin import NotAtHandError, claim_differences

    try:
        return _outcome("selector", claim_differences(run.record))
    except NotAtHandError as reason:
        return Check("selector", "not checked", (str(reason),))


def _labels(run: ContributedRun, data_dir: Path | None) -> Check:
    from nlbench.contribution.origin import NotAtHandError, label_differences

    try:
        return _outcome("noise", label_differences(run.record, run.evidence, data_dir))
    except NotAtHandError as reason:
        return Check("noise", "not checked", (str(reason),))


def _outcome(name: str, problems: Iterator[str]) -> Check:
    details = _details(problems)
    return Check(name, "failed" if details else "ok", details)


def _details(problems: Iterator[str]) -> tuple[str, ...]:
    """Return what a check yields; a stranger's record that breaks it has not passed it."""
    from nlbench.contribution.origin import NotAtHandError

    found: list[str] = []
    try:
        for problem in problems:
            found.append(problem)  # noqa: PERF402 - what was found before it broke stays
    except NotAtHandError:
        raise
    except Exception as error:
        found.append(f"the record cannot be checked: {type(error).__name__}: {str(error)[:200]}")
    return tuple(found)
