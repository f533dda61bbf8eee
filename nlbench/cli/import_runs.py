"""``nlbench import``: runs of another machine into this home."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nlbench.cli.console import counted, printable
from nlbench.errors import DataError, NlbenchError, refusals
from nlbench.files.urls import is_url, masked

if TYPE_CHECKING:
    from nlbench.results.store import RunStore

_MEANS = {
    "new": "new here",
    "samples added": "here without samples, which are added now",
    "already here": "already here, nothing changed",
    "differs": "here with other numbers, nothing changed",
    "under way here": "under way here, left out",
    "damaged": "here with a damaged record; run it again, or remove its folder to take the other",
}


def import_runs(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|HOME|URL",
            help="A file that `nlbench export` wrote, or another machine's NLBENCH_HOME.",
        ),
    ],
) -> None:
    """Take the runs of another machine into this home.

    Sweeps and the board then have them.

    Every run is checked as contributed ones are: schema, fingerprint, and every metric from its
    samples. A file with anything wrong is refused whole; of a home the wrong runs are left out.
    A finished run here is never replaced; samples are added where only its record was here. What
    was under way elsewhere stays there, and so do galleries of images. The exit code is 3 if
    anything was refused.

    Examples:

      nlbench import results/mine.json

      nlbench import /mnt/other-machine/nlbench-runs

      nlbench import s3://my-bucket/lab
    """
    from nlbench.contribution.taking_in import runs_to_take, take_in
    from nlbench.results.store import RunStore

    path, home = _place_of(source)
    runs, problems = runs_to_take(path)
    store = RunStore()
    outcomes = []
    for run in runs:
        try:
            outcomes.append((run.record, take_in(run, store, home)))
        except NlbenchError as error:
            problems.append(f"run {run.record.fingerprint[:12]}: {error}")
    counts = Counter(outcome for _, outcome in outcomes)
    for outcome, n in counts.items():
        typer.echo(f"{counted(n, 'run')} {_MEANS[outcome]}")
    for record, outcome in outcomes:
        if outcome in ("differs", "damaged", "under way here"):
            typer.echo(printable(f"  {outcome}: {record.fingerprint[:12]} {record.label}"))
    for problem in problems:
        typer.secho(printable(f"  refused: {problem}"), fg=typer.colors.RED, err=True)
    if problems:
        raise DataError(
            f"'{masked(source)}' has runs that do not pass the checks or cannot be put here, "
            "see above. Export them again where they were made, or leave them out."
        )
    typer.echo("Next: nlbench leaderboard (and nlbench sync, for MLflow)", err=True)


def _place_of(source: str) -> tuple[Path, RunStore | None]:
    """Return the file or folder here with the runs, and the home that they are from, if any."""
    from nlbench.files.buckets import Bucket
    from nlbench.files.copies import local_copy
    from nlbench.results.store import RunStore

    if is_url(source) and Bucket(source, "FILE|HOME").found("runs"):
        home = RunStore(source)
        return home.home, home
    path = local_copy(source, "FILE|HOME")
    with refusals(path, "read"):
        return path, RunStore(path) if path.is_dir() else None
