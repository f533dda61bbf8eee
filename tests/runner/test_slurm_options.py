"""What a user may ask of Slurm is checked before anything is submitted; no Slurm is needed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from nlbench.cli import app
from nlbench.config.run_config import RunConfig
from nlbench.config.sweep_plan import SweepPlan
from nlbench.errors import ConfigError, RunError
from nlbench.results.store import RunStore
from nlbench.runner.cell_work import CellWork
from nlbench.runner.executors import SweepOrder
from nlbench.runner.on_slurm import executor as on_slurm
from nlbench.runner.on_slurm import queue
from nlbench.runner.on_slurm.job import WorkJob
from nlbench.runner.on_slurm.options import minutes, parameters
from nlbench.runner.workplace import Workplace, no_progress

CPU = torch.device("cpu")


@pytest.mark.parametrize("text", ["", "0", "0:00", "-5", "1:2:3:4", "1-", "soon", "1.5", "1d", "٣"])
def test_a_time_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--slurm-time must be"):
        minutes(text)


@pytest.mark.parametrize("text", ["", "0", "0G", "-1G", "16 G", "16GB", "much", "1e3", "1.5G"])
def test_memory_that_sbatch_would_not_take_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--slurm-memory must be like 16G"):
        parameters({"memory": text})


def test_a_home_at_a_url_is_refused(tmp_path: Path) -> None:
    store = RunStore((tmp_path / "lab").as_uri())
    with pytest.raises(ConfigError, match=r"a home that is a folder which .* got file://"):
        on_slurm.make(SweepOrder(Workplace(store, CPU)))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "key=value"),
        ("=x", "key=value"),
        ("-A=x", "key=value"),
        ("two words=x", "key=value"),
        ("account=", "one line"),
        ("account=a\n#SBATCH --wrap=rm", "one line"),
        ("mem=4G", "--slurm-memory"),
        ("gpus_per_node=1", "--slurm-gpus"),
        ("array=0-7", "leave it out"),
        ("output=log", "leave it out"),
        ("signal-delay-s=soon", "whole number"),
        ("cpus-per-task", "whole number"),
    ],
)
def test_a_free_option_that_is_not_the_users_is_refused(line: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parameters({"option": [line]})


def test_options_come_to_sbatch_as_they_are_meant() -> None:
    asked = parameters(
        {
            "partition": "short", "time": "1-0", "memory": "16g", "gpus": 2,
            "option": ["--account=vision", "exclusive", "cpus_per_task=8", "signal-delay-s=300"],
        }
    )  # fmt: skip
    assert asked == {
        "partition": "short",
        "time": 1440,
        "mem": "16G",
        "gpus_per_node": 2,
        "cpus_per_task": 8,
        "signal_delay_s": 300,
        "additional_parameters": {"account": "vision", "exclusive": True},
    }


def test_a_short_limit_is_not_told_of_at_its_start() -> None:
    assert parameters({"time": "1"})["signal_delay_s"] == 30
    assert parameters({})["signal_delay_s"] == 120


@pytest.mark.parametrize(
    "words", [("--slurm-time", "10"), ("--slurm-option", "account=x"), ("--slurm-gpus", "1")]
)
def test_an_option_of_slurm_without_slurm_is_refused(words: tuple[str, str]) -> None:
    done = CliRunner().invoke(app, ["sweep", "--dry-run", *words])

    assert done.exit_code == 2
    assert f"{words[0]} is for --executor slurm" in done.output


def test_where_there_is_no_slurm_the_message_says_where_to_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="login node"):
        queue.states_of(["1_0"])


class Submissions:
    """In submitit's place: notes what is submitted, and may refuse long arrays as Slurm does."""

    def __init__(self, most: int) -> None:
        self.most, self.arrays = most, []  # type: int, list[list[str]]

    def __call__(self, cells: list[WorkJob]) -> list[object]:
        if len(cells) > self.most:
            raise RuntimeError("sbatch: error: AssocMaxSubmitJobLimit")
        self.arrays.append([cell.work.key for cell in cells])
        return [_Submitted(f"{len(self.arrays)}_{number}") for number in range(len(cells))]


