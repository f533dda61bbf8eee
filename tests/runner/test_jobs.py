"""Several runs at once: the same results, whatever becomes of a process."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.cli.sweep import run_seconds, seconds_by_stage
from nlbench.config.run_config import RunConfig
from nlbench.config.sweep_plan import SweepPlan
from nlbench.errors import ConfigError
from nlbench.plugins import registry
from nlbench.results.store import RunStore
from nlbench.runner.cell import Cell
from nlbench.runner.sweep import run_sweep
from nlbench.runner.worker_pool import Workers
from nlbench.runner.workplace import Workplace
from nlbench.tracking import MlflowTracker

CPU = torch.device("cpu")
PHASES = "data", "select", "train"
WAIT_S = 120
SELECTORS = ("embedding", "clip-knn", "failing", "dying")
SEEDS = (0, 1)

# Waits until another process is at the same place, so that both want the embeddings at once.
EMBEDDING = '''"""Keeps all; notes which process embeds how many images, and logs a line."""
import logging, multiprocessing, os, time
from dataclasses import dataclass
from pathlib import Path
import torch
from nlbench import Selection, Selector
from nlbench.encoders.base import Encoder

HERE = Path(__file__).parent
encode = Encoder.encode_images


def counted(encoder, batch, *rest):
    with (HERE / "embedded").open("a") as file:
        file.write(f"{len(batch)}\\n")
    return encode(encoder, batch, *rest)


@dataclass(frozen=True)
class Embedding(Selector):
    """Keeps all."""

    knowledge = ("image-text pre-training",)

    def select(self, data):
        if multiprocessing.parent_process() is not None:
            (HERE / f"at-{data.seed}-{os.getpid()}").touch()
            deadline = time.monotonic() + 60
            while len(list(HERE.glob("at-*"))) < 2 and time.monotonic() < deadline:
                time.sleep(0.02)
            logging.getLogger("nlbench").warning("%s speaks", data.seed)
            Encoder.encode_images = counted
        data.embeddings("image-text")
        Encoder.encode_images = encode
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=data.uniform())
'''
FAILING = '''"""Fails."""
from dataclasses import dataclass
from nlbench import Selector


@dataclass(frozen=True)
class Failing(Selector):
    """Fails."""

    def select(self, data):
        raise ValueError("no idea")
'''
# As where memory runs out; with one process it would take the tests with it.
DYING = '''"""Is killed for seed 0."""
import multiprocessing, os, signal
from dataclasses import dataclass
import torch
from nlbench import Selection, Selector


@dataclass(frozen=True)
class Dying(Selector):
    """Is killed for seed 0."""

    def select(self, data):
        if multiprocessing.parent_process() is not None and data.seed == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=data.uniform())
'''
HOLDING = '''"""Waits for as long as a file says so."""
import time
from dataclasses import dataclass
from pathlib import Path
import torch
from nlbench import Selection, Selector

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Holding(Selector):
    """Waits."""

    def select(self, data):
        (HERE / f"at-{data.seed}").touch()
        while (HERE / "hold").exists():
            time.sleep(0.02)
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=data.uniform())
'''


@dataclass
class Sweep:
    """What came of one sweep in two processes."""

    home: Path
    plugins: list[Path]
    cells: list[Cell] = field(default_factory=list)
    stages: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    embedded: list[int] = field(default_factory=list)

    def on_start(self, config: RunConfig) -> Callable[[str, int, int], None]:
        seen = self.stages.setdefault(config.fingerprint, [])
        return lambda stage, done, total: seen.append(stage)

    @contextmanager
    def listening(self) -> Iterator[None]:
        handler = logging.Handler()
        handler.emit = lambda record: self.warnings.append(record.getMessage())  # type: ignore
        logger = logging.getLogger("nlbench")
        logger.addHandler(handler)
        yield
        logger.removeHandler(handler)

    def by_name(self) -> dict[tuple[str, int], Cell]:
        return {(c.config.selector.name, c.config.seed): c for c in self.cells}


def plan(*selectors: str, seeds: tuple[int, ...] = SEEDS) -> list[RunConfig]:
    return SweepPlan(selectors, noises=("symmetric:0.4",), seeds=seeds, epochs=2).configs()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    """Run a grid in two processes, each of which takes seconds to start."""
    folder = tmp_path_factory.mktemp("jobs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLBENCH_HOME", str(folder / "home"))
        patch.setenv("NLBENCH_CACHE", str(folder / "cache"))
        patch.setattr(registry, "_plugin_files", [])
        plugins = []
        for name, text in (("embedding", EMBEDDING), ("failing", FAILING), ("dying", DYING)):
            plugins.append(folder / f"{name}.py")
            plugins[-1].write_text(text)
            registry.add_plugin_file(plugins[-1])
        found, store = Sweep(folder / "home", plugins), RunStore()
        tracker = MlflowTracker.open(None, store.home)
        # All of the first selector come first, so that two of them meet.
        configs = [*plan("embedding"), *plan(*SELECTORS[1:])]
        with found.listening(), pytest.MonkeyPatch.context() as small:
            small.setattr("nlbench.machine.here._SMALL", 0)  # in this process: what it warns of
            torch.set_num_threads(2)
            for cell in run_sweep(
                configs, Workplace(store, CPU, tracker), on_start=found.on_start, jobs=2
            ):
                found.cells.append(cell)
        torch.set_num_threads(1)
        found.embedded = [int(n) for n in (folder / "embedded").read_text().split()]
        yield found


@pytest.fixture
def plugins(sweep: Sweep) -> None:
    for path in sweep.plugins:
        registry.add_plugin_file(path)


def test_each_cell_ends_and_a_process_that_dies_costs_its_own_cell_only(sweep: Sweep) -> None:
    statuses = {name: cell.status for name, cell in sweep.by_name().items()}
    assert len(sweep.cells) == len(SELECTORS) * len(SEEDS)
    assert statuses == {
        (name, seed): "failed" if name == "failing" or (name, seed) == ("dying", 0) else "finished"
        for name in SELECTORS
        for seed in SEEDS
    }
    assert "no idea" in sweep.by_name()["failing", 0].message
    died = sweep.by_name()["dying", 0]
    assert "was killed by SIGKILL" in died.message
    assert "Lower --jobs" in died.message
    (unfinished,) = RunStore(sweep.home).unfinished()
    assert (unfinished.record.fingerprint, unfinished.alive) == (died.config.fingerprint, False)


@pytest.mark.usefixtures("plugins")
def test_results_are_those_of_one_process(sweep: Sweep) -> None:
    """All but times, memory and dates; keep sets and scores to the last bit."""
    together, alone = RunStore(sweep.home), RunStore()
    torch.set_num_threads(2)  # as the sweep had
    try:
        cells = list(run_sweep(plan(*SELECTORS), Workplace(alone, CPU)))
    finally:
        torch.set_num_threads(1)
    compared = 0
    for cell in cells:
        other = sweep.by_name()[cell.config.selector.name, cell.config.seed]
        if cell.record is None or other.record is None:
            continue
        assert lasting(cell.record) == lasting(other.record)
        assert other.record == together.read(cell.config.fingerprint)
        for file in ("selection.parquet", "predictions.parquet"):
            mine, others = (s.folder(cell.config.fingerprint) / file for s in (alone, together))
            assert pq.read_table(mine).equals(pq.read_table(others))
        compared += 1
    assert compared == 5


def lasting(record: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(record.to_json())
    for key in ("times", "started_at", "finished_at"):
        assert content.pop(key)
    return content


def test_processes_that_meet_embed_each_image_once(sweep: Sweep) -> None:
    folder = sweep.plugins[0].parent
    processes = {path.name.split("-")[2] for path in folder.glob("at-*")}
    assert len(processes) >= 2, "both seeds ran in one process"
    n_train = len(registry.find("datasets", "digits").load()().load(None).train_labels)
    assert sum(sweep.embedded) == n_train


def test_each_run_is_in_mlflow_once(sweep: Sweep) -> None:
    tracker = MlflowTracker.open(None, sweep.home)
    states = Counter(
        tuple(run.status for run in tracker.runs_of(cell.config.fingerprint))
        for cell in sweep.cells
    )
    # The one whose process was killed is open until a later command closes it.
    assert states.pop(("RUNNING",), 0) + states.pop(("KILLED",), 0) == 1
    assert states == {("FINISHED",): 5, ("FAILED",): 2}


def test_progress_of_each_cell_arrives(sweep: Sweep) -> None:
    for cell in sweep.cells:
        stages = list(dict.fromkeys(sweep.stages[cell.config.fingerprint]))
        expected = PHASES if cell.status == "finished" else PHASES[:2]
        assert tuple(stages) == expected, cell.config.selector.name


def test_what_processes_log_is_logged_here(sweep: Sweep) -> None:
    assert {"0 speaks", "1 speaks"} <= set(sweep.warnings)


def test_runs_that_take_all_cores_are_told_of_once(sweep: Sweep) -> None:
    (found,) = [text for text in sweep.warnings if "uses all cores" in text]
    assert "on digits" in found
    assert "NLBENCH_THREADS=1" in found


@pytest.mark.parametrize(("n_threads", "said"), [(1, 0), (2, 1)])
def test_runs_of_one_thread_each_are_no_crowd(
    n_threads: int, said: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As OMP_NUM_THREADS=1 makes them."""
    monkeypatch.setattr("nlbench.machine.here._SMALL", 0)
    monkeypatch.setattr(
        "nlbench.machine.here.os.sched_getaffinity", lambda pid: {0, 1}, raising=False
    )
    monkeypatch.setattr("nlbench.machine.here.os.cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    configs = plan("none")
    list(run_sweep(configs[:1], Workplace(RunStore(), CPU), jobs=2))
    assert len([text for text in caplog.messages if "uses all cores" in text]) == said


def test_seconds_of_runs_side_by_side_sum_to_theirs(sweep: Sweep) -> None:
    total_s = run_seconds(sweep.cells)
    stages = seconds_by_stage(sweep.cells, total_s)
    assert sum(stages.values()) == pytest.approx(total_s)
    assert all(seconds >= 0 for seconds in stages.values()), stages


# The command


def words(plugin: Path, *more: str) -> list[str]:
    base = ["sweep", "--noise", "symmetric:0.4", "--seeds", "0-1", "--epochs", "1", "--jobs", "2"]
    return [*base, "--plugin", str(plugin), "--selector", plugin.stem, *more]


@pytest.fixture
def holding(tmp_path: Path) -> Path:
    path = tmp_path / "plugins" / "holding.py"
    path.parent.mkdir()
    path.write_text(HOLDING)
    path.with_name("hold").touch()
    return path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty MLflow store, which takes seconds to make."""
    home = tmp_path_factory.mktemp("template")
    MlflowTracker.open(None, home)
    return home


# Asks for the handler that a terminal's command has: where tests run in the background it is off.
COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from nlbench.cli import main
main()
"""


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_sweep_that_is_stopped_leaves_no_process_and_is_finished_by_the_same_command(
    holding: Path, template: Path, tmp_path: Path, how: signal.Signals
) -> None:
    home = shutil.copytree(template, tmp_path / "home")
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words(holding)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: len(list(holding.parent.glob("at-*"))) == 2, process)
        running = [json.loads(path.read_text())["pid"] for path in home.glob("runs/*/running.json")]
        assert len({*running, process.pid}) == 3
        if how is signal.SIGINT:
            os.killpg(process.pid, how)  # as Ctrl-C does
        else:
            process.send_signal(how)
        output, _ = process.communicate(timeout=WAIT_S)  # ends when no process holds the pipe
        wait_for(lambda: not any(map(lives, running)))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    # 75: nothing was in training that could have gone on, and the same command begins it again.
    assert process.returncode in (1, 130, 75, -how)
    assert "Traceback" not in output
    assert "SpawnProcess" not in output

    holding.with_name("hold").unlink()
    if how is not signal.SIGINT:
        return
    again = CliRunner().invoke(app, words(holding))
    assert again.exit_code == 0, again.output
    assert "2 runs: 1 method x 1 data set x 1 noise x 2 seeds, 2 at once" in again.stderr
    assert "2 finished" in again.stderr
    assert "with 2 jobs, whose runs took" in again.stderr
    records, _ = RunStore(home).records()
    assert sorted((r.seed, r.status, r.attempt) for r in records) == [
        (0, "finished", 2), (1, "finished", 2)
    ]  # fmt: skip


