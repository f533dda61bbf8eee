"""``nlbench export``: runs in one file that travels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from nlbench.cli.console import counted, printable
from nlbench.cli.lookup import record_by_prefix
from nlbench.errors import ConfigError, NlbenchError, RunError

if TYPE_CHECKING:
    from nlbench.contribution import ContributedRun
    from nlbench.results.record import RunRecord
    from nlbench.results.store import RunStore


def export(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run fingerprints or unique prefixes.")
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE|URL", help="The file to write, or to replace.", show_default=False
        ),
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

      nlbench export --all --out s3://my-bucket/records/mine.json
    """
    from nlbench.contribution import encode
    from nlbench.files.copies import write_anywhere
    from nlbench.files.urls import masked
    from nlbench.results.store import RunStore

    store = RunStore()
    records, problems = store.records()
    for problem in problems:
        typer.echo(f"Left out: {printable(problem)}", err=True)
    if every == bool(runs):
        raise ConfigError("give fingerprints or --all, not both.")
    if runs:
        if dataset or noise or selector:
            raise ConfigError("--dataset, --noise and --selector go with --all.")
        selection = [record_by_prefix(records, prefix, problems) for prefix in runs]
    else:
        selection = [r for r in records if matches(r, dataset, noise, selector)]
    if not selection:
        raise ConfigError(
            f"no recorded run (of {len(records)}) matches; check --dataset, --noise, --selector."
        )
    unique = {record.fingerprint: record for record in selection}
    travelling = []
    for record in unique.values():
        try:
            travelling.append(_travelling(record, store, evidence))
        except NlbenchError as error:
            if not every:
                raise
            typer.echo(f"Left out: {printable(str(error))}", err=True)
    if not travelling:
        raise RunError(f"none of {counted(len(unique), 'run')} can be exported, see above.")
    text = encode(travelling)
    write_anywhere(out, text, "--out")
    size, n = len(text.encode()) / 1024, len(travelling)
    typer.echo(f"{counted(n, 'run')}, {size:.0f} KB ({size / n:.1f} each): {masked(out)}")


def matches(
    record: RunRecord,
    datasets: list[str] | None,
    noises: list[str] | None,
    selectors: list[str] | None,
) -> bool:
    """Return whether a run is of the named data sets, noises and selectors; None means any."""
    rate = record.noise.nominal_rate
    names = {
        record.noise.kind,
        record.noise.kind if rate is None else f"{record.noise.kind}:{rate:g}",
    }
    return (
        (not datasets or record.dataset.name in datasets)
        and (not noises or bool(names & set(noises)))
        and (not selectors or bool({record.selector.name, record.method} & set(selectors)))
    )


def _travelling(record: RunRecord, store: RunStore, evidence: bool) -> ContributedRun:
    from nlbench.contribution import ContributedRun, evidence_of
    from nlbench.results.record import RunRecord as Record
    from nlbench.tracking.schema import hide_home

    needed = evidence and record.metrics is not None
    # Names of hosts are nobody's business elsewhere; what the numbers depend on stays.
    changed = {
        "command": without_place(record.command),
        "environment": {k: v for k, v in record.environment.items() if k != "machine"},
    }
    return ContributedRun(
        Record.from_json(hide_home(record.model_copy(update=changed).to_json())),
        evidence_of(store.folder(record.fingerprint)) if needed else None,
    )


def without_place(command: str) -> str:
    """Return a command with ``DIR`` for the folder of the data sets, which is elsewhere for others.

    >>> without_place("nlbench run --data-dir '/home/me/my data' --seed 1")
    'nlbench run --data-dir DIR --seed 1'
    """
    word = r"""(?:\$?'[^']*'|"[^"]*"|[^\s'"])+"""
    return re.sub(rf"(?<= --data-dir ){word}", "DIR", command)
