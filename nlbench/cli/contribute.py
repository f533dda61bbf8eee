"""``nlbench export`` and ``nlbench verify``: results that travel."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nlbench.cli.console import printable
from nlbench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.table import Table

    from nlbench.contribution import Check, ContributedRun
    from nlbench.results.record import RunRecord
    from nlbench.results.store import RunStore


def export(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Fingerprints, or the starts of some.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The file to write, or to replace.", show_default=False)
    ] = ...,  # type: ignore[assignment]
    every: Annotated[bool, typer.Option("--all", help="All runs that have ended.")] = False,
    dataset: Annotated[
        list[str] | None, typer.Option(help="With --all: only these data sets.")
    ] = None,
    noise: Annotated[
        list[str] | None, typer.Option(help="With --all: only this KIND or KIND:RATE.")
    ] = None,
    selector: Annotated[
        list[str] | None, typer.Option(help="With --all: only these selectors.")
    ] = None,
    evidence: Annotated[
        bool,
        typer.Option(
            "--evidence/--no-evidence",
            help="With scores, decisions and predictions, so that others can recompute metrics.",
        ),
    ] = True,
) -> None:
    """Write recorded runs into one file, to contribute or to keep.

    Examples:

      nlbench export 1f3a9c --out results/mine.json

      nlbench export --all --dataset digits --noise asymmetric:0.4 --out results/digits.json
    """
    from nlbench.contribution import encode
    from nlbench.files import write_atomic
    from nlbench.results.store import RunStore

    store = RunStore()
    records, problems = store.records()
    for problem in problems:
        typer.echo(f"Left out: {printable(problem)}", err=True)
    if every == bool(runs):
        raise ConfigError("name runs by their fingerprints, or give --all; not both.")
    if runs:
        if dataset or noise or selector:
            raise ConfigError("--dataset, --noise and --selector go with --all.")
        chosen = [_one(records, prefix) for prefix in runs]
    else:
        chosen = [r for r in records if _asked(r, dataset, noise, selector)]
    if not chosen:
        raise ConfigError(f"none of the {len(records)} recorded runs is asked for.")
    unique = {record.fingerprint: record for record in chosen}
    text = encode([_travelling(record, store, evidence) for record in unique.values()])
    write_atomic(out, text)
    size = len(text.encode()) / 1024
    typer.echo(f"{len(unique)} runs, {size:.0f} KB ({size / len(unique):.1f} each): {out}")


def verify(
    files: Annotated[list[Path], typer.Argument(help="Files that `nlbench export` wrote.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="Where data sets lie, to make the noisy labels again.")
    ] = None,
) -> None:
    """Check files of runs: schema, fingerprint, noise hash, and every metric from its samples.

    The exit code is 3 if anything does not match. What cannot be checked here is named.

    Examples:

      nlbench verify results/mine.json

      nlbench verify leaderboard/records/*.json --data-dir ~/data
    """
    from rich.console import Console

    from nlbench.contribution import read_runs, verify_run

    n_bad = 0
    for file in files:
        try:
            runs = read_runs(file)
        except DataError as error:
            n_bad += 1
            _complain(str(error))
            continue
        found = [(run, verify_run(run, data_dir)) for run in runs]
        Console().print(_table(file, found))
        wrong = list(_wrong(found))
        n_bad += bool(wrong)
        for line in wrong:
            _complain(f"  {line}")
    if n_bad:
        raise DataError(
            f"{n_bad} of {len(files)} files are refused. Export the runs again, or leave out "
            "what does not match."
        )


def _one(records: list[RunRecord], prefix: str) -> RunRecord:
    found = [record for record in records if record.fingerprint.startswith(prefix)]
    if len(found) != 1:
        raise ConfigError(
            f"{len(found)} of {len(records)} recorded runs start with {prefix!r}; one is needed. "
            "`nlbench leaderboard --json` has the fingerprints."
        )
    return found[0]


def _asked(
    record: RunRecord,
    datasets: list[str] | None,
    noises: list[str] | None,
    selectors: list[str] | None,
) -> bool:
    rate = record.noise.nominal_rate
    names = {
        record.noise.kind,
        record.noise.kind if rate is None else f"{record.noise.kind}:{rate:g}",
    }
    return (
        (not datasets or record.dataset.name in datasets)
        and (not noises or bool(names & set(noises)))
        and (not selectors or record.selector.name in selectors)
    )


def _travelling(record: RunRecord, store: RunStore, evidence: bool) -> ContributedRun:
    from nlbench.contribution import ContributedRun, evidence_of
    from nlbench.results.record import RunRecord as Record
    from nlbench.tracking.schema import hide_home

    wanted = evidence and record.metrics is not None
    return ContributedRun(
        Record.from_json(hide_home(record.to_json())),
        evidence_of(store.folder(record.fingerprint)) if wanted else None,
    )


def _table(file: Path, found: list[tuple[ContributedRun, list[Check]]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from nlbench.contribution.checks import CHECKS

    title = Text(printable(f"{file}: {len(found)} runs"), style="bold")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("check", "ok", "failed", "not checked"):
        table.add_column(name, justify="left" if name == "check" else "right")
    table.add_column("because", style="dim")
    for name in CHECKS:
        checks = [check for _, checks in found for check in checks if check.name == name]
        counts = Counter(check.outcome for check in checks)
        skipped = len(found) - counts["ok"] - counts["failed"]
        reasons = {d for check in checks if check.outcome == "not checked" for d in check.details}
        if len(checks) < len(found):
            reasons.add("an earlier check failed")
        table.add_row(
            name,
            str(counts["ok"]),
            Text(str(counts["failed"]), style="bold red" if counts["failed"] else ""),
            str(skipped),
            Text(printable("; ".join(sorted(reasons)))),
        )
    return table


def _wrong(found: list[tuple[ContributedRun, list[Check]]]) -> list[str]:
    seen: Counter[str] = Counter(run.record.fingerprint for run, _ in found)
    twice = [f"run {name[:12]} is in the file {n} times" for name, n in seen.items() if n > 1]
    return twice + [
        f"run {run.record.fingerprint[:12]}, {check.name}: {detail}"
        for run, checks in found
        for check in checks
        if check.outcome == "failed"
        for detail in check.details
    ]


def _complain(line: str) -> None:
    typer.secho(printable(line), fg=typer.colors.RED, err=True)
