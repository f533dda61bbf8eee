"""A grid of runs: skips what is finished, redoes what was killed, goes on after a failure."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence

from nlbench.config.run_config import RunConfig
from nlbench.errors import ConfigError
from nlbench.runner.cell import Cell, earlier_cell, outsiders, run_cell
from nlbench.runner.worker_pool import Workers
from nlbench.runner.workplace import Progress, Workplace, no_progress

OnStart = Callable[[RunConfig], Progress]


def run_sweep(
    configs: Sequence[RunConfig],
    place: Workplace,
    on_start: OnStart = lambda config: no_progress,
    jobs: int = 1,
    selector_timeout_s: float | None = None,
) -> Generator[Cell, None, None]:
    """Run cell after cell and yield how each ended; an error of one does not stop the others.

    What comes out does not depend on `jobs`, except for the order in which cells end. Cells with
    plugins that nlbench does not ship have processes of their own: what such a plugin breaks, its
    process included, no other cell feels.

    Args:
        configs: The cells.
        place: Where they run; all processes share it.
        on_start: Called with a cell that begins; returns what its progress is told to.
        jobs: Number of parallel runs; from 2 on, in processes of their own, which end with the
            generator.
        selector_timeout_s: How long a run's selector may take, the embeddings that it asks for
            included; a run that takes longer has failed. With it every cell has a process.

    Raises:
        ConfigError: if `jobs` is below 1, or the seconds are not above 0.
        RunError: if no process can be started.
    """
    if jobs < 1:
        raise ConfigError(f"jobs must be a whole number >= 1, got {jobs}.")
    if selector_timeout_s is not None and not 0 < selector_timeout_s < math.inf:
        raise ConfigError(f"selector_timeout_s must be seconds > 0, got {selector_timeout_s}.")
    with Workers(jobs, place, selector_timeout_s) as workers:
        for config in configs:
            if jobs == 1 and selector_timeout_s is None and not outsiders(config):
                yield earlier_cell(config, place) or run_cell(config, place, on_start(config))
                continue
            # A cell that the grid names twice is not run twice at once.
            while not workers.has_room or config.fingerprint in workers.under_way:
                yield workers.next_ended()
            earlier = earlier_cell(config, place)
            if earlier is None:
                workers.begin(config, on_start(config))
            else:
                yield earlier
        while workers.under_way:
            yield workers.next_ended()
