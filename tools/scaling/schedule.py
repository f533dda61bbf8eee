"""Cells on GPUs that are interrupted: how long a grid takes, with and without checkpoints.

Lengths of cells are drawn from those of the committed runs on photographs, scaled to a mean. A GPU
is interrupted at exponential times; a cell without checkpoints then begins anew, one with them goes
on from the last, and goes to the end of the queue. `expected_hours` is the closed form for cells
without checkpoints, which the simulation is tested against.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Hours = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cluster:
    """What cells run on.

    Attributes:
        n_gpus: How many, one cell each.
        hours_between: Mean hours between interruptions of a GPU, failures and preemptions; inf
            for none.
        away_h: Hours that it is gone then.
        start_h: Hours from taking a cell to its first step, each time.
        checkpoint_h: Hours between checkpoints; None has none.
        limit_h: Hours after which a job is ended and its cell queued again; inf for none.
    """

    n_gpus: int
    hours_between: float = math.inf
    away_h: float = 0.0
    start_h: float = 0.0
    checkpoint_h: float | None = None
    limit_h: float = math.inf


@dataclass(frozen=True)
class Outcome:
    """Hours until the last cell ended, GPU hours spent, and how often a cell was interrupted."""

    makespan_h: float
    spent_h: float
    n_interrupted: int
    n_never: int


MOST_TRIES = 1000.0
"""Cells that are expected to need more of them do not end."""


def simulate(lengths: Hours, cluster: Cluster, rng: np.random.Generator) -> Outcome:
    """Run all cells; those that do not end are counted and left out."""
    ends = _ends(lengths, cluster)
    left = deque(lengths[ends].tolist())
    free = [0.0] * cluster.n_gpus  # when each GPU can take a cell
    queued: list[tuple[float, float]] = []  # interrupted cells: from when on, and hours left
    last = spent = 0.0
    n_interrupted = 0
    while left or queued:
        now = heapq.heappop(free)
        if left:
            hours = left.popleft()
        else:
            since, hours = heapq.heappop(queued)
            now = max(now, since)
        breaks_in = rng.exponential(cluster.hours_between)
        stop = min(breaks_in, cluster.limit_h)
        needs = cluster.start_h + hours
        if stop >= needs:
            last, spent = max(last, now + needs), spent + needs
            heapq.heappush(free, now + needs)
            continue
        n_interrupted += 1
        spent += stop
        gone = cluster.away_h if breaks_in <= cluster.limit_h else 0.0
        heapq.heappush(queued, (now + stop, hours - _kept(stop, cluster)))
        heapq.heappush(free, now + stop + gone)
    return Outcome(last, spent, n_interrupted, int((~ends).sum()))


def _kept(ran_h: float, cluster: Cluster) -> float:
    """Return the hours that an interrupted cell need not do again."""
    done = max(0.0, ran_h - cluster.start_h)
    if cluster.checkpoint_h is None:
        return 0.0
    if ran_h == cluster.limit_h:  # it is told before, and writes one
        return done
    return math.floor(done / cluster.checkpoint_h) * cluster.checkpoint_h


def _ends(lengths: Hours, cluster: Cluster) -> npt.NDArray[np.bool_]:
    """Return which cells end: within the time limit, and within so many tries."""
    if cluster.checkpoint_h is not None:
        return np.full(len(lengths), cluster.limit_h > cluster.start_h)
    needs = lengths + cluster.start_h
    ends: npt.NDArray[np.bool_] = needs <= cluster.limit_h
    return ends & (needs / cluster.hours_between < math.log(MOST_TRIES))


def expected_hours(length_h: float, hours_between: float) -> float:
    """Return the mean GPU hours of a cell that begins anew at every interruption.

    Memoryless interruptions at rate r: (exp(r L) - 1) / r.
    """
    return math.expm1(length_h / hours_between) * hours_between


def lengths_like_records(
    records: Path, n_cells: int, mean_h: float, rng: np.random.Generator
) -> Hours:
    """Return lengths drawn from the committed runs on photographs, scaled to a mean."""
    seconds = run_seconds(records)
    drawn = rng.choice(seconds, n_cells)
    return drawn * (mean_h / drawn.mean())


def run_seconds(records: Path) -> Hours:
    """Return the seconds of every finished run in photos-*.json."""
    from nlbench.contribution import read_runs

    runs = (run.record for path in sorted(records.glob("photos-*.json")) for run in read_runs(path))
    return np.array([run.times.total_s for run in runs if run.status == "finished"])
