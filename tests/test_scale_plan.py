"""tools/scale_plan.py: simulations agree with what can be calculated, every section runs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.fixture
def schedule(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("scaling.schedule")


@pytest.fixture
def neighbours(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "benchmarks"))
    return importlib.import_module("scaling.neighbours")


def test_nothing_is_lost_where_nothing_interrupts(schedule: Any) -> None:
    lengths = np.array([3.0, 1.0, 2.0, 2.0])

    found = schedule.simulate(lengths, schedule.Cluster(2), np.random.default_rng(0))

    assert (found.makespan_h, found.spent_h, found.n_interrupted) == (5.0, 8.0, 0)


@pytest.mark.parametrize("length_h", [2.0, 10.0])
def test_cells_that_begin_anew_take_what_the_formula_says(schedule: Any, length_h: float) -> None:
    lengths = np.full(4000, length_h)

    found = schedule.simulate(lengths, schedule.Cluster(50, 8.0), np.random.default_rng(0))

    assert found.spent_h / 4000 == pytest.approx(schedule.expected_hours(length_h, 8.0), rel=0.05)


def test_a_checkpoint_bounds_what_an_interruption_costs(schedule: Any) -> None:
    lengths = np.full(500, 10.0)
    cluster = schedule.Cluster(50, 8.0, start_h=0.1, checkpoint_h=0.5)

    found = schedule.simulate(lengths, cluster, np.random.default_rng(0))

    lost_h = found.spent_h - lengths.sum()
    assert found.n_interrupted > 100
    assert 0 < lost_h <= 0.6 * found.n_interrupted + 0.1 * len(lengths)


def test_a_cell_longer_than_its_limit_ends_with_checkpoints_alone(schedule: Any) -> None:
    lengths, rng = np.array([10.0]), np.random.default_rng(0)

    anew = schedule.simulate(lengths, schedule.Cluster(1, limit_h=4.0), rng)
    on = schedule.simulate(lengths, schedule.Cluster(1, limit_h=4.0, checkpoint_h=0.25), rng)

    assert (anew.n_never, on.n_never) == (1, 0)
    assert on.makespan_h == pytest.approx(10.0)


def test_an_index_that_looks_everywhere_finds_every_neighbour(neighbours: Any) -> None:
    n_cells = round(4 * 1000**0.5)

    few, every = neighbours.recalls(neighbours.drawn(1000), 10, (1, n_cells), 100)

    assert every.recall == 1.0
    assert every.iou == 1.0
    assert every.compared == pytest.approx(0.999)
    assert few.recall < 0.9
    assert few.compared < 0.1


@pytest.mark.slow
def test_every_section_prints_its_table() -> None:
    done = subprocess.run(
        [sys.executable, str(TOOLS / "scale_plan.py"), "all", "--small"],
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.returncode == 0, done.stderr
    for words in ("205 GB", "vit_base_patch32_clip_224", "cells never end", "IoU", "files a run"):
        assert words in done.stdout
