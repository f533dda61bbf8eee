"""The options that say where work is done, for every command that takes ``--executor``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlbench.cli.console import counted
from nlbench.errors import ConfigError

if TYPE_CHECKING:
    from nlbench.runner.executors import Executor

ExecutorName = Annotated[
    str, typer.Option(help="Where the work goes: local, ray or slurm; the last two are extras.")
]
SlurmPartition = Annotated[
    str | None, typer.Option(metavar="NAME", help="Partition of the jobs. (default: Slurm's)")
]
SlurmTime = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Time limit of a job, as sbatch takes it; what takes longer goes on in the next. "
        "(default: 60 minutes)",
    ),
]
SlurmMemory = Annotated[str | None, typer.Option(metavar="SIZE", help="Memory of a job, like 16G.")]
SlurmGpus = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="GPUs of a job. (default: none)")
]
SlurmOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Any other long option of sbatch, repeatable."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local for one that ends with the "
        "command. (default: auto)"
    ),
]
RayCpus = Annotated[
    int | None,
    typer.Option(min=1, help="CPUs that a task on Ray declares. (default: 1)"),
]
RayGpus = Annotated[
    float | None,
    typer.Option(
        min=0, help="GPUs that a task on Ray declares, such as 0.5. (default: 1 if there are any)"
    ),
]


def options_of(executor: str, **by_executor: dict[str, Any]) -> dict[str, Any]:
    """Return the options of an executor that were given.

    Raises:
        ConfigError: if one of another executor was given.
    """
    given = {
        name: {key: value for key, value in options.items() if value not in (None, [])}
        for name, options in by_executor.items()
    }
    for name, options in given.items():
        if options and name != executor:
            raise ConfigError(
                f"--{name}-{min(options)} is for --executor {name}, got --executor {executor}. "
                f"Leave it out, or add --executor {name}."
            )
    return given.get(executor, {})


@contextmanager
def saying_how_to_go_on(
    executor: Executor, ended: Sequence[object], n: int, noun: str
) -> Iterator[None]:
    """After Ctrl-C, say how far it got and how it goes on; what was under way is cancelled."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(
            f"Stopped: {len(ended)} of {counted(n, noun)} ended, those under way were cancelled. "
            f"The same command goes on from here. {executor.how_to_go_on()}".rstrip(),
            err=True,
        )
        raise
