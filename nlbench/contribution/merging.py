"""Contributed runs for the leaderboard: read, checked for what needs no data, and merged."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from nlbench.contribution.checks import quick_problems
from nlbench.contribution.document import ContributedRun, read_runs
from nlbench.errors import ConfigError, DataError, NlbenchError, refusal, refusals
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore


def read_folder(folder: Path) -> tuple[list[ContributedRun], list[str]]:
    """Read every ``*.json`` of a folder and the folders in it, or one such file.

    A file is taken whole or not at all: whoever reads the board must know what is on it.

    Args:
        folder: With files as `nlbench export` writes them, or one of them.

    Returns:
        The runs, and a message per file that is refused.

    Raises:
        ConfigError: if there is no such folder or file, or no such file in it.
    """
    problems: list[str] = []
    files = [folder] if _is_file(folder) else _files_in(folder, problems)
    if not files and not problems:
        raise ConfigError(
            f"'{folder}' must be a folder with files of runs. Write one with "
            f"`nlbench export --all --out {folder}/mine.json`."
        )
    runs: list[ContributedRun] = []
    for path in files:
        try:
            runs += _checked(path)
        except NlbenchError as error:
            problems.append(str(error))
    backed, replaced = backed_runs(runs)
    return backed, [*problems, *replaced]


def _is_file(path: Path) -> bool:
    with refusals(path, "read"):
        return path.is_file()


def _files_in(folder: Path, problems: list[str]) -> list[Path]:
    """Return the files of a folder and those in it; one that cannot be listed is a problem."""

    def note(error: OSError) -> None:
        if error.errno != errno.ENOENT or Path(error.filename) != folder:
            problems.append(str(refusal(error, error.filename, "read")))

    walked = os.walk(folder, onerror=note)
    return sorted(
        Path(top) / name for top, _, names in walked for name in names if name.endswith(".json")
    )


def backed_runs(
    runs: Sequence[ContributedRun], made_here: Collection[str] = ()
) -> tuple[list[ContributedRun], list[str]]:
    """Leave out runs without samples where the same run is there with them, or was made here.

    The newest record of a run counts, and one that nobody can check would replace one that was.

    Args:
        runs: Of any files.
        made_here: Fingerprints of finished runs of the local store.

    Returns:
        The other runs, and a message per run that is left out.
    """
    with_samples = {run.record.fingerprint for run in runs if run.evidence is not None}
    with_samples |= set(made_here)
    left_out = [
        run.record.fingerprint[:12]
        for run in runs
        if run.evidence is None and run.record.fingerprint in with_samples
    ]
    kept = [
        run
        for run in runs
        if run.evidence is not None or run.record.fingerprint not in with_samples
    ]
    return kept, [
        f"run {name} is there with its samples and without: the one without them is left out, "
        "since nobody can check it."
        for name in left_out
    ]


def trusted_records(store: RunStore) -> tuple[list[RunRecord], list[str]]:
    """Return the records of a home that can be believed, and a message per other one.

    Those with digests are what was written. Older ones have none and are checked as contributed
    ones are.

    Raises:
        RefusedError: if the folder of all runs cannot be read.
    """
    records, problems = store.records()
    good = []
    for record in records:
        is_old = not store.has_digests(record.fingerprint)
        wrong = next(quick_problems(ContributedRun(record)), "") if is_old else ""
        if wrong:
            problems.append(
                f"run {record.fingerprint[:12]} is left out: {wrong}. It was recorded before "
                "records had digests, and may be damaged. Repeat the run with --force."
            )
        else:
            good.append(record)
    return good, problems


def merged(local: Iterable[RunRecord], contributed: Iterable[RunRecord]) -> list[RunRecord]:
    """Put records together; what is equal but for times and machine is there once.

    Two records of one run that differ in their numbers both stay: the leaderboard counts the
    newer one and says so.
    """
    kept: dict[tuple[str, str, object], RunRecord] = {}
    for record in (*local, *contributed):
        kept.setdefault((record.fingerprint, record.status, _numbers(record)), record)
    return list(kept.values())


def _numbers(record: RunRecord) -> str:
    return "" if record.metrics is None else record.metrics.model_dump_json()


def _checked(path: Path) -> list[ContributedRun]:
    runs = read_runs(path)
    wrong = [
        f"run {run.record.fingerprint[:12]}: {problem}"
        for run in runs
        for problem in quick_problems(run)
    ]
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise DataError(
            f"{path} is refused, all {len(runs)} runs of it: {'; '.join(wrong[:3])}{more}. "
            f"`nlbench verify {path}` lists everything."
        )
    return runs
