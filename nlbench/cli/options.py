"""Options that several commands take, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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


def add_plugins(files: list[Path] | None) -> None:
    """Register the files of ``--plugin``."""
    from nlbench.plugins.registry import add_plugin_file

    for file in files or []:
        add_plugin_file(file)
