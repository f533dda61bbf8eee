"""Cells on a real Ray cluster of two nodes, which these tests start and stop."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from embedding_plugins import BATCH, N_TEST, N_TRAIN, EmbeddingPlugins, N
from loose_components import DATASET
from ray_cluster import QUIET, Cluster, ray_cluster

from nlbench.config.run_config import RunConfig
from nlbench.config.sweep_plan import SweepPlan
from nlbench.errors import ConfigError, RunError
from nlbench.plugins import registry
from nlbench.results.store import RunStore
from nlbench.runner.cell import Cell
from nlbench.runner.cell_work import CellWork
from nlbench.runner.executors import SweepOrder, open_executor
from nlbench.runner.sweep import run_sweep
from nlbench.runner.workplace import Workplace
from nlbench.tracking import MlflowTracker

pytestmark = pytest.mark.ray

CPU = torch.device("cpu")
WAIT_S = 180

# Says where it ran, and waits there as long as a file of its seed is there.
WHERE = '''"""Keeps everything; for tests."""
import os
import pathlib
import time
from dataclasses import dataclass

import torch

from nlbench import Selection, Selector

FOLDER = pathlib.Path({folder!r})


@dataclass(frozen=True)
class Where(Selector):
    """Says where it ran."""

    def select(self, data):
        node = os.environ.get("TEST_NODE_OF_NLBENCH", "")
        with (FOLDER / f"tries-{{data.seed}}").open("a") as file:
            file.write(f"{{os.getpid()}} {{node}}\\n")
        while (FOLDER / "hold").exists():
            time.sleep(0.02)
        {then}
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return Selection(
            keep=keep, score=data.uniform(), diagnostics={{"file": __file__, "node": node}}
        )
'''


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster() as started:
        yield started


@pytest.fixture
def where(tmp_path: Path) -> Callable[..., Path]:
    """Write the selector and register it; return its folder."""

    def write(then: str = "") -> Path:
        folder = tmp_path / "plugins"
        folder.mkdir(exist_ok=True)
        (folder / "where.py").write_text(WHERE.format(folder=str(folder), then=then))
        registry.add_plugin_file(folder / "where.py")
        return folder

    return write


def plan(*selectors: str, seeds: Sequence[int] = (0, 1), **more: Any) -> list[RunConfig]:
    return SweepPlan(
        selectors, noises=("symmetric:0.4",), seeds=tuple(seeds), epochs=1, **more
    ).configs()


def swept(
    configs: Sequence[RunConfig],
    address: str,
    *,
    track: bool = False,
    each: Callable[[Cell], None] = lambda cell: None,
    on_start: Any = lambda config: lambda stage, done, total: None,
    timeout_s: float | None = None,
    **options: Any,
) -> list[Cell]:
    store = RunStore()
    place = Workplace(store, CPU, MlflowTracker.open(None, store.home) if track else None)
    order = SweepOrder(
        place,
        "cpu",
        None,
        timeout_s,
        tuple(map(CellWork, configs)),
        {"address": address, **options},
    )
    cells = []
    for cell in run_sweep(configs, place, on_start, executor=open_executor("ray", order)):
        cells.append(cell)
        each(cell)
    return cells


def wait_for(what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def tries(folder: Path, seed: int) -> list[list[str]]:
    file = folder / f"tries-{seed}"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def lasting(record: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(record.to_json())
    for key in ("times", "started_at", "finished_at"):
        assert content.pop(key)
    for key in ("file", "node"):
        content["diagnostics"].pop(key, None)
    return content


def test_records_files_and_mlflow_are_those_of_this_machine(
    cluster: Cluster, where: Callable[..., Path], tmp_path: Path
) -> None:
    where()
    matrix = tmp_path / "matrix.csv"
    matrix.write_text(
        "\n".join(",".join("0.55" if i == j else "0.05" for j in range(10)) for i in range(10))
    )
    configs = [
        *plan("where", "small-loss", "clip-knn"),
        *SweepPlan(
            ("random",), noises=("matrix",), seeds=(0,), epochs=1,
            settings={"noise.matrix": str(matrix)},
        ).configs(),
    ]  # fmt: skip
    stages: dict[str, list[str]] = {}

    def on_start(config: RunConfig) -> Any:
        seen = stages.setdefault(config.fingerprint, [])
        return lambda stage, done, total: seen.append(stage)

    cells = swept(configs, cluster.address, track=True, on_start=on_start)
    assert Counter(cell.status for cell in cells) == {"finished": len(configs)}
    here = RunStore(tmp_path / "alone")
    alone = {c.config.fingerprint: c for c in run_sweep(configs, Workplace(here, CPU))}
    tracker = MlflowTracker.open(None, RunStore().home)
    for cell in cells:
        fingerprint = cell.config.fingerprint
        assert cell.record == RunStore().read(fingerprint)
        assert lasting(cell.record) == lasting(alone[fingerprint].record)
        for name in ("selection.parquet", "predictions.parquet"):
            mine, theirs = (s.folder(fingerprint) / name for s in (here, RunStore()))
            assert pq.read_table(mine).equals(pq.read_table(theirs))
        assert (RunStore().folder(fingerprint) / "gallery.json").is_file()
        assert not (RunStore().folder(fingerprint) / "running.json").exists()
        assert [run.status for run in tracker.runs_of(fingerprint)] == ["FINISHED"]
        assert {"queue", "train"} <= set(stages[fingerprint])
        assert cell.record is not None
        assert cell.record.environment["machine"] == platform.node()
    files = {
        c.record.diagnostics["file"] for c in cells if c.record and "file" in c.record.diagnostics
    }
    assert files
    assert all("working_dir_files" in file for file in files), files
    # Nothing of a run stays on a node but the cache.
    assert [list(node.folder.glob("nlbench-ray-*/cells/*")) for node in cluster.nodes] == [[], []]


def test_each_image_is_embedded_once_in_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    plugin = tmp_path / "embedding.py"
    plugin.write_text(EMBEDDING.format(folder=str(tmp_path)))
    registry.add_plugin_file(plugin)
    # One data set and encoder that no other test here embeds.
    cells = swept(plan("embedding", seeds=range(4)), cluster.address)
    assert Counter(cell.status for cell in cells) == {"finished": 4}, cells
    met = {path.name for path in tmp_path.glob("at-*")}
    assert met == {"at-head", "at-second"}, "the cells ran on one node only: this says nothing"
    n_train = len(registry.find("datasets", "digits").load()().load(None).train_labels)
    embedded = [int(line) for line in (tmp_path / "embedded").read_text().split()]
    assert sum(embedded) == n_train
    for node in cluster.nodes:
        assert list((node.folder / "cache").glob("embeddings/*/*.safetensors"))


# Two cells meet, so that both nodes want the embeddings at once.
EMBEDDING = '''"""Keeps all; notes how many images are embedded anywhere; for tests."""
import os
import pathlib
import time
from dataclasses import dataclass

import torch

from nlbench import Selection, Selector
from nlbench.encoders.base import Encoder

FOLDER = pathlib.Path({folder!r})
encode = Encoder.encode_images


def counted(encoder, batch, *rest):
    with (FOLDER / "embedded").open("a") as file:
        file.write(f"{{len(batch)}}\\n")
    return encode(encoder, batch, *rest)


@dataclass(frozen=True)
class Embedding(Selector):
    """Keeps all."""

    knowledge = ("image pre-training",)

    def select(self, data):
        node = pathlib.Path(os.environ["TEST_NODE_OF_NLBENCH"]).name
        (FOLDER / f"at-{{node}}").touch()
        deadline = time.monotonic() + 60
        while len(list(FOLDER.glob("at-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        Encoder.encode_images = counted
        data.embeddings("image")
        Encoder.encode_images = encode
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=data.uniform())
'''


def test_a_node_that_dies_in_mid_sweep_costs_only_time(where: Callable[..., Path]) -> None:
    folder = where()
    (folder / "hold").touch()
    with ray_cluster() as cluster:
        second = cluster.nodes[1]
        configs, dead = plan("where", seeds=range(6)), []

        def kill_the_second(config: RunConfig) -> Any:
            def progress(stage: str, done: int, total: int) -> None:
                at = {seed: node for seed in range(6) for _, node in tries(folder, seed)}
                if not dead and str(second.folder) in at.values() and len(at) > 1:
                    dead.append([seed for seed, node in at.items() if node == str(second.folder)])
                    second.kill()
                    (folder / "hold").unlink()

            return progress

        # The clock of a selector that waits is news, too: `progress` comes with each cell.
        cells = swept(configs, cluster.address, on_start=kill_the_second)
        (lost,) = dead
        assert lost, "nothing ran on the node that was killed"
        assert Counter(cell.status for cell in cells) == {"finished": 6}, cells
        assert sorted(cell.config.seed for cell in cells) == list(range(6))
        records, problems = RunStore().records()
        assert (len(records), problems) == (6, [])
        assert {record.attempt for record in records} == {1}
        for seed in lost:
            assert [node for _, node in tries(folder, seed)][-1] == str(cluster.nodes[0].folder)
            assert len(tries(folder, seed)) >= 2


def test_of_1000_cells_none_is_lost_and_none_doubled(cluster: Cluster, tmp_path: Path) -> None:
    stripes = tmp_path / "stripes.py"
    stripes.write_text(DATASET.replace("n: int = 120", "n: int = 30"))
    registry.add_plugin_file(stripes)
    configs = plan("none", seeds=range(1000), datasets=("stripes",))
    cells = swept(configs, cluster.address)
    assert Counter(cell.status for cell in cells) == {"finished": 1000}
    assert sorted(cell.config.seed for cell in cells) == list(range(1000))
    records, problems = RunStore().records()
    assert problems == []
    assert sorted(record.seed for record in records) == list(range(1000))
    assert {record.attempt for record in records} == {1}
    again = swept(configs, cluster.address)
    assert Counter(cell.status for cell in again) == {"already finished": 1000}


# The command. Asks for the handler that a terminal's command has: in the background it is off.
COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from nlbench.cli import main
main()
"""


