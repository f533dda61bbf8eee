"""``nlbench clean``: which labels of my own data are wrong?"""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlbench.cli.console import counted, print_table, printable, quiet_stdout, stage_progress
from nlbench.cli.options import DataDir, Device, Plugins, add_plugins
from nlbench.errors import ConfigError

if TYPE_CHECKING:
    from nlbench.audit.audit import Audit

_WORST, _PAIRS = 20, 5


def clean(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A folder with a directory per class, a CSV of file,label, or a data set such as "
            "parquet:PATH.",
            show_default=False,
        ),
    ] = None,
    selector: Annotated[
        list[str] | None,
        typer.Option(help="Who judges; NAME:key=value,... several vote. (default: our best)"),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Image encoder. (default: the best without a download)")
    ] = None,
    text_encoder: Annotated[
        str | None, typer.Option(help="Image-text encoder, for selectors that read class names.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Train a head, for selectors that watch a training.")
    ] = False,
    pictures: Annotated[
        bool, typer.Option(help="Look for copies, blank and odd pictures, outliers.")
    ] = True,
    rotated: Annotated[
        bool, typer.Option("--rotated", help="Look for pictures on their side, four times slower.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where the answer goes, or with --apply the corrected copy. (default: NAME-audit)",
            show_default=False,
        ),
    ] = None,
    apply: Annotated[
        Path | None, typer.Option(help="Carry out a fixes.csv instead of judging.")
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="With --apply: change the data itself, undoable.")
    ] = False,
    link: Annotated[str, typer.Option(help="With --apply: copy, hard or symbolic links.")] = "copy",
    undo: Annotated[
        Path | None, typer.Option(help="Take back what --in-place did: its undo file.")
    ] = None,
    most_pictures: Annotated[int, typer.Option(min=1, help="Most suspects on the page.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds, and of what draws.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the data set.")
    ] = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a summary alone, as JSON.")
    ] = False,
) -> None:
    """Find the wrong labels of your own pictures and correct them.

    Every image is judged, none held out, and nothing is changed. The answer is a table here, a
    page with pictures to decide on, and labels.csv and fixes.csv with all of it.

    Examples:

      nlbench clean photos/

      nlbench clean labels.csv --selector confident-learning --selector clipcleaner

      nlbench clean photos/ --apply fixes.csv --out cleaned/
    """
    from nlbench.cli.console import say_loading

    say_loading()
    add_plugins(plugin)
    if undo is not None:
        _undo(undo)
        return
    if source is None:
        raise ConfigError(
            "name what to judge: a folder with a directory per class, a table `file,label`, or a "
            "data set. Such as: nlbench clean photos/"
        )
    if apply is not None:
        _apply(source, apply, out, in_place, link, data_dir, settings)
        return
    if in_place:
        raise ConfigError("--in-place goes with --apply fixes.csv. Look at the page first.")
    with quiet_stdout(as_json):
        audit = _judged(
            source, selector, encoder, text_encoder, train, pictures, rotated, seed, settings,
            data_dir, device,
        )  # fmt: skip
        folder = _folder(out, audit)
        _write(audit, folder, most_pictures)
        if not as_json:
            _print(audit, folder)
    if as_json:
        typer.echo(_summary(audit, folder))


def _judged(
    source: str,
    selector: list[str] | None,
    encoder: str | None,
    text_encoder: str | None,
    train: bool,
    pictures: bool,
    rotated: bool,
    seed: int,
    settings: list[str] | None,
    data_dir: Path | None,
    device: str,
) -> Audit:
    from nlbench.audit.clean import DEFAULT_SELECTORS
    from nlbench.audit.clean import clean as judge
    from nlbench.audit.features import IMAGE_TEXT

    with stage_progress() as progress:
        return judge(
            source,
            selectors=selector or DEFAULT_SELECTORS,
            encoder=encoder,
            text_encoder=text_encoder or IMAGE_TEXT,
            train=train,
            pictures=pictures,
            rotated=rotated,
            seed=seed,
            data_dir=data_dir,
            options=_options(settings),
            device=device,
            command=shlex.join(["nlbench", "clean", *sys.argv[2:]]),
            progress=progress,
            tell=lambda text: typer.echo(printable(text), err=True),
        )


def _options(settings: list[str] | None) -> dict[str, Any]:
    from nlbench.config.setting_text import parse_setting

    pairs = (parse_setting(text) for text in settings or [])
    return {key.removeprefix("data."): value for key, value in pairs}


def _folder(out: Path | None, audit: Audit) -> Path:
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in audit.samples.name)
    return (out or Path(f"{name.strip('.-') or 'data'}-audit")).expanduser().absolute()


def _write(audit: Audit, folder: Path, most_pictures: int) -> None:
    audit.to_csv(folder / "labels.csv")
    audit.fixes().write(folder / "fixes.csv")
    if audit.samples.images is not None:
        audit.to_html(folder / "index.html", most_pictures)


def _apply(
    source: str,
    fixes: Path,
    out: Path | None,
    in_place: bool,
    link: str,
    data_dir: Path | None,
    settings: list[str] | None,
) -> None:
    from nlbench.audit.applying import apply_fixes, link_kind
    from nlbench.audit.reading import read_samples

    samples = read_samples(source, data_dir, _options(settings))
    done = apply_fixes(samples, fixes, out, in_place=in_place, link=link_kind(link))
    typer.echo(
        f"{counted(done.n_relabelled, 'label')} corrected, {counted(done.n_removed, 'image')} "
        f"removed, {done.n_kept} as they were: {printable(str(done.where))}"
    )
    if samples.unreadable and samples.root is not None and done.undo is None:
        typer.echo(f"{counted(len(samples.unreadable), 'unreadable file')} left behind.")
    if done.undo is not None:
        typer.echo(f"To take it back: nlbench clean --undo {shlex.quote(str(done.undo))}")


def _undo(file: Path) -> None:
    from nlbench.audit.undo import undo_moves

    typer.echo(f"{counted(undo_moves(file), 'file')} moved back.")


def _print(audit: Audit, folder: Path) -> None:
    from nlbench.cli.clean_tables import class_table, pair_table, summary_lines, suspect_table

    for line in summary_lines(audit):
        typer.echo(printable(line))
    if len(audit.suspects):
        print_table(suspect_table(audit, _WORST))
        print_table(pair_table(audit, _PAIRS))
    print_table(class_table(audit))
    for name, what in (
        ("index.html", "look and decide"),
        ("labels.csv", "every image with its score"),
        ("fixes.csv", "every suggestion; for --apply, after you looked"),
    ):
        if (folder / name).exists():
            typer.echo(f"{what}: {printable(str(folder / name))}")


def _summary(audit: Audit, folder: Path) -> str:
    rate = audit.noise_rate
    return json.dumps(
        {
            "source": audit.samples.name,
            "n": len(audit.samples),
            "n_judged": len(audit.rows),
            "n_suspected": len(audit.suspects),
            "wrong": {"value": rate.value, "low": rate.low, "high": rate.high},
            "encoder": audit.encoder,
            "selectors": [verdict.name for verdict in audit.verdicts],
            "problems": Counter(problem.kind for problem in audit.problems),
            "seconds": audit.seconds,
            "folder": str(folder),
        },
        indent=1,
    )
