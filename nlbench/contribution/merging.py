"""Contributed runs for the leaderboard: read, checked for what needs no data, and merged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nlbench.contribution.checks import quick_problems
from nlbench.contribution.comparison import first_epoch, metric_delta, result_differences
from nlbench.contribution.document import ContributedRun, read_runs
from nlbench.errors import ConfigError, DataError
from nlbench.results.record import RunRecord


@dataclass(frozen=True)
class Disagreement:
    """Finished records of one fingerprint whose numbers are not equal.

    Attributes:
        records: Two or more, the newest last.
        test_accuracy: Range of the test accuracy over them, as a share.
        selection_f1: Range of the selection's F1, 0 where it was not measured.
        first_epoch: The first epoch at which a curve of one differs from the newest's.
    """

    records: tuple[RunRecord, ...]
    test_accuracy: float
    selection_f1: float
    first_epoch: int | None


def disagreements(records: Iterable[RunRecord]) -> list[Disagreement]:
    """Return the runs that were recorded more than once with different metrics.

    One fingerprint means one configuration and one version of the code: what differs is due to
    the machine or to the packages, and a reader of a board must be told.

    Args:
        records: As `merged` returns them.
    """
    groups: dict[str, dict[str, RunRecord]] = defaultdict(dict)
    for record in sorted(records, key=lambda record: record.finished_at):
        if record.status == "finished":
            groups[record.fingerprint][_numbers(record)] = record
    return [_disagreement(tuple(group.values())) for group in groups.values() if len(group) > 1]


def _disagreement(records: tuple[RunRecord, ...]) -> Disagreement:
    newest = records[-1]
    differences = [result_differences(newest, older) for older in records[:-1]]
    epochs = [epoch for epoch in map(first_epoch, differences) if epoch is not None]
    accuracy, f1 = (
        _range([0.0, *(metric_delta(d, name) for d in differences)])
        for name in ("test.accuracy_last", "selection.f1")
    )
    return Disagreement(records, accuracy, f1, min(epochs, default=None))


def _range(values: list[float]) -> float:
    return max(values) - min(values)


def read_folder(folder: Path) -> tuple[list[ContributedRun], list[str]]:
    """Read every ``*.json`` of a folder and the folders in it.

    A file is taken whole or not at all: whoever reads the board must know what is on it.

    Args:
        folder: With files as `nlbench export` writes them.

    Returns:
        The runs, and a message per file that is refused.

    Raises:
        ConfigError: if there is no such folder, or no such file in it.
    """
    files = sorted(path for path in folder.rglob("*.json") if path.is_file())
    if not files:
        raise ConfigError(
            f"'{folder}' must be a folder with files of runs. Write one with "
            f"`nlbench export --all --out {folder}/mine.json`."
        )
    runs: list[ContributedRun] = []
    problems: list[str] = []
    for path in files:
        try:
            runs += _checked(path)
        except DataError as error:
            problems.append(str(error))
    return runs, problems


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
