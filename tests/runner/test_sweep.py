"""A grid of runs: which cells, what is skipped, and what survives a failure or a kill."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

import nlbench
from nlbench.cli import app
from nlbench.cli.sweep import seconds_by_stage
from nlbench.config.run_config import RunConfig
from nlbench.config.sweep_plan import SweepPlan, load_plan, parse_seeds, shard_of
from nlbench.errors import ConfigError
from nlbench.plugins import registry
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore
from nlbench.runner.cell import Cell
from nlbench.runner.outlook import outlook
from nlbench.runner.sweep import run_sweep
from nlbench.runner.workplace import Workplace
from nlbench.tracking import MlflowTracker

CPU = torch.device("cpu")
EPOCHS = 2
WAIT_S = 180

# Counts its calls, and waits in its N-th call for as long as a file "hold" says N.
COUNTING = '''"""Keeps all and counts its calls."""
from __future__ import annotations
import os, time
from dataclasses import dataclass
from pathlib import Path
import torch
from nlbench import Selection, Selector

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Counting(Selector):
    """Keeps all."""

    def select(self, data):
        with (HERE / "calls").open("a") as file:
            file.write(f"{data.seed}\\n")
        while (HERE / f"hold-{data.seed}").exists():
            time.sleep(0.02)
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
        ERROR
'''
SWEEP = """
import sys
from pathlib import Path
import torch
from nlbench.plugins import registry
from nlbench.results.store import RunStore
from nlbench.config.sweep_plan import SweepPlan
from nlbench.runner.sweep import run_sweep
from nlbench.runner.workplace import Workplace
registry.add_plugin_file(Path(sys.argv[1]))
plan = SweepPlan(("counting",), noises=("symmetric:0.4",), seeds=(0, 1, 2, 3), epochs=2)
for cell in run_sweep(plan.configs(), Workplace(RunStore(), torch.device("cpu"))):
    print(cell.config.seed, cell.status)
"""


@pytest.fixture(autouse=True)
def log_to_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line logs to the standard error of its day, which a test soon closes."""
    monkeypatch.setattr(logging.getLogger("nlbench"), "handlers", [])


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands without MLflow, which takes seconds."""
    for module in ("run", "workplace"):
        monkeypatch.setattr(f"nlbench.runner.{module}.open_tracker", lambda uri, store: None)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty MLflow store, which takes seconds to make."""
    home = tmp_path_factory.mktemp("template")
    MlflowTracker.open(None, home)
    return home


@pytest.fixture
def home(tmp_path: Path, template: Path) -> Path:
    return shutil.copytree(template, tmp_path / "home")


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    path = tmp_path / "plugins" / "counting.py"
    path.parent.mkdir()
    path.write_text(COUNTING)
    registry.add_plugin_file(path)
    return path


@pytest.fixture
def failing(tmp_path: Path) -> Callable[..., Path]:
    def write(error: str, name: str = "failing") -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(FAILING.replace("ERROR", error))
        registry.add_plugin_file(path)
        return path

    return write


def calls(counting: Path) -> list[int]:
    path = counting.with_name("calls")
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def plan_of(*selectors: str, seeds: tuple[int, ...] = (0,), **more: Any) -> SweepPlan:
    given = {"noises": ("symmetric:0.4",), "epochs": EPOCHS, **more}
    return SweepPlan(selectors, seeds=seeds, **given)


def sweep(
    plan: SweepPlan, store: RunStore | None = None, force: bool = False, **options: Any
) -> list[Cell]:
    place = Workplace(store or RunStore(), CPU, force=force)
    return list(run_sweep(plan.configs(), place, **options))


def command(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


# The plan


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0", (0,)),
        ("0-2", (0, 1, 2)),
        ("0,3,7-9", (0, 3, 7, 8, 9)),
        (" 1 , 0 - 1 ", (1, 0)),
        ("5-5", (5,)),
    ],
)
def test_seeds_are_read_as_ranges_and_lists(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1,", "-1", "0-", "2-1", "1.5", "0..3", "²", "1-²"])
def test_seeds_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="seeds must"):
        parse_seeds(text)


