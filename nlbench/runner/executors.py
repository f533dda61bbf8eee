"""Where work is done: one interface, and the executors that nlbench brings, by name.

An executor is a module of this package with a function `make(order)`; its package is an extra and
is imported only when the executor is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from nlbench.errors import ConfigError, did_you_mean
from nlbench.machine import require_device_name, resolve_device

if TYPE_CHECKING:
    from nlbench.runner.work import Outcome, Work
    from nlbench.runner.workplace import Progress, Workplace


@dataclass(frozen=True)
class SweepOrder:
    """What an executor is told before its first piece of work.

    Attributes:
        place: The driver's: its store, where all records end up; its MLflow store, which an
            executor on other machines writes from here; data folder and switches.
        device: As typed. Executors on other machines resolve it where the work is done.
        jobs: The most at once; None leaves it to the executor.
        selector_timeout_s: The most seconds that a cell's selector may take.
        works: All that may be submitted: what files and plugins they need.
        options: The executor's own, by name; those that were not given are missing.
    """

    place: Workplace
    device: str = "auto"
    jobs: int | None = None
    selector_timeout_s: float | None = None
    works: Sequence[Work] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


class Executor(Protocol):
    """Does work such as the cells of a sweep, several at once, here or elsewhere.

    A context. Left in good order it closes what it opened; left by an error, Ctrl-C included, it
    cancels all that is under way and leaves no process behind: the next command does it again.
    `begin`, `next_ended` and the properties are called from one thread. A record's
    `environment["machine"]` is the machine that its cell ran on.
    """

    def __enter__(self) -> Executor:
        """Return itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """Close it, or cancel what is under way."""

    @property
    def capacity(self) -> int:
        """How many can be under way at once, at the moment; at least 1."""

    @property
    def has_room(self) -> bool:
        """Whether one more can begin."""

    @property
    def under_way(self) -> Collection[str]:
        """The keys of what has begun and `next_ended` has not returned."""

    def begin(self, work: Work, progress: Progress) -> None:
        """Submit work; never waits for it. While `next_ended` waits, it calls `progress`."""

    def next_ended(self) -> Outcome:
        """Wait for any work to end and return how; what it made is in the store by then.

        What failed, whose machine was lost for good, or that another command has ("busy") is
        returned, not raised.

        Raises:
            RunError: if nothing can run at all, as without the cluster.
        """

    def how_to_go_on(self) -> str:
        """Return what a user should know after Ctrl-C beyond the same command; mostly nothing."""


class _Known(NamedTuple):
    module: str
    needs: str  # what is imported, "" where nothing is to be installed


EXECUTORS: Mapping[str, _Known] = {
    "local": _Known("nlbench.runner.local_executor", ""),
    "ray": _Known("nlbench.runner.on_ray.executor", "ray"),
    "slurm": _Known("nlbench.runner.on_slurm.executor", "submitit"),
}
"""By name; an extra of nlbench has the same name."""


def require_executor(name: str) -> None:
    """Refuse an executor that nobody knows or whose package is missing.

    Raises:
        ConfigError: with the names there are, or the line that installs it.
    """
    if name not in EXECUTORS:
        raise ConfigError(f"unknown executor {name!r}. {did_you_mean(name, EXECUTORS)}")
    needs = EXECUTORS[name].needs
    if needs and find_spec(needs) is None:
        raise ConfigError(
            f"--executor {name} needs the package {needs!r}, which is not installed: "
            f"pip install 'nlbench[{name}]'"
        )


def open_executor(name: str, order: SweepOrder) -> Executor:
    """Return an executor, which is entered as a context before its first piece of work.

    Raises:
        ConfigError: if there is none of this name, its package is missing, or an option is wrong.
        RunError: if what it runs on, such as a cluster, does not answer.
    """
    require_executor(name)
    executor: Executor = import_module(EXECUTORS[name].module).make(order)
    return executor


def driver_device(executor: str, device: str) -> torch.device:
    """Return the device of the driver's own workplace: where cells run elsewhere, it has none.

    Raises:
        ConfigError: if the name is no device's; for local also if the device is not here.
    """
    if executor == "local":
        return resolve_device(device)
    require_device_name(device)
    return torch.device("cpu")
