"""``nlbench compare``: two runs, or two files of runs, side by side."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlbench.cli.console import print_table, printable
from nlbench.cli.lookup import record_by_prefix
from nlbench.errors import ConfigError, refusals

if TYPE_CHECKING:
    from rich.table import Table

    from nlbench.contribution.comparison import Difference, Pairing
    from nlbench.results.record import RunRecord

_HEADLINE = (
    "test.accuracy_last", "test.accuracy_noisy_val", "selection.f1", "selection.precision",
    "selection.recall", "selection.auroc", "selection.kept_fraction",
)  # fmt: skip
_SHOWN = 12


def compare(
    first: Annotated[
        str, typer.Argument(help="Run fingerprint or prefix, record.json, or file of runs.")
    ],
    second: Annotated[str, typer.Argument(help="The same, to compare with it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show in what two runs, or two files of runs, differ.

    Two runs: configuration, versions, environment, noisy labels, metrics, and the first epoch at
    which each curve differs. Two files of runs: equal or not, by fingerprint, and by how much.

    Examples:

      nlbench compare 1f3a9c 77b0e1

      nlbench compare 1f3a9c leaderboard/records/digits-pair.json

      nlbench compare leaderboard/records/digits-pair.json theirs.json --json
    """
    ours, theirs = _records(first), _records(second)
    if len(ours) == 1 and len(theirs) > 1:
        theirs = [record_by_prefix(theirs, ours[0].fingerprint)]
    elif len(theirs) == 1 and len(ours) > 1:
        ours = [record_by_prefix(ours, theirs[0].fingerprint)]
    if len(ours) == len(theirs) == 1:
        _compare_runs(ours[0], theirs[0], as_json)
    else:
        _compare_files(ours, theirs, as_json)


def _records(text: str) -> list[RunRecord]:
    """Return the records that an argument names."""
    from nlbench.contribution import read_runs
    from nlbench.files.copies import local_copy
    from nlbench.results.record import RunRecord
    from nlbench.results.store import RunStore

    path = local_copy(text, "FIRST or SECOND").expanduser()
    with refusals(path, "read"):
        path = path / "record.json" if path.is_dir() else path
        content = path.read_bytes() if path.is_file() else None
    if content is not None:
        if b'"nlbench-runs"' in content[:200]:
            return [run.record for run in read_runs(path)]
        return [RunRecord.from_json(content, source=f"'{path}'")]
    if not text or not set(text) <= set("0123456789abcdef"):
        raise ConfigError(
            f"{text!r} is not an existing file, nor a run fingerprint (hexadecimal digits). "
            "Check the path."
        )
    records, problems = RunStore().records()
    return [record_by_prefix(records, text, problems)]


def _compare_runs(first: RunRecord, second: RunRecord, as_json: bool) -> None:
    from nlbench.contribution import record_differences

    differences = record_differences(first, second)
    if as_json:
        content = {
            "first": _identity(first),
            "second": _identity(second),
            "same_run": first.fingerprint == second.fingerprint,
            "differences": [vars(difference) for difference in differences],
        }
        typer.echo(json.dumps(content, indent=1))
        return
    for name, record in (("first ", first), ("second", second)):
        typer.echo(printable(f"{name}  {record.fingerprint[:12]}  {_title(record)}"))
    if first.fingerprint == second.fingerprint:
        typer.echo("The same run: one fingerprint, so the same configuration and versions.")
    print_table(_run_table(first, second, differences))
    if not differences:
        typer.echo("Equal in everything but times.")


def _run_table(first: RunRecord, second: RunRecord, differences: list[Difference]) -> Table:
    from nlbench.contribution.comparison import PARTS

    table = _empty_table("", "first", "second", "difference")
    for part in PARTS:
        rows = [d for d in differences if d.part == part]
        if part == "metrics":
            rows = [*_headline(first, second), *(d for d in rows if d.name not in _HEADLINE)]
        if not rows:
            continue
        n_different = len([d for d in differences if d.part == part])
        table.add_row(f"[bold]{part}[/]", "", "", "" if n_different else "[dim]equal[/]")
        for difference in rows[:_SHOWN]:
            table.add_row(*_cells(difference))
        if len(rows) > _SHOWN:
            table.add_row(f"  and {len(rows) - _SHOWN} more: --json has all", "", "", "")
    return table


