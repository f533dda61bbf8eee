"""Runs from elsewhere for the local store: checked, and nothing here is worth less afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from nlbench.contribution.checks import quick_problems, verify_run
from nlbench.contribution.document import ContributedRun, read_runs
from nlbench.contribution.evidence import evidence_of, write_evidence
from nlbench.errors import ConfigError, DataError, NlbenchError, refusals
from nlbench.files import read_if_there, write_atomic
from nlbench.results.samples import PREDICTIONS_FILE, SELECTION_FILE
from nlbench.results.store import RunStore

TakenIn = Literal["new", "samples added", "already here", "differs", "under way here", "damaged"]


def runs_to_take(source: Path) -> tuple[list[ContributedRun], list[str]]:
    """Read a file that `nlbench export` wrote, or another home, and check every run.

    A file is taken whole or not at all, as on the leaderboard; of a home each run stands for
    itself.

    Args:
        source: The file, or a folder that `NLBENCH_HOME` named elsewhere.

    Returns:
        The runs that passed, and why others did not.

    Raises:
        ConfigError: if it is neither.
        RefusedError: if the operating system does not let us look.
    """
    with refusals(source, "read"):
        is_file, is_home = source.is_file(), (source / "runs").is_dir()
    if is_file:
        return _of_file(source)
    if not is_home:
        raise ConfigError(
            f"'{source}' must be a file that `nlbench export` wrote or a home: a folder with a "
            "folder 'runs' in it, as NLBENCH_HOME names it."
        )
    return _of_home(RunStore(source))


def take_in(run: ContributedRun, store: RunStore, home: RunStore | None = None) -> TakenIn:
    """Put a checked run into a store; a finished record here stays unless samples are added to it.

    Args:
        run: As `runs_to_take` returns it: its fingerprint names a folder.
        store: Where it goes.
        home: The home that it is from, whose files also name the samples; None for one of a file.

    Returns:
        What happened: ``new`` where no finished run was here, ``samples added`` where the same
        numbers were here without samples; all others change nothing.
    """
    with store.held(run.record.fingerprint) as held:
        if not held:
            return "under way here"
        try:
            outcome = _compared(run, store)
        except DataError:
            return "damaged"
        if outcome in ("new", "samples added"):
            # The record last: with it the run counts as ended.
            _put_samples(run, store, home)
            store.write(run.record)
        return outcome


def _put_samples(run: ContributedRun, store: RunStore, home: RunStore | None) -> None:
    folder = store.folder(run.record.fingerprint)
    if run.evidence is None:
        return
    if home is None:
        write_evidence(folder, run.evidence)
        return
    for name in (SELECTION_FILE, PREDICTIONS_FILE):
        file = home.folder(run.record.fingerprint) / name
        content = read_if_there(file)
        if content is not None:
            write_atomic(folder / name, content)


def _compared(run: ContributedRun, store: RunStore) -> TakenIn:
    here = store.read(run.record.fingerprint)
    if here is None or (here.status != "finished" and run.record.status == "finished"):
        return "new"
    if here.status != "finished" or run.record.status != "finished":
        return "already here"
    if here.metrics != run.record.metrics:
        return "differs"
    has_samples = evidence_of(store.folder(here.fingerprint)) is not None
    return "already here" if has_samples or run.evidence is None else "samples added"


def _of_file(path: Path) -> tuple[list[ContributedRun], list[str]]:
    try:
        runs = read_runs(path)
    except NlbenchError as error:
        return [], [str(error)]
    wrong = [problem for run in runs for problem in _problems(run)]
    return ([], wrong) if wrong else (runs, [])


def _of_home(home: RunStore) -> tuple[list[ContributedRun], list[str]]:
    good: list[ContributedRun] = []
    records, problems = home.records()
    for record in records:
        # Before its fingerprint names a folder.
        wrong = list(quick_problems(ContributedRun(record)))
        problems += [f"run {record.fingerprint[:12]}: {problem}" for problem in wrong]
        if wrong or record.status == "running":
            continue
        try:
            run = ContributedRun(record, evidence_of(home.folder(record.fingerprint)))
        except NlbenchError as error:
            problems.append(str(error))
            continue
        if record.metrics is None:
            run = replace(run, evidence=None)
        wrong = list(_problems(run))
        problems += wrong
        if not wrong:
            good.append(run)
    return good, problems


def _problems(run: ContributedRun) -> Iterator[str]:
    for check in verify_run(run):
        if check.outcome == "failed":
            for detail in check.details:
                yield f"run {run.record.fingerprint[:12]}, {check.name}: {detail}"
