"""Cells as jobs of a real Slurm of one node: same numbers, and nothing lost with a job."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from embedding_plugins import N_TEST, N_TRAIN, EmbeddingPlugins, N
from slurm_node import SlurmNode, missing_programs, one_node
from typer.testing import CliRunner

from nlbench.cli import app
from nlbench.config.run_config import RunConfig
from nlbench.config.sweep_plan import SweepPlan
from nlbench.plugins import registry
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore
from nlbench.runner.cell import Cell
from nlbench.runner.executors import SweepOrder, open_executor
from nlbench.runner.on_slurm import executor as on_slurm
from nlbench.runner.sweep import run_sweep
from nlbench.runner.workplace import Workplace
from nlbench.tracking import MlflowTracker

CPU = torch.device("cpu")
WAIT_S = 200

# Its first try takes long; the next one, which finds the note, does not. `again` notes nothing.
SLOW = '''"""Keeps all; its first try takes long."""
import os, time
from dataclasses import dataclass
from pathlib import Path
import torch
from nlbench import Selection, Selector

NOTE = Path(__file__).with_name("tried")


@dataclass(frozen=True)
class Slow(Selector):
    """Keep all, after a while.

    Attributes:
        always: Whether every try takes long.
    """

    always: bool = False

    def select(self, data):
        """Keep all."""
        if self.always or not NOTE.exists():
            NOTE.touch()
            time.sleep(300)
        return Selection(
            keep=torch.ones(data.n_samples, dtype=torch.bool), score=torch.ones(data.n_samples)
        )
'''


# As slow as a large training, where the note says so; what it keeps depends on all epochs so far.
TRAINED = '''"""Keeps what has a small loss, some seconds an epoch."""
import time
from dataclasses import dataclass
from pathlib import Path
from nlbench import OnlineSelector, Selection

NOTE = Path(__file__).with_name("seconds")


@dataclass(frozen=True)
class Trained(OnlineSelector):
    """Keep the smaller half of the losses."""

    def select(self, data, dynamics):
        """Keep the smaller half."""
        if NOTE.exists():
            time.sleep(float(NOTE.read_text()))
        losses = dynamics.losses
        return Selection(keep=losses <= losses.median(), score=-losses)
'''


def unavailable(reason: str) -> None:
    """Skip at a desk; where these tests are the gate (CI), a missing Slurm is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def node() -> Iterator[SlurmNode]:
    try:
        import submitit  # noqa: F401
    except ImportError:
        unavailable("submitit is missing: pip install -e '.[slurm]'")
    if missing := missing_programs():
        unavailable(f"apt-get install munge slurmctld slurmd slurm-client: no {missing}")
    with one_node() as started:
        yield started


@pytest.fixture
def slurm(node: SlurmNode, monkeypatch: pytest.MonkeyPatch) -> SlurmNode:
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, node.environment[name])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    # So that nobody waits for what Slurm knows at once.
    monkeypatch.setattr(on_slurm, "_ASK_S", 1.0)
    monkeypatch.setattr(on_slurm, "_VISIBLE_S", 4.0)
    return node


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    path = tmp_path / "slow.py"
    path.write_text(SLOW, encoding="utf-8")
    return path


def plan(*selectors: str, seeds: tuple[int, ...] = (0,), epochs: int = 1) -> list[RunConfig]:
    noise = SweepPlan(selectors=selectors, noises=("symmetric:0.4",), seeds=seeds, epochs=epochs)
    return noise.configs(None)


def run(
    configs: Sequence[RunConfig], home: Path, meanwhile: Callable[[], None] | None = None,
    tracker: MlflowTracker | None = None, **options: object,
) -> list[Cell]:  # fmt: skip
    """Run cells as jobs; something may happen meanwhile, in a thread."""
    place = Workplace(RunStore(home), CPU, tracker)
    executor = open_executor("slurm", SweepOrder(place, "cpu", options=options))
    thread = threading.Thread(target=meanwhile or (lambda: None))
    thread.start()
    try:
        return list(run_sweep(configs, place, executor=executor))
    finally:
        thread.join()