class _Submitted:
    def __init__(self, job_id: str) -> None:
        self.job_id = job_id


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> on_slurm.SlurmExecutor:
    monkeypatch.setattr(on_slurm, "largest_array", lambda: 8)
    return on_slurm.make(SweepOrder(Workplace(RunStore(tmp_path / "home"), CPU)))


def some_cells(n: int) -> list[RunConfig]:
    seeds = tuple(range(n))
    return SweepPlan(selectors=("none",), noises=("symmetric:0.4",), seeds=seeds).configs(None)


def begin_all(executor: on_slurm.SlurmExecutor, configs: list[RunConfig]) -> int:
    for number, config in enumerate(configs):
        if not executor.has_room:
            return number
        executor.begin(CellWork(config), no_progress)
    return len(configs)


def test_cells_are_collected_to_whole_arrays(
    executor: on_slurm.SlurmExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = Submissions(most=8)
    monkeypatch.setattr(on_slurm.SlurmExecutor, "_submitted", slurm)

    assert begin_all(executor, some_cells(12)) == 8, "Slurm takes no longer array"
    assert executor._submit()
    assert not executor.has_room
    assert len(executor.under_way) == 8
    assert [len(array) for array in slurm.arrays] == [8]


def test_a_limit_of_submitted_jobs_makes_arrays_shorter_and_loses_no_cell(
    executor: on_slurm.SlurmExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm, configs = Submissions(most=3), some_cells(8)
    monkeypatch.setattr(on_slurm.SlurmExecutor, "_submitted", slurm)
    begin_all(executor, configs)

    while executor._waiting and executor._submit():
        pass

    submitted = [fingerprint for array in slurm.arrays for fingerprint in array]
    assert submitted == [config.fingerprint for config in configs]
    assert max(map(len, slurm.arrays)) <= 3


def test_a_refusal_for_another_reason_ends_the_sweep(
    executor: on_slurm.SlurmExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(executor: object, cells: object) -> list[object]:
        raise RuntimeError("sbatch: error: invalid partition specified: nowhere")

    monkeypatch.setattr(on_slurm.SlurmExecutor, "_submitted", refuse)
    begin_all(executor, some_cells(2))

    with pytest.raises(RunError, match=r"did not take the jobs.*invalid partition"):
        executor.next_ended()


def test_a_cell_that_another_process_has_is_not_submitted(
    executor: on_slurm.SlurmExecutor, tmp_path: Path
) -> None:
    (config,) = some_cells(1)
    with RunStore(tmp_path / "home").claim(config.fingerprint):
        executor.begin(CellWork(config), no_progress)

        assert executor.next_ended().status == "busy"


def test_a_sweep_that_is_to_end_early_cancels_its_jobs_and_says_paused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(on_slurm, "largest_array", lambda: 8)
    monkeypatch.setattr(on_slurm, "cancel", cancelled.extend)
    monkeypatch.setattr(on_slurm, "states_of", lambda jobs: dict.fromkeys(jobs, "CANCELLED"))
    monkeypatch.setattr(on_slurm.SlurmExecutor, "_submitted", Submissions(most=8))
    place = Workplace(RunStore(tmp_path / "home"), CPU, deadline=time.monotonic() + 3600)
    executor, configs = on_slurm.make(SweepOrder(place)), some_cells(3)
    begin_all(executor, configs)
    assert executor._submit()
    monkeypatch.setattr(on_slurm, "why_end", lambda deadline: "--max-time")

    cells = [executor.next_ended() for _ in configs]

    assert {cell.status for cell in cells} == {"paused"}
    assert {cell.key for cell in cells} == {each.fingerprint for each in configs}
    assert cancelled == ["1_0", "1_1", "1_2"], "once"
    assert not executor.under_way
