"""Work on this machine: in this process one after the other, or in processes side by side."""

from __future__ import annotations

import math
from collections.abc import Collection
from types import TracebackType

from nlbench.errors import ConfigError
from nlbench.runner.executors import SweepOrder
from nlbench.runner.shares import gpus_of
from nlbench.runner.work import Outcome, Work
from nlbench.runner.worker_pool import Workers
from nlbench.runner.workplace import Progress


def make(order: SweepOrder) -> LocalExecutor:
    """Return the executor of this machine; without `jobs` it does one thing per GPU at once."""
    return LocalExecutor(order)


class LocalExecutor:
    """Does work here.

    From two at once on, and with a limit on the selector's time, each piece of work has a process;
    else only work with plugins that nlbench does not ship has one: what such a plugin breaks, its
    process included, nothing else feels.
    """

    def __init__(self, order: SweepOrder) -> None:
        jobs, timeout_s = order.jobs, order.selector_timeout_s
        if jobs is not None and jobs < 1:
            raise ConfigError(f"jobs must be a whole number >= 1, got {jobs}.")
        if timeout_s is not None and not 0 < timeout_s < math.inf:
            raise ConfigError(f"selector_timeout_s must be seconds > 0, got {timeout_s}.")
        if order.options:
            raise ConfigError(
                f"the local executor has no option {sorted(order.options)[0]!r}. Leave it out, or "
                "name another one with --executor."
            )
        self._place = order.place
        self.capacity = jobs or max(1, len(gpus_of(order.place.device)))
        self._all_apart = self.capacity > 1 or timeout_s is not None
        self._workers = Workers(self.capacity, order.place, timeout_s)
        self._here: tuple[Work, Progress] | None = None

    def __enter__(self) -> LocalExecutor:
        self._workers.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._workers.__exit__(kind, error, trace)

    @property
    def has_room(self) -> bool:
        """Whether one more can begin."""
        return self._here is None and self._workers.has_room

    @property
    def under_way(self) -> Collection[str]:
        """The keys of what has begun."""
        here = [] if self._here is None else [self._here[0].key]
        return [*here, *self._workers.under_way]

    def begin(self, work: Work, progress: Progress) -> None:
        """Hand work to a process, or keep it for this one."""
        if self._all_apart or work.outsiders():
            self._workers.begin(work, progress)
        else:
            self._here = work, progress

    def next_ended(self) -> Outcome:
        """Do the work that this process has, or wait for that of another process."""
        if self._here is None:
            return self._workers.next_ended()
        (work, progress), self._here = self._here, None
        return work.run(self._place, progress)

    def how_to_go_on(self) -> str:
        """Return nothing: the same command goes on."""
        return ""