def until(what: str, holds: Callable[[], bool]) -> None:
    latest = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < latest, what
        time.sleep(0.2)


def running(slurm: SlurmNode) -> list[str]:
    jobs = slurm.ask("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i %j")
    return [line.split()[0] for line in jobs.splitlines() if line.endswith("nlbench")]


def metrics(record: RunRecord | None) -> object:
    assert record is not None
    return record.metrics


@pytest.mark.slurm
def test_jobs_give_the_numbers_of_this_machine(slurm: SlurmNode, tmp_path: Path) -> None:
    configs = plan("none", "small-loss", "co-teaching", seeds=(0, 1), epochs=2)
    here = RunStore(tmp_path / "here")
    local = {c.config.fingerprint: c.record for c in run_sweep(configs, Workplace(here, CPU))}
    there = tmp_path / "there"
    tracker = MlflowTracker.open(None, there)

    cells = run(configs, there, tracker=tracker)

    assert {cell.status for cell in cells} == {"finished"}
    assert len(cells) == len(configs)
    for cell in cells:
        assert metrics(cell.record) == metrics(local[cell.config.fingerprint])
        assert metrics(RunStore(there).read(cell.config.fingerprint)) == metrics(cell.record)
        logged = tracker.find(cell.config.fingerprint)
        assert len(logged) == 1, "MLflow has each run once"
    assert not list((there / "slurm").iterdir()), "what submitit wrote is gone"
    again = run(configs, there, tracker=tracker)
    assert {cell.status for cell in again} == {"already finished"}


@pytest.mark.slurm
def test_a_job_hit_by_its_time_limit_goes_on_in_the_next(
    slurm: SlurmNode, slow: Path, tmp_path: Path
) -> None:
    registry.add_plugin_file(slow)
    began = time.monotonic()

    # Slurm counts in minutes, and says it 30 s before, or up to a minute sooner.
    (cell,) = run(plan("slow"), tmp_path / "home", time="2", option=["signal-delay-s=30"])

    assert cell.status == "finished", cell.message
    assert cell.record is not None
    assert cell.record.attempt == 2
    assert time.monotonic() - began < 290, "the first try did not run to its end"


@pytest.mark.slurm
def test_a_training_longer_than_its_job_goes_on_from_its_checkpoint(
    slurm: SlurmNode, tmp_path: Path
) -> None:
    plugin = tmp_path / "trained.py"
    plugin.write_text(TRAINED, encoding="utf-8")
    registry.add_plugin_file(plugin)
    configs = plan("trained", epochs=30)
    (alone,) = run_sweep(configs, Workplace(RunStore(tmp_path / "alone"), CPU))
    plugin.with_name("seconds").write_text("4")  # 120 s, and each job has 90

    (cell,) = run(configs, tmp_path / "home", time="3")

    assert cell.status == "finished", cell.message
    assert cell.record is not None
    assert cell.record.resumed >= 1, "it did not begin anew"
    assert cell.record.curves == alone.record.curves  # type: ignore[union-attr]
    assert metrics(cell.record) == metrics(alone.record)


@pytest.mark.slurm
def test_a_preempted_job_goes_on_when_there_is_room(
    slurm: SlurmNode, slow: Path, tmp_path: Path
) -> None:
    registry.add_plugin_file(slow)

    def preempt() -> None:
        until("the note of the first try", slow.with_name("tried").exists)
        slurm.ask("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null",
                  "--wrap=sleep 3")  # fmt: skip

    (cell,) = run(plan("slow"), tmp_path / "home", preempt)

    assert cell.status == "finished", cell.message
    assert cell.record is not None
    assert cell.record.attempt == 2