@pytest.mark.parametrize(
    ("number", "code", "words_at_end"),
    [
        (signal.SIGINT, 130, "Stopped: 0 of 2 runs ended, those under way were cancelled."),
        (signal.SIGTERM, 75, "its task was cancelled (SIGTERM); the next one begins anew."),
        (None, 75, "its task was cancelled (--max-time); the next one begins anew."),
    ],
    ids=["Ctrl-C", "SIGTERM", "--max-time"],
)
def test_a_signal_or_a_time_limit_cancels_and_the_same_command_goes_on(
    number: int | None, code: int, words_at_end: str, cluster: Cluster, where: Callable[..., Path]
) -> None:
    folder = where()
    (folder / "hold").touch()
    words = [
        sys.executable, "-c", COMMAND, "sweep", "--executor", "ray", "--ray-address",
        cluster.address, "--plugin", str(folder / "where.py"), "--selector", "where",
        "--noise", "symmetric:0.4", "--seeds", "0-1", "--epochs", "1",
    ]  # fmt: skip
    limit = [] if number else ["--max-time", "60s"]  # longer than both take to begin
    process = subprocess.Popen(
        [*words, *limit], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: (tries(folder, 0) and tries(folder, 1)) or process.poll() is not None)
    pids = [int(pid) for seed in (0, 1) for pid, _ in tries(folder, seed)]
    if number:
        os.kill(process.pid, number)
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode in (code, 1 if code == 130 else code), output
    assert words_at_end in " ".join(output.split())
    assert "The same command goes on" in output
    assert "Traceback" not in output
    assert len(pids) == 2
    wait_for(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids))

    (folder / "hold").unlink()
    again = subprocess.run(words, capture_output=True, text=True, timeout=WAIT_S)
    assert again.returncode == 0, again.stderr
    assert "2 finished" in again.stderr
    records, _ = RunStore().records()
    assert sorted((r.seed, r.status, r.attempt) for r in records) == [
        (0, "finished", 2), (1, "finished", 2)
    ]  # fmt: skip


