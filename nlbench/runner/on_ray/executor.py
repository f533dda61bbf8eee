"""The driver's side of a Ray cluster: connects, submits work, hears of it, cancels it."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import ray

from nlbench.errors import BusyError, NlbenchError, text_of
from nlbench.runner.executors import SweepOrder
from nlbench.runner.on_ray.cluster import Cluster
from nlbench.runner.on_ray.options import RayOptions
from nlbench.runner.on_ray.post import News
from nlbench.runner.pausing import pausable, why_end
from nlbench.runner.work import Home, Outcome, Work
from nlbench.runner.workplace import Progress

log = logging.getLogger("nlbench")

_LOOK_S = 0.3  # between looks at the news while no cell ends


def make(order: SweepOrder) -> RayExecutor:
    """Return the executor of a Ray cluster, which it connects to when it is entered."""
    return RayExecutor(order)


@dataclass(eq=False)
class _Flying:
    work: Work
    home: Home
    progress: Progress
    selector_s: float = 0.0
    heard_at: float = 0.0  # of a selector that works; 0 where it does not


class RayExecutor:
    """Does each piece of work as a task of a Ray cluster.

    Ray repeats a task whose process or machine dies, on another machine where there is one. What
    the work itself raises is its failure and is not repeated. Work with plugins that nlbench does
    not ship shares a process only with work of the same plugins.
    """

    def __init__(self, order: SweepOrder) -> None:
        self._order, self._options = order, RayOptions.read(order)
        self._cluster = Cluster(order, self._options)
        self._flying: dict[Any, _Flying] = {}  # by the reference to what comes home
        self._landed: list[Outcome] = []

    def __enter__(self) -> RayExecutor:
        self._cluster.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        try:
            for reference, flying in self._flying.items():
                self._cluster.cancel(reference)
                flying.home.cancel()
        finally:
            self._flying = {}
            self._cluster.close()

    @property
    def capacity(self) -> int:
        """How many the cluster has room for now, within `--jobs`."""
        return self._order.jobs or self._cluster.slots()

    @property
    def has_room(self) -> bool:
        """Whether one more can begin; one waits in Ray's queue, so that no place is idle."""
        waits = 0 if self._order.jobs else 1
        return not self._landed and len(self._flying) < self.capacity + waits

    @property
    def under_way(self) -> Collection[str]:
        """The keys of what has begun."""
        here = [outcome.key for outcome in self._landed]
        return [*here, *(flying.work.key for flying in self._flying.values())]

    def begin(self, work: Work, progress: Progress) -> None:
        """Submit work, unless another process has it or has finished it."""
        try:
            home = work.home(self._order.place)
            earlier = home.earlier()
        except BusyError as error:
            self._landed.append(work.without_result("busy", text_of(error)))
            return
        except NlbenchError as error:
            self._landed.append(work.without_result("failed", text_of(error)))
            return
        if earlier is not None:
            self._landed.append(earlier)
        else:
            progress("queue", 0, 1)
            self._flying[self._cluster.submit(work)] = _Flying(work, home, progress)

    def next_ended(self) -> Outcome:
        """Wait for work to come home; all is called off where the command is to end early.

        Raises:
            RunError: if the cluster is lost, or its machines lack nlbench.
        """
        with pausable():
            while not self._landed:
                done = self._cluster.ended(list(self._flying), _LOOK_S)
                self._hear()
                for reference in done:
                    self._landed.append(self._home(reference))
                self._end_slow_selectors()
                self._end_early()
        return self._landed.pop(0)

    def how_to_go_on(self) -> str:
        """Say that the cluster stays as it was."""
        return "The cluster runs on; `ray stop` ends it." if self._options.is_outside else ""

    def _home(self, reference: Any) -> Outcome:
        flying = self._flying.pop(reference)
        try:
            delivery = self._cluster.delivery(reference)
        except ray.exceptions.RayError as error:
            self._cluster.refuse_to_go_on(error)
            return flying.home.failed(self._cluster.words(error))
        return flying.home.ended(delivery)

    def _hear(self) -> None:
        by_name = {flying.work.key: flying for flying in self._flying.values()}
        for news in self._cluster.news():
            if news.kind == "log":
                name, level, text = news.content
                logging.getLogger(name).log(level, "%s", text)
            elif news.kind == "shard":
                self._order.place.embeddings.take(*news.content)
            elif news.fingerprint in by_name:
                _tell(by_name[news.fingerprint], news)

    def _end_early(self) -> None:
        why = why_end(self._order.place.deadline)
        for reference, flying in list(self._flying.items()) if why else ():
            del self._flying[reference]
            self._cluster.cancel(reference)
            flying.home.cancel()
            message = f"its task was cancelled ({why}); the next one begins anew."
            self._landed.append(flying.work.without_result("paused", message))

    def _end_slow_selectors(self) -> None:
        limit = self._order.selector_timeout_s
        if limit is None:
            return
        for reference, flying in list(self._flying.items()):
            waited = time.monotonic() - flying.heard_at if flying.heard_at else 0.0
            if flying.selector_s + waited > limit:
                del self._flying[reference]
                self._cluster.cancel(reference)
                self._landed.append(
                    flying.home.failed(
                        f"the selector took more than {limit:g} s (--selector-timeout), and its "
                        "process was ended. Raise the limit, or look where it waits."
                    )
                )


def _tell(flying: _Flying, news: News) -> None:
    if news.kind == "started":
        try:
            flying.home.begun(news.content)
        except NlbenchError as error:  # the result will say so again
            log.warning("%s", text_of(error))
    elif news.kind == "clock":
        flying.selector_s, is_at_work = news.content
        flying.heard_at = time.monotonic() if is_at_work else 0.0
    elif news.kind == "progress":
        flying.progress(*news.content)
