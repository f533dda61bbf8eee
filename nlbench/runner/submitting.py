"""Many pieces of work through one executor: begun as there is room, heard of as they end."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from nlbench.runner.executors import Executor
from nlbench.runner.pausing import why_end
from nlbench.runner.work import Outcome, Work
from nlbench.runner.workplace import Progress, Workplace

_LOOK_AGAIN_S = 1.0  # at what another process has; what it reads is a file for each

W = TypeVar("W", bound=Work)


def submit_all(
    works: Sequence[W],
    executor: Executor,
    place: Workplace,
    on_start: Callable[[W], Progress],
    on_wait: Callable[[Sequence[W]], None] = lambda works: None,
) -> Generator[Outcome, None, None]:
    """Submit all work and yield how each piece of it ended.

    What another process has comes last, when that process has ended it; where it failed or was
    killed there, it is done here. Where the command is to end early, nothing begins any more; one
    piece begins in any case, so that repeated commands get somewhere.

    Args:
        works: The work; one key is never under way twice at once.
        executor: Where it is done, already entered.
        place: The driver's.
        on_start: Called with what begins; returns what its progress is told to.
        on_wait: Called once, when nothing is left but what other processes have.
    """
    left, waited = works, False
    is_first = True
    while left and not why_end(None if is_first else place.deadline):
        is_first = False
        by_key = {work.key: work for work in left}
        busy: list[W] = []
        for outcome in _each(left, executor, place, on_start):
            if outcome.status == "busy":
                busy.append(by_key[outcome.key])
            else:
                yield outcome
        if busy and not waited:
            on_wait(busy)
            waited = True
        if busy:
            time.sleep(_LOOK_AGAIN_S)
        left = busy


def _each(
    works: Sequence[W], executor: Executor, place: Workplace, on_start: Callable[[W], Progress]
) -> Generator[Outcome, None, None]:
    """Submit work as there is room; what ended before is not done again."""
    has_begun = False
    for work in works:
        # A cell that the grid names twice is not run twice at once.
        while not _has_room(executor, work) and not why_end(None):
            yield executor.next_ended()
        earlier = work.earlier(place)
        if earlier is not None:
            yield earlier
        elif not why_end(place.deadline if has_begun else None):
            executor.begin(work, on_start(work))
            has_begun = True
    while executor.under_way:
        yield executor.next_ended()


def _has_room(executor: Executor, work: Work) -> bool:
    return executor.has_room and work.key not in executor.under_way
