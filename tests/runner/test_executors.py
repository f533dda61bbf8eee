"""Where cells run: executors by name, GPUs and threads of workers, what comes home."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.config.named_files import with_files_moved
from nlbench.config.run_config import RunConfig
from nlbench.config.sweep_plan import SweepPlan
from nlbench.errors import BusyError, ConfigError
from nlbench.plugins import registry
from nlbench.results.store import RunStore
from nlbench.runner.cell import Cell, run_cell
from nlbench.runner.cell_work import CellWork
from nlbench.runner.executors import EXECUTORS, SweepOrder, driver_device, open_executor
from nlbench.runner.homecoming import Homecoming, packed
from nlbench.runner.on_ray import post as post_module
from nlbench.runner.on_ray.post import News, Post
from nlbench.runner.on_ray.shipping import Parcel, opened
from nlbench.runner.shares import gpus_of, share_of
from nlbench.runner.workplace import Workplace
from nlbench.tracking import MlflowTracker

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def plan(*selectors: str, **more: Any) -> list[RunConfig]:
    axes = {"noises": ("symmetric:0.4",), "seeds": (0,), "epochs": 1, **more}
    return SweepPlan(selectors, **axes).configs()


# By name


def test_an_unknown_executor_is_told_with_near_matches() -> None:
    result = CliRunner().invoke(app, ["sweep", "--executor", "rai"])
    assert result.exit_code == 2
    assert "unknown executor 'rai'. Did you mean 'ray'?" in result.stderr


@pytest.mark.parametrize("name", sorted(set(EXECUTORS) - {"local"}))
def test_an_executor_that_is_not_installed_says_what_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbench.runner.executors.find_spec", lambda package: None)
    result = CliRunner().invoke(app, ["sweep", "--executor", name, "--selector", "none"])
    assert result.exit_code == 2
    assert f"pip install 'nlbench[{name}]'" in result.stderr


def test_options_of_another_executor_are_refused() -> None:
    result = CliRunner().invoke(app, ["sweep", "--selector", "none", "--ray-address", "auto"])
    assert result.exit_code == 2
    assert "--ray-address is for --executor ray, got --executor local" in result.stderr
    with pytest.raises(ConfigError, match="the local executor has no option 'address'"):
        open_executor("local", SweepOrder(Workplace(RunStore(), CPU), options={"address": "auto"}))


def test_help_and_local_sweeps_do_not_import_an_extra() -> None:
    code = (
        "import sys; from nlbench.cli import app\n"
        "try: app(['sweep', '--help'])\n"
        "except SystemExit: pass\n"
        "import nlbench.runner.sweep\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--executor" in done.stdout
    loaded = set(done.stderr.split())
    assert "nlbench.runner.executors" in loaded
    assert not loaded & {"ray", "submitit"}


def test_a_driver_without_a_gpu_may_ask_for_one_elsewhere() -> None:
    assert driver_device("ray", "cuda") == CPU
    with pytest.raises(ConfigError, match="--device must be auto, cpu"):
        driver_device("ray", "gpu")


# What a worker gets


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield


@pytest.mark.usefixtures("four_gpus")
def test_workers_have_a_gpu_each_and_share_them_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    order = SweepOrder(Workplace(RunStore(), CUDA))
    assert open_executor("local", order).capacity == 4
    taken: list[str] = []
    for _ in range(6):
        taken.append(share_of(CUDA, 6, taken).gpu)
    assert taken == ["0", "1", "2", "3", "0", "1"]
    taken.remove("2")  # a worker died
    assert share_of(CUDA, 6, taken).gpu == "2"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7, 5,GPU-a,GPU-b")
    assert gpus_of(CUDA) == ("7", "5", "GPU-a", "GPU-b")


@pytest.mark.usefixtures("four_gpus")
def test_one_gpu_that_was_asked_for_is_the_only_one() -> None:
    assert gpus_of(torch.device("cuda:1")) == gpus_of(CPU) == ()
    assert open_executor("local", SweepOrder(Workplace(RunStore(), CPU))).capacity == 1


def test_cores_are_divided_beside_a_gpu_and_kept_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    beside_gpu = share_of(CUDA, 4, [])
    assert (beside_gpu.gpu, beside_gpu.n_threads) == ("", 4)
    assert beside_gpu.variables["OMP_NUM_THREADS"] == "4"
    assert share_of(CUDA, 32, []).n_threads == 1
    assert share_of(CUDA, 4, [], deterministic=True).n_threads == 16
    on_cpu = share_of(CPU, 4, [])
    assert on_cpu.n_threads == 16  # fewer would change the last bits
    assert on_cpu.variables["OMP_WAIT_POLICY"] == "PASSIVE"
    assert share_of(CPU, 1, []).variables == {}


def test_a_share_is_in_the_environment_of_what_is_started_and_not_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    with share_of(CUDA, 2, ["4"]).in_environment():
        code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_WAIT_POLICY'])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["6", "PASSIVE"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,6"
    assert "OMP_WAIT_POLICY" not in os.environ


# What comes home


def delivered(config: RunConfig, elsewhere: Path) -> Any:
    place = Workplace(RunStore(elsewhere), CPU)
    return packed(run_cell(config, place, lambda stage, done, total: None), place.store)


def test_a_run_from_elsewhere_is_as_one_made_here(tmp_path: Path) -> None:
    (config,) = plan("none")
    delivery = delivered(config, tmp_path / "elsewhere")
    store = RunStore()
    tracker = MlflowTracker.open(None, store.home)
    home = Homecoming(config, Workplace(store, CPU, tracker))
    with pytest.raises(BusyError), store.claim(config.fingerprint):
        pass
    started = json.loads(delivery.record)
    home.begun(json.dumps({**started, "status": "running", "metrics": None, "curves": {}}))
    assert [u.alive for u in store.unfinished()] == [True]
    assert [run.status for run in tracker.runs_of(config.fingerprint)] == ["RUNNING"]
    cell = home.ended(delivery)
    assert cell.status == "finished"
    assert store.read(config.fingerprint) == cell.record
    here, there = store.folder(config.fingerprint), tmp_path / "elsewhere/runs" / config.fingerprint
    for name in ("selection.parquet", "predictions.parquet", "gallery.json"):
        assert (here / name).read_bytes() == (there / name).read_bytes()
    assert not (here / "running.json").exists()
    assert store.unfinished() == []
    assert [run.status for run in tracker.runs_of(config.fingerprint)] == ["FINISHED"]


def test_a_delivery_that_is_damaged_or_misses_a_file_fails_its_cell_only(tmp_path: Path) -> None:
    (config,) = plan("none")
    delivery = delivered(config, tmp_path / "elsewhere")
    place = Workplace(RunStore(), CPU)
    broken = type(delivery)("finished", delivery.record[:-40], files=delivery.files)
    cell = Homecoming(config, place).ended(broken)
    assert cell.status == "failed"
    assert "its result cannot be kept" in cell.message
    assert place.store.read(config.fingerprint) is None
    assert Homecoming(config, place).ended(delivery).status == "finished"


def test_a_cancelled_run_counts_as_interrupted_and_its_next_try_is_the_second(
    tmp_path: Path,
) -> None:
    (config,) = plan("none")
    delivery = delivered(config, tmp_path / "elsewhere")
    place = Workplace(RunStore(), CPU)
    Homecoming(config, place).cancel()
    assert (place.store.folder(config.fingerprint) / "running.json").exists()
    cell = Homecoming(config, place).ended(delivery)
    assert cell.record is not None
    assert cell.record.attempt == 2


def test_a_run_that_another_process_finished_meanwhile_is_not_done_again() -> None:
    (config,) = plan("none")
    nlbench.run("none", noise="symmetric", noise_rate=0.4, seed=0, epochs=1, track=False)
    earlier = Homecoming(config, Workplace(RunStore(), CPU)).earlier()
    assert isinstance(earlier, Cell)
    assert earlier.status == "already finished"
    with RunStore().claim(config.fingerprint):
        pass  # the claim was given back


# What is sent


def test_files_that_settings_name_are_sent_and_the_run_stays_the_same(tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.csv"
    rows = [[0.55 if i == j else 0.05 for j in range(10)] for i in range(10)]
    matrix.write_text("\n".join(",".join(map(str, row)) for row in rows))
    settings = {"noise.matrix": str(matrix)}
    (config,) = plan("none", noises=("matrix",), settings=settings)
    parcel = Parcel(tmp_path / "parcel", [CellWork(config)])
    there = tmp_path / "node"
    (tmp_path / "parcel").rename(there)
    work = opened(parcel.addressed(CellWork(config)), there)
    assert isinstance(work, CellWork)
    moved = work.config
    name = moved.noise.options["matrix"]
    assert Path(name).is_relative_to(there)
    assert Path(name).read_bytes() == matrix.read_bytes()
    fresh = RunConfig.model_validate(moved.model_dump())
    assert fresh.fingerprint == config.fingerprint


def test_model_folders_behind_a_word_are_moved_too(tmp_path: Path) -> None:
    (config,) = plan("none")
    protocol = config.protocol.model_copy(update={"image_encoder": f"local-dir:{tmp_path}"})
    files = {"protocol.image_encoder": "0" * 64}
    config = config.model_copy(update={"protocol": protocol, "files": files})
    moved = with_files_moved(config, lambda path: path + "/elsewhere")
    assert moved.protocol.image_encoder == f"local-dir:{tmp_path}/elsewhere"


def test_a_file_that_is_too_large_is_named_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("nlbench.runner.on_ray.shipping.MOST_BYTES", 10)
    matrix = tmp_path / "matrix.csv"
    rows = [[0.55 if i == j else 0.05 for j in range(10)] for i in range(10)]
    matrix.write_text("\n".join(",".join(map(str, row)) for row in rows))
    (config,) = plan("none", noises=("matrix",), settings={"noise.matrix": str(matrix)})
    parcel = Parcel(tmp_path / "parcel", [CellWork(config)])
    work = opened(parcel.addressed(CellWork(config)), tmp_path)
    assert isinstance(work, CellWork)
    assert work.config.noise.options["matrix"] == str(matrix)
    assert "is not sent: each node needs it at that path" in caplog.text


def test_a_selector_that_was_dropped_into_the_package_travels_with_it(
    tmp_path: Path, own_selectors: Path
) -> None:
    assert Parcel(tmp_path / "a", map(CellWork, plan("none"))).packages == ()
    shutil.copyfile(own_selectors / "random.py", own_selectors / "dropped_for_a_test.py")
    registry.rediscover()
    dropped = map(CellWork, plan("dropped-for-a-test"))
    assert Parcel(tmp_path / "b", dropped).packages == (own_selectors,)


# The post


def test_news_stay_in_order_and_are_taken_once() -> None:
    post = Post()
    post.tell([News("a", "progress", ("train", 1, 2))])
    post.tell([News("b", "log", "x"), News("a", "progress", ("train", 2, 2))])
    assert [news.fingerprint for news in post.take()] == ["a", "b", "a"]
    assert post.take() == []


def test_one_computes_embeddings_and_the_next_goes_on_when_it_dies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(post_module.time, "monotonic", lambda: now[0])
    post = Post()
    assert post.turn("key", "first").state == "yours"
    assert post.turn("key", "second").state == "wait"
    assert post.turn("other", "second").state == "yours"
    now[0] += post_module.LEASE_S - 1
    post.renew("key", "first")
    now[0] += post_module.LEASE_S - 1
    assert post.turn("key", "second").state == "wait"
    now[0] += 2  # it has not renewed: it died
    assert post.turn("key", "second").state == "yours"
    post.renew("key", "first")
    post.end_turn("key", "first", is_done=False)  # late: it does not take the turn away
    assert post.turn("key", "third").state == "wait"
    post.end_turn("key", "second", is_done=True)
    assert post.turn("key", "third").state == "done"


# The machine's name


def test_the_record_names_the_machine_and_what_travels_does_not(tmp_path: Path) -> None:
    record = nlbench.run("none", noise_rate=0.4, epochs=1, track=False)
    assert record.environment["machine"] == platform.node()
    out = tmp_path / "runs.json"
    result = CliRunner().invoke(app, ["export", "--all", "--out", str(out)])
    assert result.exit_code == 0, result.output
    (run,) = json.loads(out.read_text())["runs"]
    assert "cpu" in run["record"]["environment"]
    assert "machine" not in run["record"]["environment"]
    site = tmp_path / "site"
    result = CliRunner().invoke(app, ["leaderboard", "--out", str(site)])
    assert result.exit_code == 0, result.output
    (page,) = (site / "runs").glob("*.html")
    text = page.read_text()
    assert "<dt><bdi>cpu</bdi></dt>" in text
    assert "<dt><bdi>machine</bdi></dt>" not in text
