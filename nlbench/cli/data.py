"""``nlbench data``: is a data set complete, and what is in it?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlbench.cli.console import guarded, percent, printable, say_loading

if TYPE_CHECKING:
    from nlbench.data.image_data import ImageData, LabelledImages

data = typer.Typer(help="The data sets on your disk.", no_args_is_help=True)

SAMPLE = 256
FLAT_SHARE = 0.5


@data.callback()
def _data() -> None:
    """The data sets on your disk."""


@data.command("check")
@guarded
def check(
    name: Annotated[str, typer.Argument(help="Name of a data set, or folder:PATH.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, as `nlbench run --set data.KEY=VALUE` takes it."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder that contains the data sets.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download it first, where nlbench can.")
    ] = False,
) -> None:
    """Read a data set and check its counts, images and labels.

    Counts it, decodes a sample, and compares human labels with it.

    Prints the classes with their counts, what was passed over and why, copies of training images in
    the test set, and what makes results doubtful. The exit code is 3 if something is missing or
    damaged; the message says what to do.

    Examples:

      nlbench data check cifar10n --data-dir ~/data

      nlbench data check cifar10 --data-dir ~/data --download

      nlbench data check folder:my-images

      nlbench data check parquet:my-data --set label_column=fine_label
    """
    say_loading()
    from nlbench.plugins.registry import make_component

    plain, _, path = name.partition(":")
    options = {**({"path": path} if path else {}), **_data_settings(settings or [])}
    if download:
        options["download"] = True
    source = make_component("datasets", plain, options)
    where = None if data_dir is None else data_dir.expanduser()
    from nlbench.files import readable

    for file in source.paths(where):
        _say("path", f"{readable(str(file))}{_size(file)}")
    content = source.load(where)
    _say("split", content.split)
    parts = _parts(content)
    flat = [_check_part(part, images, content.n_classes) for part, images in parts.items()]
    _print_classes(content, parts)
    doubts = _report(content, any(flat), _unlike_published(source, parts))
    _check_labels(source, content, where)
    said = f"is readable, with {doubts} to look at." if doubts else "is in order."
    typer.echo(f"{printable(content.name)} {said}")


def _data_settings(settings: list[str]) -> dict[str, Any]:
    from nlbench.config.setting_text import parse_setting
    from nlbench.errors import ConfigError

    options = {}
    for text in settings:
        key, value = parse_setting(text)
        section, dot, last = key.rpartition(".")
        if dot and section != "data":
            raise ConfigError(
                f"`data check --set` takes settings of the data set, data.KEY=VALUE, got {text!r}."
            )
        options[last] = value
    return options


def _parts(content: ImageData) -> dict[str, LabelledImages]:
    from nlbench.data.image_data import LabelledImages

    return {
        "train": LabelledImages(content.train_images, content.train_labels),
        "test": LabelledImages(content.test_images, content.test_labels),
        **content.other_tests,
    }


def _unlike_published(source: Any, parts: dict[str, LabelledImages]) -> list[str]:
    """Return a warning per part whose number of images is not the published one."""
    warnings = []
    allowed = 0.05 if source.published_is_rounded else 0.0
    for part, published in zip(("train", "test"), source.published or (), strict=False):
        n = len(parts[part].labels)
        if abs(n - published) > allowed * published:
            about = "about " if source.published_is_rounded else ""
            warnings.append(
                f"{n} {part} images, but {source.title} is published with {about}{published}: "
                "files are missing or added, and results are not those of the published data."
            )
    return warnings


def _report(content: ImageData, is_flat: bool, doubts: list[str]) -> str:
    """Print what was left out, copies and warnings; return their number in words."""
    from nlbench.data.copies import copies_by_pixels
    from nlbench.data.image_data import QUIET, counted
    from nlbench.data.looks import FLAT_WARNING

    copies = content.copies or copies_by_pixels(content)
    warnings = [*doubts, *content.warnings]
    if is_flat and not any(FLAT_WARNING in text for text in warnings):
        warnings.append(f"most decoded images {FLAT_WARNING}")
    if not content.test_labels_are_clean:
        warnings.append("the test set is cut from noisy labels: accuracy is against noisy labels.")
    for file_name in content.unreadable:
        _say("unreadable", file_name)
    for reason, (number, names) in content.passed_over.items():
        _say("passed over", counted(reason, number, names))
    for what, (number, names) in copies.items():
        _say("copies", counted(what, number, names))
    for text in warnings:
        _say("warning", text)
    n = len(content.unreadable) + len(copies) + len(warnings)
    n += sum(reason not in QUIET for reason in content.passed_over)
    return f"{n} point{'' if n == 1 else 's'}" if n else ""


def _say(what: str, text: str) -> None:
    typer.echo(f"{what:<13}{printable(text)}")


def _size(file: Path) -> str:
    return f"  ({file.stat().st_size / 2**20:.1f} MiB)" if file.is_file() else ""


def _check_part(part: str, images: LabelledImages, n_classes: int) -> bool:
    """Decode images spread over a part, print its counts; return whether most are of one colour."""
    import numpy as np
    import torch

    from nlbench.data.images import ImageRows, TensorImages

    source, labels = images
    some = torch.from_numpy(np.unique(np.linspace(0, len(source) - 1, SAMPLE).astype(np.int64)))
    batch = source.load(some, None if isinstance(source, TensorImages) else ImageRows.SIDE)
    sizes = np.bincount(labels, minlength=n_classes)
    _say(
        part,
        f"{len(labels)} images, {n_classes} classes of {sizes.min()} to {sizes.max()}; "
        f"{len(batch)} decoded, {_true_size(source, some, batch)}, "
        f"mean {batch.double().mean():.1f} of 255",
    )
    rows = batch.flatten(2)
    return bool((rows == rows[..., :1]).all(dim=2).all(dim=1).double().mean() > FLAT_SHARE)


def _true_size(source: Any, positions: Any, batch: Any) -> str:
    """Return the images' own width x height, whatever the batch was resized to."""
    if not hasattr(source, "sizes"):
        return f"{batch.shape[3]} x {batch.shape[2]} pixels"
    sizes = sorted(set(source.sizes(positions)), key=lambda size: (size[0] * size[1], size))
    (width, height), (wide, high) = sizes[0], sizes[-1]
    to = "" if len(sizes) == 1 else f" to {wide} x {high}"
    return f"{width} x {height}{to} pixels"


def _print_classes(content: ImageData, parts: dict[str, LabelledImages]) -> None:
    import numpy as np

    k = content.n_classes
    counts = {part: np.bincount(images.labels, minlength=k) for part, images in parts.items()}
    for label, name in enumerate(content.class_names):
        of_parts = ", ".join(f"{sizes[label]} {part}" for part, sizes in counts.items())
        _say("class", f"{name}: {of_parts}")


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
