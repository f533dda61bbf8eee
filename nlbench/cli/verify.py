"""``nlbench verify``: is a file of runs what it says, and does it come out here?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlbench.cli.console import counted, print_table, printable
from nlbench.cli.options import Plugins, add_plugins
from nlbench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.table import Table

    from nlbench.contribution import Check, ContributedRun, Rerun
    from nlbench.results.record import RunRecord


def verify(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE|URL...", help="Files that `nlbench export` wrote."),
    ],
    repeat: Annotated[
        int, typer.Option("--rerun", min=0, help="Repeat this many runs here and compare.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="With --rerun: seed of the draw of runs.")] = 0,
    selector: Annotated[
        list[str] | None, typer.Option(help="With --rerun: draw only from these selectors.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="With --rerun: draw only from these data sets.")
    ] = None,
    noise: Annotated[
        list[str] | None, typer.Option(help="With --rerun: draw only from this KIND or KIND:RATE.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="With --rerun: where a file of the run is here, data.path=DIR."),
    ] = None,
    plugin: Plugins = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder that contains the data sets, to check the labels.")
    ] = None,
) -> None:
    """Check files of runs: every metric, hash and fingerprint.

    Metrics are computed again from the samples; the schema is checked, too.

    With --rerun N, N runs are also drawn and repeated here, in a temporary folder and without
    MLflow. Each is then equal, within rounding (with the tolerance and its reason), or differs.

    The exit code is 3 if anything does not match or a drawn run cannot be repeated here. Checks
    that need something that is missing here are named.

    Examples:

      nlbench verify results/mine.json

      nlbench verify leaderboard/records/*.json --data-dir ~/data

      nlbench verify leaderboard/records/digits-pair.json --rerun 3 --selector clipcleaner
    """
    from nlbench.cli.export import matches
    from nlbench.config.setting_text import parse_setting

    if not repeat and (selector or dataset or noise or settings or seed):
        raise ConfigError("--seed, --selector, --dataset, --noise and --set need --rerun N.")
    add_plugins(plugin)
    runs = _checked(files, data_dir)
    if repeat:
        pool = [r.record for r in runs if matches(r.record, dataset, noise, selector)]
        places = dict(parse_setting(text) for text in settings or [])
        _repeat(pool, repeat, seed, data_dir, places)


def _checked(files: list[str], data_dir: Path | None) -> list[ContributedRun]:
    """Check every file and print what came out; return their runs, all of which passed."""
    from nlbench.contribution import read_runs, verify_run
    from nlbench.files.copies import local_copy

    passed: list[ContributedRun] = []
    n_bad = 0
    for file in files:
        try:
            runs = read_runs(local_copy(file, "FILE"))
        except DataError as error:
            n_bad += 1
            _complain(str(error))
            continue
        checked = [(run, verify_run(run, data_dir)) for run in runs]
        print_table(_table(file, checked))
        wrong = list(_wrong(checked))
        n_bad += bool(wrong)
        passed += runs
        for line in wrong:
            _complain(f"  {line}")
    if n_bad:
        raise DataError(
            f"{n_bad} of {len(files)} files are refused. Export the runs again, or leave out "
            "what does not match."
        )
    return passed


def _repeat(
    pool: list[RunRecord], n: int, seed: int, data_dir: Path | None, places: dict[str, Any]
) -> None:
    from nlbench.cli.console import run_progress
    from nlbench.contribution import draw_runs, rerun

    drawn = draw_runs(pool, n, seed)
    if not drawn:
        raise ConfigError(
            f"none of the {len(pool)} matching runs is finished, so none can be repeated. Check "
            "--selector, --dataset and --noise."
        )
    _require_used(places, drawn)
    typer.echo(
        f"\nRepeating {len(drawn)} of {counted(len(pool), 'run')} here, drawn with seed {seed}"
    )
    outcomes: Counter[str] = Counter()
    for number, record in enumerate(drawn, start=1):
        with run_progress() as progress:
            result = rerun(record, data_dir, places, progress)
        outcomes[result.outcome] += 1
        _print_rerun(f"[{number}/{len(drawn)}]", result)
    typer.echo(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    if outcomes["differs"]:
        raise DataError(
            f"{outcomes['differs']} of {len(drawn)} repeated runs differ from their records. "
            "Run the command that a line names, then `nlbench compare FILE OTHER` shows where."
        )
    if outcomes["not repeated"]:
        raise DataError(
            f"{outcomes['not repeated']} of {len(drawn)} drawn runs could not be repeated here; "
            "each line above names what is missing and the next step."
        )


def _require_used(places: dict[str, Any], drawn: list[RunRecord]) -> None:
    from nlbench.contribution.at_hand import file_settings

    used = {name for record in drawn for name in file_settings(record)}
    for name in places:
        if name not in used:
            raise ConfigError(
                f"--set {name}: no drawn run used a file there; a run is repeated with its "
                f"recorded settings. Files were used for: {', '.join(sorted(used)) or 'nothing'}."
            )


def _print_rerun(number: str, result: Rerun) -> None:
    colours = {
        "equal": typer.colors.GREEN, "within rounding": typer.colors.GREEN,
        "differs": typer.colors.RED, "not repeated": typer.colors.YELLOW,
    }  # fmt: skip
    record = result.stated
    rate = "" if record.noise.nominal_rate is None else f" {record.noise.nominal_rate:g}"
    title = f"{record.label} on {record.dataset.name}, {record.noise.kind}{rate}"
    typer.echo(
        printable(f"{number} {record.fingerprint[:12]} {title}, seed {record.seed}: "), nl=False
    )
    typer.secho(result.outcome, fg=colours[result.outcome])
    if result.tolerance is not None:
        tolerance = f"{result.tolerance.summary} ({result.tolerance.reason})"
        typer.echo(printable(f"  tolerance: {tolerance}"))
    for detail in result.details:
        typer.echo(printable(f"  {detail}"))
    if result.outcome == "differs" and record.command:
        typer.echo(printable(f"  repeat it with: {record.command}"))


def _table(file: str, checked: list[tuple[ContributedRun, list[Check]]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from nlbench.contribution.checks import CHECKS
    from nlbench.files.urls import masked

    title = Text(printable(f"{masked(file)}: {counted(len(checked), 'run')}"), style="bold")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("check", "ok", "failed", "not checked"):
        table.add_column(name, justify="left" if name == "check" else "right")
    table.add_column("because", style="dim")
    for name in CHECKS:
        of_name = [c for _, checks in checked for c in checks if c.name == name]
        counts = Counter(check.outcome for check in of_name)
        skipped = len(checked) - counts["ok"] - counts["failed"]
        reasons = {d for check in of_name if check.outcome == "not checked" for d in check.details}
        if len(of_name) < len(checked):
            reasons.add("an earlier check failed")
        table.add_row(
            name,
            str(counts["ok"]),
            Text(str(counts["failed"]), style="bold red" if counts["failed"] else ""),
            str(skipped),
            Text(printable("; ".join(sorted(reasons)))),
        )
    return table


def _wrong(checked: list[tuple[ContributedRun, list[Check]]]) -> list[str]:
    seen: Counter[str] = Counter(run.record.fingerprint for run, _ in checked)
    twice = [f"run {name[:12]} is in the file {n} times" for name, n in seen.items() if n > 1]
    return twice + [
        f"run {run.record.fingerprint[:12]}, {check.name}: {detail}"
        for run, checks in checked
        for check in checks
        if check.outcome == "failed"
        for detail in check.details
    ]


def _complain(line: str) -> None:
    typer.secho(printable(line), fg=typer.colors.RED, err=True)
