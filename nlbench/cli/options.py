"""Options that several commands take, declared once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from nlbench.errors import ConfigError

DataDir = Annotated[Path | None, typer.Option(help="Folder that contains the data sets.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(help="Python file with a selector, trainer, noise, data set or encoder."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
TrackingUri = Annotated[
    str | None, typer.Option(help="MLflow store. (default: MLFLOW_TRACKING_URI, else local)")
]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="Bit-identical GPU results, slower (CPUs always are)."),
]
MaxTime = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="End early after so long, such as 90s, 30m or 2h; the same command goes on.",
    ),
]
CheckpointEvery = Annotated[
    str,
    typer.Option(
        metavar="DURATION",
        help="Least time between two checkpoints of a run; 0s for every epoch.",
    ),
]
EVERY = "30s"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def most_seconds(max_time: str | None) -> float | None:
    """Return the seconds of ``--max-time``; None where it is left out.

    Raises:
        ConfigError: if it is not a duration above 0.
    """
    seconds = None if max_time is None else seconds_of(max_time, "--max-time")
    if seconds == 0:
        raise ConfigError(f"`--max-time` must be above 0, got {max_time!r}.")
    return seconds


def seconds_of(text: str, option: str) -> float:
    """Return the seconds of a duration.

    Raises:
        ConfigError: if it is not one.

    >>> seconds_of("90s", "--max-time"), seconds_of("1h30m", "--max-time")
    (90.0, 5400.0)
    """
    parts = re.findall(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", text)
    if not parts or "".join(map("".join, parts)) != text:
        raise ConfigError(
            f"`{option}` must be a duration such as 90s, 30m, 2h or 1h30m, got {text[:40]!r}."
        )
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def add_plugins(files: list[Path] | None) -> None:
    """Register the files of ``--plugin``."""
    from nlbench.plugins.registry import add_plugin_file

    for file in files or []:
        add_plugin_file(file)