HOLD = """pass
        own = [line for line in (FOLDER / "embedded").read_text().splitlines()
               if line.startswith(f"{os.getpid()} ")]
        while len(own) > 2 and (FOLDER / "hold").exists():
            time.sleep(0.02)"""


def test_parts_of_an_embedding_come_home_also_those_of_a_machine_that_dies(
    tmp_path: Path,
) -> None:
    plugins = EmbeddingPlugins(tmp_path / "plugins", HOLD)
    (plugins.folder / "hold").touch()
    with ray_cluster() as cluster:
        second = cluster.nodes[1]
        words = [
            sys.executable, "-m", "nlbench", *plugins.words, "--part-size", "2048", "--executor",
            "ray", "--ray-address", cluster.address, "--json",
        ]  # fmt: skip
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        def held() -> list[tuple[int, str]]:
            counts = Counter((pid, node) for pid, node, _ in plugins.batches())
            return [which for which, n in counts.items() if n > 2]

        wait_for(lambda: held() or process.poll() is not None)
        ((pid, node),) = held()
        if node == str(second.folder):
            second.kill()
        else:
            os.kill(pid, signal.SIGKILL)
        (plugins.folder / "hold").unlink()
        output, said = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, said
    (row,) = json.loads(output)["encoders"]
    assert row["images"] == {"train": N_TRAIN, "test": N_TEST}
    assert "Traceback" not in said and "warns:" not in said
    # At most a shard was begun twice: those that were done had come home.
    assert N + BATCH <= plugins.n_embedded() <= N + 2 * BATCH
    n_before = plugins.n_embedded()
    again = subprocess.run(
        [sys.executable, "-m", "nlbench", *plugins.words], capture_output=True, text=True
    )
    assert "nothing to embed" in again.stderr, again.stderr
    assert plugins.n_embedded() == n_before


