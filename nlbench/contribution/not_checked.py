"""What nobody can check of a contributed run on this machine, told without reading any data."""

from __future__ import annotations

from collections.abc import Mapping

from nlbench.contribution.document import ContributedRun
from nlbench.errors import NlbenchError
from nlbench.plugins import registry


def unchecked(run: ContributedRun) -> Mapping[str, str]:
    """Return the checks of `nlbench verify` that cannot be made here, each with its reason.

    Args:
        run: As `read_runs` gives it; it passed what needs nothing but its file.
    """
    from nlbench.contribution.origin import NotAtHandError, claim_differences

    missing: dict[str, str] = {}
    if run.record.metrics is None:
        return missing  # a failure claims nothing
    if run.evidence is None:
        missing["results"] = "the file has no samples of the run"
    elif run.evidence.predicted is None or run.evidence.test_label is None:
        missing["test accuracy"] = "the file has no predictions of the run"
    try:
        list(claim_differences(run.record))
    except NotAtHandError as reason:
        missing["selector"] = str(reason)
    except Exception as error:  # of a stranger's record
        missing["selector"] = f"its configuration cannot be read ({type(error).__name__})"
    kind = run.record.noise.kind
    try:
        registry.find("noises", kind).load()
    except NlbenchError:
        missing["noise"] = f"no noise {kind!r:.60} is installed here"
    return missing