@pytest.mark.slurm
def test_a_run_that_gets_no_further_in_three_jobs_has_failed(
    slurm: SlurmNode, slow: Path, tmp_path: Path
) -> None:
    registry.add_plugin_file(slow)
    note = slow.with_name("tried")

    def end_three_times() -> None:
        for _ in range(3):
            until("a try", note.exists)
            note.unlink()
            slurm.ask("scancel", "--signal=USR2", *running(slurm))

    (cell,) = run(plan("slow:always=true"), tmp_path / "home", end_three_times)

    assert cell.status == "failed"
    assert "3 jobs in a row" in cell.message
    assert "--slurm-time" in cell.message


@pytest.mark.slurm
def test_a_job_that_somebody_cancels_has_failed_and_nobody_waits_for_it(
    slurm: SlurmNode, slow: Path, tmp_path: Path
) -> None:
    registry.add_plugin_file(slow)
    seen = ""

    def cancel() -> None:
        nonlocal seen
        until("the note of the first try", slow.with_name("tried").exists)
        (job,) = running(slurm)
        seen = slurm.ask("scontrol", "show", "job", job)
        slurm.ask("scancel", job)

    options = {"partition": "usual", "time": "2:30:00", "memory": "700M", "gpus": 1}
    (cell,) = run(
        plan("slow"), tmp_path / "home", cancel, option=["comment=of mine", "nice"], **options
    )

    assert cell.status == "failed"
    assert "CANCELLED" in cell.message
    assert Path(cell.message.rpartition(": ")[2]).is_file(), "the log that it names is there"
    for words in ("TimeLimit=02:30:00", "mem=700M", "Partition=usual", "gpu:1", "Comment=of mine"):
        assert words in seen


@pytest.mark.slurm
def test_what_slurm_does_not_take_is_said_at_once(slurm: SlurmNode, tmp_path: Path) -> None:
    words = ["sweep", "--executor", "slurm", "--selector", "none", "--seeds", "0",
             "--noise", "symmetric:0.4", "--slurm-partition", "nowhere"]  # fmt: skip
    done = CliRunner().invoke(app, words)

    assert done.exit_code == 1
    assert "invalid partition" in str(done.output) + str(done.exception)


@pytest.mark.slurm
def test_ctrl_c_cancels_the_jobs_and_the_same_command_goes_on(
    slurm: SlurmNode, slow: Path, tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-m", "nlbench", "sweep", "--executor", "slurm", "--plugin", str(slow)),
        *("--selector", "slow", "--selector", "none", "--seeds", "0-1", "--epochs", "1"),
        *("--noise", "symmetric:0.4"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until("the note of the first try", slow.with_name("tried").exists)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=WAIT_S)[1]

    assert process.returncode == 130, said
    assert "The same command goes on from here." in said
    assert slurm.ask("squeue", "--noheader", "--states=PENDING,RUNNING") == ""
    again = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
    assert again.returncode == 0, again.stderr
    # Those that had ended before Ctrl-C are counted apart, whichever ends first.
    assert sum(map(int, re.findall(r"(\d) (?:already )?finished", again.stderr))) == 4, again.stderr


@pytest.mark.slurm
def test_parts_of_an_embedding_are_jobs_and_one_that_is_told_goes_on(
    slurm: SlurmNode, tmp_path: Path
) -> None:
    slow = "(FOLDER / 'slow').exists() and time.sleep(2)"
    plugins = EmbeddingPlugins(tmp_path / "plugins", slow)
    (plugins.folder / "slow").touch()
    command = [
        *(sys.executable, "-m", "nlbench", *plugins.words),
        *("--part-size", "3000", "--executor", "slurm", "--slurm-time", "30", "--json"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until("a batch of the second shard", lambda: len(plugins.batches()) > 3)
    slurm.ask("scancel", "--signal=USR2", *running(slurm))
    (plugins.folder / "slow").unlink()
    output, said = process.communicate(timeout=WAIT_S)

    assert process.returncode == 0, said
    (row,) = json.loads(output)["encoders"]
    assert row["images"] == {"train": N_TRAIN, "test": N_TEST}
    assert plugins.n_embedded() == N, "a job that is told ends after its shard"
    assert len({pid for pid, _, _ in plugins.batches()}) > 2
