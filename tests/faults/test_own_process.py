"""Plugins that are not shipped run in processes of their own in sweeps, whatever they do there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from nlbench.config.sweep_plan import SweepPlan
from nlbench.errors import ConfigError
from nlbench.plugins import registry
from nlbench.results.store import RunStore
from nlbench.runner.cell import Cell
from nlbench.runner.sweep import run_sweep
from nlbench.runner.workplace import Workplace

HEAD = '''"""For tests."""
import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path
import torch
from nlbench import Selection, Selector

HERE = Path(__file__).parent


def square(x):
    return x * x


@dataclass(frozen=True)
class Plugin(Selector):
    def select(self, data):
        (HERE / f"{Path(__file__).stem}-{data.seed}-{os.getpid()}").touch()
        BODY
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=data.uniform())
'''
BODIES = {
    "quiet": "pass",
    "exits": "os._exit(0)",
    "pool": "with multiprocessing.Pool(2) as p: assert p.map(square, [1, 2, 3]) == [1, 4, 9]",
    "leaves-a-child": (
        "c = multiprocessing.Process(target=time.sleep, args=(600,)); c.start(); "
        "(HERE / 'child').write_text(str(c.pid)); os._exit(3)"
    ),
}


@dataclass
class Done:
    """What came of a sweep: its cells by selector and seed, and who ran where."""

    cells: dict[tuple[str, int], Cell]
    processes: dict[tuple[str, int], int]
    folder: Path


def sweep(folder: Path, names: tuple[str, ...], seeds: tuple[int, ...], **options: float) -> Done:
    plan = SweepPlan(names, noises=("symmetric:0.4",), seeds=seeds, epochs=1)
    place = Workplace(RunStore(), torch.device("cpu"))
    cells = list(run_sweep(plan.configs(), place, **options))  # type: ignore[arg-type]
    ran = [path.name.rsplit("-", 2) for path in folder.glob("*-[0-9]*-[0-9]*")]
    return Done(
        {(c.config.selector.name, c.config.seed): c for c in cells},
        {(name.replace("_", "-"), int(seed)): int(pid) for name, seed, pid in ran},
        folder,
    )


def write(folder: Path, name: str, body: str) -> None:
    path = folder / f"{name.replace('-', '_')}.py"
    path.write_text(HEAD.replace("BODY", body))
    registry.add_plugin_file(path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    folder = tmp_path_factory.mktemp("plugins")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLBENCH_HOME", str(folder / "home"))
        patch.setenv("NLBENCH_CACHE", str(folder / "cache"))
        patch.setattr(registry, "_plugin_files", [])
        for name, body in BODIES.items():
            write(folder, name, body)
        yield sweep(folder, (*BODIES, "none"), (0,))


def test_each_plugin_has_a_process_of_its_own(done: Done) -> None:
    assert len({done.processes[name, 0] for name in BODIES} | {os.getpid()}) == len(BODIES) + 1


def test_a_plugin_that_ends_its_process_costs_its_own_run(done: Done) -> None:
    assert {name: cell.status for (name, _), cell in done.cells.items()} == {
        name: "failed" if name in ("exits", "leaves-a-child") else "finished"
        for name in (*BODIES, "none")
    }
    message = done.cells["exits", 0].message
    assert "ended with exit code 0" in message
    assert "The memory limit here is" in message
    assert "--jobs" not in message


def test_a_plugin_starts_processes_as_without_one_of_its_own(done: Done) -> None:
    assert done.cells["pool", 0].record is not None


def test_what_a_plugin_started_ends_with_its_process(done: Done) -> None:
    pid = int((done.folder / "child").read_text())
    deadline = time.monotonic() + 20
    while lives(pid):
        assert time.monotonic() < deadline, "the child is still there"
        time.sleep(0.05)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_selector_that_takes_too_long_has_failed(
    tmp_path: Path,
) -> None:
    write(tmp_path, "waits", "time.sleep(600 if data.seed == 0 else 0)")
    cells = sweep(tmp_path, ("waits",), (0, 1), selector_timeout_s=3.0).cells
    assert [cells["waits", seed].status for seed in (0, 1)] == ["failed", "finished"]
    assert "took more than 3 s (--selector-timeout)" in cells["waits", 0].message


def test_a_limit_of_no_time_is_refused() -> None:
    with pytest.raises(ConfigError, match="selector_timeout_s must be seconds > 0, got 0"):
        next(run_sweep([], Workplace(RunStore(), torch.device("cpu")), selector_timeout_s=0))


def test_a_file_dropped_into_the_package_has_a_process_too(own_selectors: Path) -> None:
    (own_selectors / "exits.py").write_text(HEAD.replace("BODY", BODIES["exits"]))
    registry.rediscover()
    assert registry.plugin_name("selectors", "exits") == "selector 'exits'"
    assert registry.plugin_name("selectors", "none") == ""
    plan = SweepPlan(("exits", "random"), noises=("symmetric:0.4",), seeds=(0,), epochs=1)
    cells = run_sweep(plan.configs(), Workplace(RunStore(), torch.device("cpu")))
    ended = {cell.config.selector.name: cell for cell in cells}
    assert ended["random"].status == "finished"
    assert ended["exits"].status == "failed"
    assert "process" in ended["exits"].message