def test_what_a_cell_raises_is_its_failure_and_is_not_repeated(
    cluster: Cluster, where: Callable[..., Path]
) -> None:
    folder = where("raise ValueError('no idea')")
    (cell,) = swept(plan("where", seeds=(0,)), cluster.address)
    assert cell.status == "failed"
    assert "where failed: ValueError: no idea (at where.py:" in cell.message
    record = RunStore().read(cell.config.fingerprint)
    assert record is not None
    assert record.status == "failed"
    assert len(tries(folder, 0)) == 1


def test_a_process_that_dies_is_repeated_then_its_cell_has_failed(
    cluster: Cluster, where: Callable[..., Path]
) -> None:
    folder = where("os._exit(1) if data.seed == 0 else None")
    cells = {c.config.seed: c for c in swept(plan("where"), cluster.address)}
    assert (cells[0].status, cells[1].status) == ("failed", "finished")
    assert "its process or machine was lost 4 times" in cells[0].message
    assert len(tries(folder, 0)) == 4


def test_a_selector_that_takes_too_long_is_ended(
    cluster: Cluster, where: Callable[..., Path]
) -> None:
    folder = where("time.sleep(1000) if data.seed == 0 else None")
    cells = {c.config.seed: c for c in swept(plan("where"), cluster.address, timeout_s=5.0)}
    assert (cells[0].status, cells[1].status) == ("failed", "finished")
    assert "the selector took more than 5 s (--selector-timeout)" in cells[0].message
    (pid, _), *others = tries(folder, 0)
    assert not others
    wait_for(lambda: not Path(f"/proc/{pid}/cmdline").exists())


def test_a_cell_that_another_sweep_has_is_waited_for(
    cluster: Cluster, where: Callable[..., Path]
) -> None:
    where()
    (config,) = configs = plan("where", seeds=(0,))
    store = RunStore()
    with store.claim(config.fingerprint):
        place = Workplace(store, CPU)
        order = SweepOrder(
            place, "cpu", None, None, [CellWork(config)], {"address": cluster.address}
        )
        with open_executor("ray", order) as executor:
            executor.begin(CellWork(config), lambda stage, done, total: None)
            assert executor.next_ended().status == "busy"
    (cell,) = swept(configs, cluster.address)
    assert cell.status == "finished"


def test_a_client_runs_cells_too(cluster: Cluster, where: Callable[..., Path]) -> None:
    where()
    cells = swept(plan("where", "clip-knn", seeds=(7,)), cluster.client_address)
    assert Counter(cell.status for cell in cells) == {"finished": 2}, cells


def test_a_cluster_that_ends_with_the_sweep(where: Callable[..., Path]) -> None:
    where()
    cells = swept(plan("where", seeds=(0,)), "local")
    assert Counter(cell.status for cell in cells) == {"finished": 1}, cells


def test_a_cluster_that_does_not_answer_or_has_no_room_is_told(cluster: Cluster) -> None:
    with pytest.raises(RunError, match=r"no Ray cluster answers at --ray-address 127\.0\.0\.1:1: "):
        swept(plan("none"), "127.0.0.1:1")
    with pytest.raises(RunError, match="no machine of the Ray cluster has 1 CPU and 2 GPU for"):
        swept(plan("none"), cluster.address, gpus=2)
    with pytest.raises(RunError, match="no machine of the Ray cluster has 64 CPU for"):
        swept(plan("none"), cluster.address, cpus=64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": ""}, "--ray-address must be"),
        ({"cpus": 0}, "--ray-cpus must be a whole number >= 1, got 0"),
        ({"gpus": 1.5}, "--ray-gpus must be in .0, 1. or a whole number, got 1.5"),
        ({"adress": "auto"}, "the ray executor has no option 'adress'. Did you mean 'address'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_executor("ray", SweepOrder(Workplace(RunStore(), CPU), options=options))
