"""Reading records back from MLflow, whoever filled it."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from nlbench.errors import DataError, RunError
from nlbench.files import home_dir
from nlbench.results.record import RunRecord
from nlbench.tracking.board import PREFIX, SUMMARY_PREFIX
from nlbench.tracking.opening import open_client
from nlbench.tracking.schema import SCHEMA
from nlbench.tracking.store import READ_HINT, guarded, resolve_uri, sqlite_path
from nlbench.tracking.view import runs_link

PAGE = 1000
ENDED = {"FINISHED": "complete", "FAILED": "failed"}
_COMPARED = ("sel/f1", "test/acc_last")


@dataclass(frozen=True)
class LoggedRun:
    """What the tags of a run in MLflow say about it."""

    run_id: str
    experiment_id: str
    status: str
    state: str
    fingerprint: str
    record_sha256: str
    start_time: int
    end_time: int

    @property
    def counts(self) -> bool:
        """Whether the run is a completely logged result that no newer one replaced."""
        return ENDED.get(self.status) == self.state

    @property
    def is_open(self) -> bool:
        """Whether MLflow shows the run as under way."""
        return self.status == "RUNNING"


def read_records(uri: str, home: Path | None = None) -> tuple[list[RunRecord], list[str]]:
    """Read the results in a store: per fingerprint the newest finished run, else the newest failed.

    Args:
        uri: The tracking URI.
        home: The nlbench home folder, for stores named relative to it.

    Returns:
        The records in order of fingerprint, and a message for each run left out.

    Raises:
        ConfigError: if the URI is malformed.
        RunError: if the store does not answer.
    """
    address = resolve_uri(uri, home or home_dir())
    client = open_client(address, create=False)
    with guarded(address, READ_HINT):
        runs = list(all_runs(client))
    experiments_shown, problems = _choose(runs)
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for run in experiments_shown:
            try:
                with guarded(address, READ_HINT):
                    records.append(_read_result(client, run, Path(folder)))
            except (DataError, RunError) as error:
                problems.append(f"{_title(run)}: {error}")
    return sorted(records, key=lambda record: record.fingerprint), problems


def all_runs(client: Any, filter_string: str = "") -> Iterator[Any]:
    """Return the runs of all nlbench experiments, each once, in no order."""
    experiments = [experiment.experiment_id for experiment in experiments_of(client)]
    return runs_in(client, experiments, filter_string)


def runs_in(client: Any, experiments: list[str], filter_string: str = "") -> Iterator[Any]:
    """Return the runs of some experiments, each once, in no order."""
    seen: set[str] = set()
    token = None
    while experiments:
        # Page tokens are offsets: a run that starts meanwhile makes another one come twice.
        page = client.search_runs(
            experiments, filter_string=filter_string, max_results=PAGE, page_token=token
        )
        for run in page:
            if run.info.run_id not in seen:
                seen.add(run.info.run_id)
                yield run
        token = page.token
        if not token:
            return


def experiments_of(client: Any) -> list[Any]:
    """Return all nlbench experiments with runs, by name; those of means not among them."""
    return _experiments(client, PREFIX)


def _experiments(client: Any, prefix: str) -> list[Any]:
    found: dict[str, Any] = {}
    token = None
    while True:
        page = client.search_experiments(
            filter_string=f"name LIKE '{prefix}%'", max_results=PAGE, page_token=token
        )
        found |= {experiment.experiment_id: experiment for experiment in page}
        token = page.token
        if not token:
            return sorted(found.values(), key=lambda experiment: str(experiment.name))


def logged_run(run: Any) -> LoggedRun:
    """Return the part of an MLflow run that identity and bookkeeping need."""
    tags = run.data.tags
    return LoggedRun(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        status=run.info.status,
        state=tags.get("nlbench.state", ""),
        fingerprint=tags.get("nlbench.fingerprint", ""),
        record_sha256=tags.get("nlbench.record_sha256", ""),
        start_time=run.info.start_time or 0,
        end_time=run.info.end_time or 0,
    )


def store_summary(uri: str, home: Path | None = None) -> str:
    """Return in a few words what is in a store; a SQLite one is opened, never created.

    Raises:
        ConfigError: if the URI is malformed.
        RunError: if the store cannot be opened.
    """
    address = resolve_uri(uri, home or home_dir())
    path = sqlite_path(address)
    if path is not None and not path.exists():
        return "not created yet: the first run does it"
    client = open_client(address, create=False)
    with guarded(address, READ_HINT):
        n_boards = len(experiments_of(client))
    return f"it opens; {n_boards} {'board' if n_boards == 1 else 'boards'}"


def ui_links(uri: str, base_url: str, home: Path | None = None) -> list[tuple[str, str]]:
    """Return the links that open each board: its means over seeds, its runs as table and as charts.

    Args:
        uri: The tracking URI.
        base_url: Where the web interface of that store is served.
        home: The nlbench home folder, for stores named relative to it.

    Returns:
        Pairs of a title and a link, three per board; the means are missing where they could not
        be written.

    Raises:
        RunError: if the store does not answer.
    """
    address = resolve_uri(uri, home or home_dir())
    client = open_client(address, create=False)
    with guarded(address, READ_HINT):
        beside = {e.tags.get("nlbench.board"): e for e in _experiments(client, SUMMARY_PREFIX)}
        experiments = experiments_of(client)
    links = []
    for experiment in experiments:
        number, means = experiment.experiment_id, beside.get(experiment.tags.get("nlbench.board"))
        if means is not None:
            link = runs_link(base_url, means.experiment_id)
            links.append((f"{experiment.name} (means over seeds)", link))
        links.append((f"{experiment.name} (table)", runs_link(base_url, number)))
        links.append((f"{experiment.name} (charts)", runs_link(base_url, number, charts=True)))
    return links


def _choose(runs: list[Any]) -> tuple[list[Any], list[str]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    problems = []
    for run in runs:
        reason = _why_left_out(run)
        if reason:
            problems.append(f"{_title(run)}: {reason}")
        elif logged_run(run).status in ENDED:
            groups[logged_run(run).fingerprint].append(run)
    readable = []
    for group in groups.values():
        current = [run for run in group if logged_run(run).counts]
        if current:
            readable.append(max(current, key=_rank))
        problems += _disagreement(group)
    return readable, problems


def _why_left_out(run: Any) -> str:
    tags = run.data.tags
    if run.info.status not in ENDED:
        return ""  # under way or killed: no result, and none claimed
    if tags.get("nlbench.schema") != SCHEMA:
        return (
            f"left out, its schema is {tags.get('nlbench.schema')!r}, this version reads {SCHEMA}"
        )
    if not tags.get("nlbench.fingerprint"):
        return "left out, it has no fingerprint"
    if tags.get("nlbench.state") not in (ENDED[run.info.status], "superseded"):
        return "left out, it was not logged completely; `nlbench sync` fills it again"
    return ""


def _rank(run: Any) -> tuple[bool, int, int]:
    return run.info.status == "FINISHED", run.info.end_time or 0, run.info.start_time or 0


def _disagreement(group: list[Any]) -> list[str]:
    """Report runs that should have given the same numbers and did not."""
    finished = [run for run in group if run.info.status == "FINISHED"]
    for key in _COMPARED:
        values = sorted({run.data.metrics[key] for run in finished if key in run.data.metrics})
        if len(values) > 1 and values[-1] - values[0] > 1e-3:
            return [
                f"{_title(finished[0])}: {len(finished)} runs with the same fingerprint differ, "
                f"{key} from {values[0]:.2f} to {values[-1]:.2f}; the newest counts"
            ]
    return []


def _read_result(client: Any, run: Any, folder: Path) -> RunRecord:
    source = f"result.json of {_title(run)}"
    uri = urlsplit(run.info.artifact_uri)
    if uri.scheme == "file":
        path = Path(url2pathname(uri.path)) / "result.json"
    else:
        target = folder / run.info.run_id
        target.mkdir()
        path = Path(client.download_artifacts(run.info.run_id, "result.json", str(target)))
    record = RunRecord.from_json(path.read_bytes(), source=source)
    tagged = run.data.tags["nlbench.fingerprint"]
    if record.fingerprint != tagged:
        raise DataError(
            f"{source} has the fingerprint {record.fingerprint[:12]}, its run {tagged[:12]}. "
            "Delete the run in MLflow and run `nlbench sync`."
        )
    return record


def _title(run: Any) -> str:
    return f"{run.info.run_name or 'unnamed'} ({run.info.run_id[:8]})"
