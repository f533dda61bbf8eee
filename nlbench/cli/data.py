"""``nlbench data``: is a data set there and whole?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlbench.cli.console import guarded, percent, printable

if TYPE_CHECKING:
    from nlbench.data.image_data import ImageData, LabelledImages

data = typer.Typer(help="The data sets on your disk.", no_args_is_help=True)

SAMPLE = 256


@data.callback()
def _data() -> None:
    """The data sets on your disk."""


@data.command("check")
@guarded
def check(
    name: Annotated[str, typer.Argument(help="A data set's name, or folder:PATH.")],
    data_dir: Annotated[Path | None, typer.Option(help="Where data sets lie.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch it first, where nlbench can.")
    ] = False,
) -> None:
    """Read a data set, count it, decode a sample, and compare human labels with it.

    The exit code is 3 if something is missing or damaged; the message says what to do.

    Examples:

      nlbench data check cifar10n --data-dir ~/data

      nlbench data check cifar10 --data-dir ~/data --download

      nlbench data check folder:my-images
    """
    from nlbench.data.image_data import LabelledImages
    from nlbench.plugins.registry import make_component

    plain, _, path = name.partition(":")
    options: dict[str, Any] = {"path": path} if path else {}
    if download:
        options["download"] = True
    source = make_component("datasets", plain, options)
    where = None if data_dir is None else data_dir.expanduser()
    for file in source.found(where):
        _say("found", f"{file}{_size(file)}")
    content = source.load(where)
    _say("split", content.split)
    parts = {
        "train": LabelledImages(content.train_images, content.train_labels),
        "test": LabelledImages(content.test_images, content.test_labels),
        **content.other_tests,
    }
    for part, images in parts.items():
        _say(part, _counted(images, content.n_classes))
    for file_name in content.unreadable:
        _say("unreadable", file_name)
    _check_labels(source, content, where)
    typer.echo(f"{content.name} is in order.")


def _say(what: str, text: str) -> None:
    typer.echo(f"{what:<13}{printable(text)}")


def _size(file: Path) -> str:
    return f"  ({file.stat().st_size / 2**20:.1f} MiB)" if file.is_file() else ""


def _counted(part: LabelledImages, n_classes: int) -> str:
    """Decode images spread over a part and give its counts."""
    import numpy as np
    import torch

    from nlbench.data.images import ImageRows, TensorImages

    images, labels = part
    some = torch.from_numpy(np.unique(np.linspace(0, len(images) - 1, SAMPLE).astype(np.int64)))
    size = None if isinstance(images, TensorImages) else ImageRows.SIDE
    batch = images.load(some, size)
    sizes = np.bincount(labels, minlength=n_classes)
    return (
        f"{len(labels)} images, {n_classes} classes of {sizes.min()} to {sizes.max()}; "
        f"{len(batch)} decoded, {batch.shape[1]} x {batch.shape[2]} x {batch.shape[3]}, "
        f"mean {batch.double().mean():.1f} of 255"
    )


def _check_labels(source: Any, content: ImageData, data_dir: Path | None) -> None:
    file = source.label_file(data_dir)
    if file is None:
        return
    from nlbench.noise.corrupt import corrupt
    from nlbench.noise.human import HOW_TO_GET, read_human_labels

    if not file.is_file() and not source.needs_label_file:
        _say("human", f"none, and none needed. {HOW_TO_GET}.")
        return
    sets = read_human_labels(file)
    for label_set in (name for name in sets if name != "clean"):
        noisy = corrupt(
            content.train_labels, content.n_classes, "human", label_set=label_set, label_file=file
        )
        _say("human", f"{label_set:<8} {percent(noisy.realized_rate)} differ from the truth")