def _headline(first: RunRecord, second: RunRecord) -> list[Difference]:
    """Return the numbers that are shown even where they are equal."""
    from nlbench.contribution.comparison import Difference

    one, two = (record.metrics.model_dump() if record.metrics else {} for record in (first, second))
    rows = []
    for name in _HEADLINE if one or two else ():
        section, key = name.split(".")
        a, b = one.get(section, {}).get(key), two.get(section, {}).get(key)
        delta = b - a if a is not None and b is not None else None
        rows.append(Difference("metrics", name, a, b, delta))
    return rows


def _cells(difference: Difference) -> tuple[Any, ...]:
    from rich.text import Text

    delta = "" if difference.delta is None else f"{difference.delta:+.4g}"
    name = f"  {difference.name}"
    if difference.epoch is not None:
        name, delta = f"{name}, epoch {difference.epoch}", f"largest {delta}" if delta else ""
    texts = (name, _value(difference.first), _value(difference.second), delta)
    style = "" if difference.delta == 0 else "bold"
    return tuple(
        Text(printable(text), style=style if i == 3 else "") for i, text in enumerate(texts)
    )


def _value(value: Any) -> str:
    if value is None:
        return "–"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:18]}…{text[-12:]}"


def _compare_files(first: list[RunRecord], second: list[RunRecord], as_json: bool) -> None:
    from nlbench.contribution import pair_up

    pairings = pair_up(first, second)
    if as_json:
        typer.echo(json.dumps({"runs": [_pairing_json(p) for p in pairings]}, indent=1))
        return
    rows = [pairing for pairing in pairings if pairing.outcome != "equal"]
    if rows:
        print_table(_file_table(rows))
    counts = Counter(pairing.outcome for pairing in pairings)
    typer.echo(", ".join(f"{n} {outcome}" for outcome, n in counts.items()))


def _file_table(pairings: list[Pairing]) -> Table:
    from rich.text import Text

    table = _empty_table("run", "outcome", "test accuracy", "F1", "from epoch")
    for pairing in pairings:
        content = _pairing_json(pairing)
        differs = pairing.outcome == "differs"
        cells = (
            f"{pairing.record.fingerprint[:12]}  {_title(pairing.record)}",
            pairing.outcome,
            f"{content['test_accuracy']:+.4g}" if differs else "",
            f"{content['selection_f1']:+.4g}" if differs else "",
            str(content["first_epoch"] or "") if differs else "",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _pairing_json(pairing: Pairing) -> dict[str, Any]:
    from nlbench.contribution.comparison import first_epoch, metric_delta

    return {
        "fingerprint": pairing.record.fingerprint,
        "run": _title(pairing.record),
        "outcome": pairing.outcome,
        "test_accuracy": metric_delta(pairing.differences, "test.accuracy_last"),
        "selection_f1": metric_delta(pairing.differences, "selection.f1"),
        "first_epoch": first_epoch(pairing.differences),
        "differences": [vars(difference) for difference in pairing.differences],
    }


def _identity(record: RunRecord) -> dict[str, str]:
    return {
        "fingerprint": record.fingerprint, "run": _title(record), "status": record.status,
        "started_at": record.started_at,
    }  # fmt: skip


def _title(record: RunRecord) -> str:
    rate = "" if record.noise.nominal_rate is None else f" {record.noise.nominal_rate:g}"
    place = f"{record.dataset.name}, {record.noise.kind}{rate}"
    return f"{record.label} on {place}, seed {record.seed}"


def _empty_table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(name, overflow="fold", justify="left" if i < 1 else "right")
    return table
