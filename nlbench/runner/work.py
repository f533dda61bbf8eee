"""What executors submit: a piece of work with a key, of whatever kind, and how it ends.

A cell of a sweep is one kind, a part of a data set to embed is another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from nlbench.config.run_config import DataConfig
    from nlbench.plugins.registry import Component
    from nlbench.results.store import RunStore
    from nlbench.runner.delivery import Delivery
    from nlbench.runner.workplace import Progress, Workplace

Status = Literal["finished", "already finished", "failed", "paused", "busy"]


class Outcome(Protocol):
    """How a piece of work ended; `wall_s` counts everything, 0 where it was not run."""

    @property
    def key(self) -> str:
        """The key of the work."""

    @property
    def status(self) -> Status:
        """How it ended."""

    @property
    def message(self) -> str:
        """Why, where it has no result."""

    @property
    def wall_s(self) -> float:
        """Seconds it took."""


class Home(Protocol):
    """The driver's side of one piece of work that runs elsewhere."""

    def earlier(self) -> Outcome | None:
        """Return how another process ended it before it was ours, if one did."""

    def begun(self, record: str) -> None:
        """Note that it has its inputs; as JSON, where it has a record."""

    def ended(self, delivery: Delivery) -> Outcome:
        """Take in what came home."""

    def failed(self, message: str) -> Outcome:
        """Return it as failed without a result, such as one whose machine is lost."""

    def cancel(self) -> None:
        """Let go of it; the same command does it again."""


class SharedHome(Protocol):
    """The driver's side of work whose process writes into the same home itself."""

    @property
    def is_taken(self) -> bool:
        """Whether another process has it at the moment."""

    def ended(self, delivery: Delivery) -> Outcome:
        """Return how it ended, by what its process said; the rest is in the home."""


class Work(Protocol):
    """One piece of work: pickled, it runs in any process that can import nlbench."""

    @property
    def key(self) -> str:
        """What tells it from all other work, in this command and the next."""

    @property
    def dataset(self) -> DataConfig:
        """The data set that it reads."""

    def outsiders(self) -> frozenset[str]:
        """Return the plugins that it runs and that nlbench does not ship, by kind and name."""

    def components(self) -> tuple[Component, ...]:
        """Return every component that it uses."""

    def moved(self, move: Callable[[str], str]) -> Work:
        """Return the same work with other paths to the files and folders that it names."""

    def earlier(self, place: Workplace) -> Outcome | None:
        """Return how it ended before, if it is not to be run now."""

    def run(self, place: Workplace, progress: Progress) -> Outcome:
        """Do it; an error of ours is how it ended."""

    def without_result(
        self, status: Status, message: str = "", *, is_lost: bool = False
    ) -> Outcome:
        """Return it as not done; `is_lost` if its process died."""

    def packed(self, outcome: Outcome, store: RunStore) -> Delivery:
        """Return what goes home of it from another machine."""

    def home(self, place: Workplace) -> Home:
        """Return the driver's side where it runs elsewhere.

        Raises:
            BusyError: if another live process has it.
        """

    def shared_home(self, place: Workplace) -> SharedHome:
        """Return the driver's side where its process writes into the home itself."""

    def reached(self, place: Workplace) -> tuple[str, ...]:
        """Return what tells how far it can go on from; another answer means that it got further."""
