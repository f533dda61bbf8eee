"""``nlbench clean``: which labels of my own data are wrong?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nlbench.cli.console import quiet_stdout
from nlbench.cli.options import DataDir, Device, Plugins, add_plugins

if TYPE_CHECKING:
    pass

_WORST, _PAIRS = 20, 5


def clean(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder with a directory per class, a CSV of file,label, or a data set such as "
            "parquet:PATH.",
            show_default=False,
        ),
    ],
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
            help="Where the answer goes, or with --apply the corrected copy. "
            "(default: NAME-labels beside the current folder)",
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
    """Find the wrong labels of your own pictures, look at them, and correct them.

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
    if apply is not None:
        _apply(source, apply, out, in_place, link, data_dir, settings)
        return
    if in_place:
        from nlbench.errors import ConfigError

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
