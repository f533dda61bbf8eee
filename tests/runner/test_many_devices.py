"""One run in several processes is the run of one; who dies or goes another way is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from device_cases import CASES, HERE, ended, started
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.encoders.shards import read_shard
from nlbench.errors import ConfigError
from nlbench.results.store import RunStore

pytest.importorskip("lightning_fabric")

# Losses and accuracies after two epochs of 11 steps. Sums of float32 in another order move the
# seventh digit, and every step of a training moves it on: three digits are left at worst (SOP).
LOSS = 5e-3
ONE_IN_A_HUNDRED = 0.01
Outcomes = dict[str, Any]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcomes, Outcomes]:
    """Return what the cases come to in one process, and in two that share each run."""
    return in_one_and_two("cases", tmp_path_factory.mktemp("devices"))


def in_one_and_two(kind: str, folder: Path) -> tuple[Outcomes, Outcomes]:
    both = []
    for n in (1, 2):
        own = folder / str(n)
        own.mkdir()
        out = own / "out.json"
        ended(started(n, [str(HERE / "device_cases.py"), str(out), kind], own / "home"), 900)
        both.append(json.loads(out.read_text()))
    return both[0], both[1]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_what_one_does(case: str, outcomes: tuple[Outcomes, Outcomes]) -> None:
    assert_same(outcomes[0][case], outcomes[1][case])


def assert_same(alone: Outcomes, shared: Outcomes) -> None:
    one, two = alone["record"], shared["record"]
    assert one["fingerprint"] == two["fingerprint"]
    assert one["environment"]["device"] == "cpu, 1 threads"
    assert two["environment"]["device"] == "cpu, 1 threads; 2 devices"
    assert two["environment"]["devices"] == 2 and "devices" not in one["environment"]
    assert one["curves"].keys() == two["curves"].keys()
    for name, curve in one["curves"].items():
        limit = LOSS if name == "train_loss" else ONE_IN_A_HUNDRED
        assert two["curves"][name] == pytest.approx(curve, abs=limit), name
    assert (selected(alone, "keep") == selected(shared, "keep")).all()


@pytest.mark.devices
def test_every_selector_and_every_trainer_is_that_of_one_process(tmp_path: Path) -> None:
    alone, shared = in_one_and_two("every", tmp_path)
    assert alone.keys() == shared.keys() and len(alone) > 30
    for name, outcome in alone.items():
        print(name)
        assert_same(outcome, shared[name])


def selected(outcome: dict[str, Any], column: str) -> np.ndarray[Any, Any]:
    table = pq.read_table(Path(outcome["folder"]) / "selection.parquet")
    return np.asarray(table[column].to_numpy())


def test_embeddings_have_the_same_bits_and_are_written_once(
    outcomes: tuple[Outcomes, Outcomes],
) -> None:
    stored = []
    for each in outcomes:
        home = Path(each["frozen head"]["folder"]).parents[1]
        (cache,) = home.parent.glob("home-cache")
        shards = [
            read_shard(path) for path in sorted(cache.glob("embeddings/*/[0-9]*.safetensors"))
        ]
        keys = [bytes(key) for shard in shards if shard for key in shard.keys]
        values = torch.cat([shard.embeddings for shard in shards if shard])
        assert len(set(keys)) == len(keys) > 1437  # training and test images, none twice
        stored.append(dict(zip(keys, values, strict=True)))
    assert stored[0].keys() == stored[1].keys()
    assert all(torch.equal(value, stored[1][key]) for key, value in stored[0].items())


@pytest.mark.parametrize(
    ("case", "error", "words"),
    [
        ("unseeded", "PluginError", "the samples to train on next"),
        ("own loop", "PluginError", "has a training loop of its own"),
        ("past the forward", "PluginError", "the weights of its networks"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(
    case: str, error: str, words: str, outcomes: tuple[Outcomes, Outcomes]
) -> None:
    one, two = (each[case] for each in outcomes)
    assert one == {} and words in two[error]


def test_a_training_that_diverges_says_so_from_every_process(
    outcomes: tuple[Outcomes, Outcomes],
) -> None:
    one, two = (each["diverges"] for each in outcomes)
    assert one == two and "diverged at epoch 1" in two["DivergedError"]


def test_three_processes_share_batches_that_do_not_divide(tmp_path: Path) -> None:
    out = tmp_path / "facts.json"
    ended(started(3, [str(HERE / "device_facts.py"), str(out)], tmp_path / "home"))
    facts = json.loads(out.read_text())
    shares = {n: (right, sum(seen)) for n, (right, seen) in facts["predictions"].items()}
    # Each image once; below one for each process all of them see it.
    assert shares == {
        "1": (True, 3), "2": (True, 6), "3": (True, 3), "7": (True, 7), "600": (True, 600)
    }  # fmt: skip
    assert max(facts["steps"].values()) < 1e-12, facts["steps"]
    assert all(facts["draws"].values()), facts["draws"]
    assert facts["sum"] == [0, 1, 2]


def command(home: Path, *words: str) -> subprocess.Popen[str]:
    """Start `nlbench run` of an endless training in two processes."""
    return subprocess.Popen(
        [sys.executable, "-m", "nlbench", "run", "--selector", "none", "--epochs", "5000",
         "--checkpoint-every", "0s", "--device", "cpu", "--devices", "2", *words],
        env={**os.environ, "NLBENCH_HOME": str(home), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job, as these tests may be, ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip


def wait_for(home: Path, pattern: str) -> None:
    end = time.monotonic() + 120
    while not list(home.glob(pattern)):
        assert time.monotonic() < end, f"no {pattern}"
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@needs_proc
def test_a_killed_process_ends_the_run_with_one_message_and_it_goes_on(tmp_path: Path) -> None:
    started_run = command(tmp_path)
    wait_for(tmp_path, "runs/*/checkpoints/*.json")
    first, second = children_of(started_run.pid)
    os.kill(second, signal.SIGKILL)
    printed, said = started_run.communicate(timeout=240)
    assert started_run.returncode == 1
    assert said.count("Error") == 1 and printed == ""
    assert "process 1 of the 2 that share this run has ended: it was ended with SIGKILL" in said
    assert not is_alive(first)
    (record,) = RunStore(tmp_path).records()[0]
    assert record.status == "failed"

    again = command(tmp_path)
    wait_for(tmp_path, "runs/*/running.json")
    newest = max(tmp_path.glob("runs/*/checkpoints/*.json"))
    while max(tmp_path.glob("runs/*/checkpoints/*.json"), default=newest) <= newest:
        assert again.poll() is None, again.communicate()
        time.sleep(0.05)
    again.terminate()  # as Slurm does: the first process decides for both
    said = again.communicate(timeout=240)[1]
    assert again.returncode == 75, said
    assert "goes on after epoch" in said and "ends early (SIGTERM)" in said
    assert said.count("SIGTERM") == 2


@needs_proc
@pytest.mark.devices
def test_the_first_process_killed_and_ctrl_c(tmp_path: Path) -> None:
    for number, codes in ((signal.SIGKILL, {1}), (signal.SIGINT, {130, 1, -2})):
        under_way = command(tmp_path)
        wait_for(tmp_path, "runs/*/checkpoints/*.json")
        ranks = children_of(under_way.pid)
        os.kill(ranks[0] if number == signal.SIGKILL else under_way.pid, number)
        said = under_way.communicate(timeout=240)[1]
        assert under_way.returncode in codes, said
        assert said.count("process 0 of the 2") == (number == signal.SIGKILL), said
        assert "Traceback" not in said
        assert not any(map(is_alive, ranks))


@pytest.mark.devices
def test_torchrun_starts_the_same_run(tmp_path: Path) -> None:
    words = ["run", "--selector", "none", "--epochs", "2", "--device", "cpu", "--json"]
    env = {**os.environ, "NLBENCH_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    nproc = ["--nproc-per-node", "2", "-m", "nlbench"]
    done = subprocess.run(
        [*torchrun, *nproc, *words], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["environment"]["devices"] == 2  # one record, by one process
    wrong = subprocess.run(
        [*torchrun, *nproc, *words, "--devices", "3"],
        env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert wrong.returncode != 0
    assert "number of processes that torchrun started, 2, got 3" in wrong.stderr


@pytest.mark.devices
def test_a_run_goes_on_with_another_number_of_devices(tmp_path: Path) -> None:
    words = ["run", "--selector", "small-loss", "--epochs", "6", "--device", "cpu"]
    env = {**os.environ, "NLBENCH_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    codes = []
    for n in ("2", "1", "3"):
        done = subprocess.run(
            [sys.executable, "-m", "nlbench", *words, "--devices", n, "--max-time", "0.01s"],
            env=env, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        codes.append(done.returncode)
    assert codes == [75, 75, 75]
    last = subprocess.run(
        [sys.executable, "-m", "nlbench", *words],
        env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert last.returncode == 0 and "goes on after epoch 3" in last.stderr
    (record,) = RunStore(tmp_path).records()[0]
    assert record.status == "finished" and record.resumed == 3


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--devices", "0"], "greater than or equal to 1"),
        (["--devices", "2", "--device", "cuda:1"], "must not name one GPU"),
        (["--devices", "2", "--device", "gpu"], "--device must be auto"),
    ],
)
def test_numbers_that_are_wrong_are_refused(words: list[str], rule: str) -> None:
    done = CliRunner().invoke(app, ["run", *words])
    assert done.exit_code == 2 and rule in done.stderr


def test_more_devices_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    done = CliRunner().invoke(app, ["run", "--devices", "3"])
    assert done.exit_code == 2
    assert "at most the number of GPUs, 2, got 3" in done.stderr and "--device cpu" in done.stderr


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlbench.machine.joining.find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["run", "--devices", "2", "--device", "cpu"])
    assert done.exit_code == 2 and "pip install 'nlbench[devices]'" in done.stderr


def test_a_script_alone_is_told_how_to_start() -> None:
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node 2"):
        nlbench.run("none", devices=2, device="cpu")


@pytest.mark.slow
def test_one_device_is_a_run_as_ever(tmp_path: Path) -> None:
    code = (
        "import sys; from nlbench.cli import app\n"
        "app(['run', '--selector', 'none', '--epochs', '1', '--devices', '1'],"
        " standalone_mode=False)\n"
        "assert 'lightning_fabric' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "NLBENCH_HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