def test_a_sweep_file_gives_the_axes(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "selectors: [none, 'small-loss:divider=rate']\nnoises: [pair:0.3]\nseeds: 0-1\n"
        "epochs: 3\nsettings: {trainer.lr: 0.1}\n"
    )
    configs = load_plan(path).configs()
    assert [(c.selector.name, c.seed) for c in configs] == [
        ("none", 0), ("small-loss", 0), ("none", 1), ("small-loss", 1)
    ]  # fmt: skip
    assert {(c.dataset.name, c.noise.kind, c.noise.rate) for c in configs} == {
        ("digits", "pair", 0.3)
    }
    assert {(c.trainer.params["epochs"], c.trainer.params["lr"]) for c in configs} == {(3, 0.1)}
    assert configs[1].selector.params["divider"] == "rate"


@pytest.mark.parametrize(("seeds", "expected"), [("[0, 4]", (0, 4)), ("7", (7,)), ("1-2", (1, 2))])
def test_seeds_of_a_file_are_a_list_a_number_or_a_range(
    tmp_path: Path, seeds: str, expected: tuple[int, ...]
) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(f"seeds: {seeds}\n")
    assert load_plan(path).seeds == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("selector: [none]", "unknown key 'selector'. Did you mean 'selectors'"),
        ("selectors: none", "'selectors' must be a list"),
        ("noises: []", "'noises' must be a list"),
        ("datasets: [1]", "'datasets' must be a list"),
        ("seeds: many", "seeds must be like 0-2"),
        ("seeds: {0: 1}", "seeds must be like 0-2"),
        ("settings: [a]", "'settings' must contain key: value"),
        ("settings: {1: 2}", "setting"),
        ("settings: {trainer.lrr: 2}", "unknown setting 'trainer.lrr'"),
        ("recipe: 5", "recipe"),
        ("recipe: quick/digit", "unknown recipe 'quick/digit'. Did you mean 'quick/digits'"),
        ("trainer: [x]", "trainer"),
        ("epochs: many", "epochs"),
        ("epochs: 0", "epochs"),
        ("selectors: [cliipcleaner]", "Did you mean 'clipcleaner'"),
        ("noises: [symetric:0.4]", "Did you mean 'symmetric'"),
        ("noises: ['symmetric:lots']", "the noise rate must be a number"),
        ("noises: [pair:1.5]", "must lie in [0, 1)"),
        ("- a list", "must contain key: value"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_wrong_sweep_file_is_a_mistake_with_a_message(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_plan(path).configs()
    assert message in str(caught.value)


def test_a_missing_sweep_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"grid\.yaml' does not exist"):
        load_plan(tmp_path / "grid.yaml")


def test_all_selectors_of_a_seed_come_together() -> None:
    plan = plan_of("none", "random", seeds=(0, 1), noises=("symmetric:0.4", "pair:0.2"))
    order = [(c.noise.kind, c.seed, c.selector.name) for c in plan.configs()]
    assert order == [
        (noise, seed, name)
        for noise in ("symmetric", "pair")
        for seed in (0, 1)
        for name in ("none", "random")
    ]


def test_no_selectors_means_all_of_them(counting: Path) -> None:
    names = [c.method for c in plan_of().configs()]
    assert names[: len(registry.selector_names())] == registry.selector_names()
    assert {"elr", "gce", "sop"} < set(names)
    assert {"counting", "clipcleaner", "oracle"} <= set(names)


@pytest.mark.usefixtures("untracked")
def test_flags_stand_above_the_file(tmp_path: Path, counting: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("selectors: [counting, none]\nnoises: [pair:0.3]\nseeds: 0-5\nepochs: 30\n")
    result = command("sweep", "--selector", "counting", "--seeds", "4", "--epochs", 1, path)
    assert result.exit_code == 0, result.output
    (record,), _ = RunStore().records()
    assert (record.selector.name, record.seed, record.noise.kind) == ("counting", 4, "pair")
    assert len(record.curves["test_accuracy"]) == 1
    assert "1 run: 1 method x 1 data set x 1 noise x 1 seed" in result.stderr


def test_a_mistake_in_the_last_cell_is_found_before_the_first_runs(counting: Path) -> None:
    result = command("sweep", "--selector", "counting", "--selector", "smal-loss")
    assert result.exit_code == 2
    assert "Did you mean 'small-loss'?" in result.stderr
    assert calls(counting) == []


# What is run


def test_finished_cells_are_skipped_and_new_ones_are_run(counting: Path) -> None:
    assert [cell.status for cell in sweep(plan_of("counting", seeds=(0, 1)))] == ["finished"] * 2
    again = sweep(plan_of("counting", seeds=(0, 1, 2)))
    assert [cell.status for cell in again] == ["already finished"] * 2 + ["finished"]
    assert calls(counting) == [0, 1, 2]
    assert all(cell.record == RunStore().read(cell.config.fingerprint) for cell in again)
    forced = sweep(plan_of("counting", seeds=(1,)), force=True)
    assert [cell.status for cell in forced] == ["finished"]
    assert calls(counting) == [0, 1, 2, 1]


def test_a_failed_cell_stops_no_other_and_is_tried_again(
    counting: Path, failing: Callable[..., Path]
) -> None:
    failing("raise ValueError('no idea')")
    plan = plan_of("failing", "counting", seeds=(0, 1))
    for expected in ("finished", "already finished"):
        cells = sweep(plan)
        assert [cell.status for cell in cells] == ["failed", expected] * 2
        assert "no idea" in cells[0].message
    records, _ = RunStore().records()
    assert sorted(r.status for r in records) == ["failed"] * 2 + ["finished"] * 2


def test_however_a_cell_fails_the_others_go_on(
    counting: Path, failing: Callable[..., Path]
) -> None:
    bodies = (
        "import sys; sys.exit(0)",
        "from nlbench import PluginError; raise PluginError",
        "from nlbench import Selection as S; x = data.uniform(); d = {'x': x}; "
        "return S(x > 0.5, x, diagnostics=d)",
        "return data.noisy_labels",
        "raise ValueError",
    )
    names = [failing(body, f"failing{n}").stem for n, body in enumerate(bodies)]
    cells = sweep(plan_of(*names, "counting"))
    assert [cell.status for cell in cells] == ["failed"] * len(bodies) + ["finished"]
    assert calls(counting) == [0]


def test_a_diverging_cell_stops_no_other(counting: Path) -> None:
    lr = {"trainer.lr": 1e30}
    cells = sweep(plan_of("counting", seeds=(0, 1), settings=lr))
    assert len(cells) == 2
    assert calls(counting) == [0, 1]


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("error", ["raise ValueError('no\\nidea')", "raise PluginError"])
def test_the_command_says_what_failed_and_what_to_do(
    failing: Callable[..., Path], error: str
) -> None:
    path = failing(f"from nlbench import PluginError; {error}")
    words = ("--selector", "failing", "--selector", "none", "--noise", "pair:0.2", "--seeds", "3")
    result = command("sweep", "--plugin", path, *words, "--epochs", 1)
    assert result.exit_code == 1
    assert "1 failed, 1 finished" in result.stderr
    assert "failed: failing  digits  pair 0.2  seed 3" in result.stderr
    assert "Repeat the same command to run them again." in result.stderr
    assert "Traceback" not in result.output
    again = command("sweep", "--plugin", path, *words, "--epochs", 1)
    assert "1 failed, 1 already finished" in again.stderr


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_tells_its_reason_and_the_next_step_at_once(
    failing: Callable[..., Path], counting: Path, jobs: int
) -> None:
    path = failing("raise ValueError('no idea')")
    hold = counting.with_name("hold-3")
    hold.touch()

    def let_go_after_the_failure() -> None:
        while not any(r.status == "failed" for r in RunStore().records()[0]):
            time.sleep(0.1)
        hold.unlink()

    threading.Thread(target=let_go_after_the_failure, daemon=True).start()
    result = command(
        "sweep", "--plugin", path, "--plugin", counting, "--selector", "failing", "--selector",
        "counting", "--noise", "pair:0.2", "--seeds", "3", "--epochs", 1, "--jobs", jobs,
    )  # fmt: skip
    lines = result.stderr.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.endswith(" FAILED")]
    assert re.match(r"\[1/2\] failing  digits  pair 0.2  seed 3 ", lines[at])
    assert re.fullmatch(
        r"    failing failed: ValueError: no idea \(at failing.py:\d+\)\.", lines[at + 1]
    )
    (record,) = [r for r in RunStore().records()[0] if r.status == "failed"]
    assert lines[at + 2] == f"    see `nlbench show run {record.fingerprint[:12]}`"
    assert lines[at + 3].startswith("[2/2] counting")


# Kills and neighbours


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def start(*words: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def test_a_killed_sweep_is_finished_by_the_same_command(
    counting: Path,
    home: Path,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["sweep", "--selector", "none", "--selector", "counting", "--noise", "symmetric:0.4"]
    words += ["--seeds", "0-1", "--epochs", str(EPOCHS), "--plugin", str(counting)]
    hold = counting.with_name("hold-0")
    hold.touch()
    process = started("-m", "nlbench", *words)
    wait_for(lambda: calls(counting), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    hold.unlink()

    store = RunStore(home)
    before, _ = store.records()
    assert [(r.selector.name, r.seed, r.status) for r in before] == [("none", 0, "finished")]
    (marker,) = home.glob("runs/*/running.json")
    killed, fingerprint = json.loads(marker.read_text())["mlflow_run"], marker.parent.name
    assert status_in_mlflow(home, fingerprint) == {killed: "RUNNING"}

    result = command(*words)
    assert result.exit_code == 0, result.output
    assert "1 already finished, 3 finished" in result.stderr
    assert not list(home.glob("runs/*/running.json"))
    assert store.read(before[0].fingerprint) == before[0]
    redone = store.read(fingerprint)
    assert redone is not None
    assert redone.attempt == 2
    statuses = status_in_mlflow(home, fingerprint)
    assert statuses.pop(killed) == "KILLED"
    assert list(statuses.values()) == ["FINISHED"]

    monkeypatch.setenv("NLBENCH_HOME", str(tmp_path / "uninterrupted"))
    sweep(plan_of("none", "counting", seeds=(0, 1)))
    uninterrupted = leaderboard()
    monkeypatch.setenv("NLBENCH_HOME", str(home))
    assert leaderboard() == uninterrupted
    assert "accuracy_last" in json.dumps(uninterrupted)


def status_in_mlflow(home: Path, fingerprint: str) -> dict[str, str]:
    runs = MlflowTracker.open(None, home).runs_of(fingerprint)
    return {run.run_id: run.status for run in runs}


def leaderboard() -> Any:
    """Return the leaderboard's JSON without what no two runs share: times, memory, the attempt."""
    result = command("leaderboard", "--json")
    assert result.exit_code == 0, result.output
    return timeless(json.loads(result.stdout))


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not changes_by_itself(k)}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def changes_by_itself(key: str) -> bool:
    return key.endswith(("_s", "_mb", "_at")) or key in ("times", "attempt")


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_two_sweeps_at_once_share_the_work_and_both_end_well(
    counting: Path, started: Callable[..., subprocess.Popen[str]], jobs: int
) -> None:
    hold = counting.with_name("hold-0")
    hold.touch()
    process = started("-c", SWEEP, counting)
    wait_for(lambda: calls(counting), process)  # the other one sits in seed 0
    waited: list[list[int]] = []

    def let_go(configs: Sequence[RunConfig]) -> None:
        waited.append([config.seed for config in configs])
        hold.unlink()

    mine = sweep(plan_of("counting", seeds=(0, 1, 2, 3)), jobs=jobs, on_wait=let_go)
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, output
    assert waited == [[0]]
    assert {cell.config.seed: cell.status for cell in mine} == {
        0: "already finished", 1: "finished", 2: "finished", 3: "finished"
    }  # fmt: skip
    assert "0 finished\n1 already finished\n" in output
    assert sorted(calls(counting)) == [0, 1, 2, 3]
    records, problems = RunStore().records()
    assert problems == []
    assert sorted(r.seed for r in records if r.status == "finished") == [0, 1, 2, 3]


def test_a_cell_whose_other_process_is_killed_is_done_here(
    counting: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    hold = counting.with_name("hold-0")
    hold.touch()
    process = started("-c", SWEEP, counting)
    wait_for(lambda: calls(counting), process)

    def kill(configs: object) -> None:
        process.kill()
        process.wait()
        hold.unlink()

    (cell,) = sweep(plan_of("counting"), on_wait=kill)
    assert cell.status == "finished"
    assert cell.record is not None
    assert cell.record.attempt == 2
    assert calls(counting) == [0, 0]


@pytest.mark.usefixtures("untracked")
def test_the_command_waits_says_so_and_ends_with_0(
    counting: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    hold = counting.with_name("hold-0")
    hold.touch()
    process = started("-c", SWEEP, counting)
    wait_for(lambda: calls(counting), process)
    words = ("--selector", "counting", "--noise", "symmetric:0.4", "--epochs", EPOCHS)
    shown = command("sweep", "--plugin", counting, *words, "--seeds", "0,5", "--dry-run")
    assert re.search(r"under way +\w{12}  counting  digits  symmetric 0.4  seed 0", shown.stdout)
    threading.Timer(3.0, hold.unlink).start()
    result = command("sweep", "--plugin", counting, *words, "--seeds", "0")
    assert result.exit_code == 0, result.output
    assert "1 run is under way in another process; waiting for it." in result.stderr
    assert "1 already finished\n" in result.stderr
    assert "busy" not in result.stderr.lower()


def test_a_dry_run_lists_what_is_finished_and_runs_nothing(counting: Path) -> None:
    sweep(plan_of("counting", seeds=(1,)))
    files = sorted(RunStore().home.rglob("*"))
    words = ("--selector", "counting", "--noise", "symmetric:0.4", "--epochs", EPOCHS)
    result = command("sweep", "--plugin", counting, *words, "--seeds", "0-2", "--dry-run")
    assert result.exit_code == 0, result.output
    states = [re.split("  +", line)[0] for line in result.stdout.splitlines()]
    assert states == ["to do", "finished", "to do"]
    assert "2 to do, 1 finished. Without --dry-run 2 runs would be done." in result.stderr
    forced = command("sweep", "--plugin", counting, *words, "--seeds", "1", "--dry-run", "--force")
    assert "Without --dry-run 1 run would be done." in forced.stderr
    assert calls(counting) == [1]
    assert sorted(RunStore().home.rglob("*")) == files


def test_a_dry_run_tells_failed_and_damaged_records(
    counting: Path, failing: Callable[..., Path]
) -> None:
    failing("raise ValueError('no idea')")
    plan = plan_of("failing", "counting")
    done = sweep(plan)[1]
    (RunStore().folder(done.config.fingerprint) / "record.json").write_text("{")
    assert outlook(plan.configs(), RunStore()) == ["failed", "damaged"]


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_the_parts_of_a_grid_are_the_grid_each_cell_once(n: int) -> None:
    grid = plan_of("none", "random", seeds=(0, 1)).configs()
    parts = [shard_of(grid, f"{i}/{n}") for i in range(1, n + 1)]
    assert sorted(c.fingerprint for part in parts for c in part) == sorted(
        c.fingerprint for c in grid
    )
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/2", "1/0", "-1/2", "1/2/3", "1.5/2"])
def test_a_part_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be I/N with 1 <= I <= N"):
        shard_of([], text)


@pytest.mark.usefixtures("untracked")
def test_a_part_runs_its_cells_only(counting: Path) -> None:
    words = ("--selector", "counting", "--noise", "pair:0.2", "--seeds", "0-2", "--epochs", 1)
    result = command("sweep", "--plugin", counting, *words, "--shard", "2/2")
    assert result.exit_code == 0, result.output
    assert "part 2/2: 1 run of these" in result.stderr
    assert calls(counting) == [1]
    empty = command("sweep", "--plugin", counting, *words, "--shard", "4/4")
    assert empty.exit_code == 0
    assert "nothing to run" in empty.stderr
    assert calls(counting) == [1]


def test_a_cell_that_another_process_finished_just_now_is_not_run_again(counting: Path) -> None:
    """Between looking for the record and taking the lock there is time for another process."""

    def overtake(config: object) -> Callable[..., None]:
        other = nlbench.run("counting", noise_rate=0.4, epochs=EPOCHS, track=False)
        assert other.status == "finished"
        return lambda stage, done, total: None

    cells = sweep(plan_of("counting"), on_start=overtake)
    assert [cell.config.seed for cell in cells] == [0]
    assert calls(counting) == [0]


def test_a_sweep_and_a_run_give_the_same_record() -> None:
    record: RunRecord = nlbench.run(
        "none", noise="symmetric", noise_rate=0.4, seed=1, epochs=EPOCHS, track=False
    )
    (cell,) = sweep(plan_of("none", seeds=(1,)))
    assert cell.status == "already finished"
    assert cell.record == record


def test_a_sweep_tells_where_its_seconds_went(home: Path, counting: Path) -> None:
    configs = plan_of("counting", seeds=(0, 1)).configs()
    store = RunStore(home)
    started = time.perf_counter()
    cells = list(run_sweep(configs, Workplace(store, CPU)))
    total_s = time.perf_counter() - started
    stages = seconds_by_stage(cells, total_s)
    assert sum(stages.values()) == pytest.approx(total_s)
    assert all(seconds >= 0 for seconds in stages.values()), stages
    assert stages["train"] == pytest.approx(sum(c.record.times.train_s for c in cells if c.record))
    assert stages["log"] > 0
    again = seconds_by_stage(run_sweep(configs, Workplace(store, CPU)), 1.0)
    assert again == {"train": 0, "select": 0, "embed": 0, "data": 0, "log": 0, "rest": 1.0}