def wait_for(what: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        if process is not None:
            assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def lives(pid: int) -> bool:
    """Return whether a process is there; one that only waits to be counted as dead is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # gone meanwhile, or a system without /proc
        return Path("/proc/self").exists() is False
    return state != "Z"


def test_fewer_than_one_job_is_refused() -> None:
    with pytest.raises(ConfigError, match="jobs must be a whole number >= 1, got 0"):
        next(run_sweep(plan("none"), Workplace(RunStore(), CPU), jobs=0))
    result = CliRunner().invoke(app, ["sweep", "--jobs", "0"])
    assert result.exit_code == 2
    assert "--jobs" in result.stderr


def test_what_is_finished_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    nlbench.run("none", noise_rate=0.4, epochs=2, track=False)
    monkeypatch.setattr(Workers, "begin", lambda *args: pytest.fail("a process was started"))
    (cell,) = run_sweep(plan("none", seeds=(0,)), Workplace(RunStore(), CPU), jobs=2)
    assert cell.status == "already finished"


UNGUARDED = """
import torch
from nlbench.results.store import RunStore
from nlbench.config.sweep_plan import SweepPlan
from nlbench.runner.sweep import run_sweep
from nlbench.runner.workplace import Workplace
print([c.status for c in run_sweep(SweepPlan(("none",), seeds=(0,)).configs(),
       Workplace(RunStore(), torch.device("cpu")), jobs=2)])
"""


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    """Where processes cannot start at all, no cell is tried after the other."""
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "RunError: the processes for --jobs cannot start" in done.stderr
    assert 'if __name__ == "__main__":' in done.stderr.replace("'", '"')
