"""A lab on S3: two machines with a cache folder each, one bucket on a local server."""

from __future__ import annotations

import json
import os
import select
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

pytestmark = pytest.mark.s3

SWEEP = dedent("""
    import sys, time
    from pathlib import Path
    import torch
    from nlbench.config.sweep_plan import SweepPlan
    from nlbench.results.store import RunStore
    from nlbench.runner import run
    from nlbench.runner.sweep import run_sweep
    from nlbench.runner.workplace import Workplace
    torch.set_num_threads(1)
    really_run = run._run
    def counted(*arguments):
        print("ran", flush=True)
        return really_run(*arguments)
    run._run = counted
    plan = SweepPlan(selectors=("none", "random"), noises=("pair:0.3",), seeds=(0, 1), epochs=1)
    place = Workplace(RunStore(), torch.device("cpu"))
    here = Path(sys.argv[1])
    (here / f"ready-{sys.argv[2]}").touch()
    while len(list(here.glob("ready-*"))) < int(sys.argv[3]):
        time.sleep(0.001)
    for cell in run_sweep(plan.configs(None), place):
        print(cell.status, cell.message, flush=True)
""")
BOARD = ("--selector", "none", "--noise", "pair:0.3", "--epochs", "1")


class Lab:
    """A server with a bucket, and machines that are told from each other by their cache folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.server = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()
        make = urllib.request.Request(f"{self.address}/lab", method="PUT")  # noqa: S310
        urllib.request.urlopen(make, timeout=10).close()  # noqa: S310

    def _wait(self) -> None:
        for _ in range(300):
            try:
                urllib.request.urlopen(self.address, timeout=10).close()  # noqa: S310
                return
            except OSError:
                time.sleep(0.1)
        pytest.fail("the S3 server did not start")

    def environment(self, machine: str, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "NLBENCH_CACHE"}
        return {
            **kept, "AWS_ENDPOINT_URL": self.address, "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIAKEYOFOURS", "AWS_SECRET_ACCESS_KEY": "verysecretkey",
            "NLBENCH_HOME": "s3://lab/runs", "XDG_CACHE_HOME": str(self.root / machine),
            "OMP_NUM_THREADS": "1", **more,
        }  # fmt: skip

    @contextmanager
    def gate(self) -> Iterator[str]:
        """Yield another address of the server, which answers nothing any more afterwards."""
        is_open = threading.Event()
        is_open.set()
        port = self.port

        class Forward(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", port)) as server:
                    while is_open.is_set():
                        for one in select.select([self.request, server], [], [], 0.1)[0]:
                            content = one.recv(65536)
                            if not content:
                                return
                            (server if one is self.request else self.request).sendall(content)

        socketserver.ThreadingTCPServer.daemon_threads = True
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward) as gate:
            threading.Thread(target=gate.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{gate.server_address[1]}"
            is_open.clear()
            gate.shutdown()

    def start(
        self, machine: str, script: str, *arguments: object, **more: str
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, *map(str, arguments)]
        return subprocess.Popen(
            command, env=self.environment(machine, **more), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=self.root,
        )  # fmt: skip

    def nlbench(
        self, machine: str, *words: str, code: int = 0, **more: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "nlbench", *words], env=self.environment(machine, **more),
            capture_output=True, text=True, cwd=self.root, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "verysecretkey" not in done.stdout + done.stderr
        return done


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.server.kill()
    lab.server.wait()


def test_a_sweep_on_two_machines_shares_the_work_and_both_have_the_board(lab: Lab) -> None:
    sweeps = [lab.start(name, SWEEP, lab.root, name, 2) for name in ("one", "two")]
    answers = [sweep.communicate(timeout=300) for sweep in sweeps]
    lines = [out.splitlines() for out, _ in answers]
    for cells, (_, errors) in zip(lines, answers, strict=True):
        assert sum("finished" in line for line in cells) == 4, errors
    assert [*lines[0], *lines[1]].count("ran") == 4
    for machine in ("one", "two", "a third, new one"):
        board = json.loads(lab.nlbench(machine, "leaderboard", "--json").stdout)
        rows = board["boards"][0]["rows"]
        assert sorted(row["method"] for row in rows) == ["none", "random"]
        assert [len(row["runs"]) for row in rows] == [2, 2]
    for path in lab.root.rglob("*"):
        if path.is_file():
            assert b"verysecretkey" not in path.read_bytes(), path


def test_files_of_runs_travel_by_url(lab: Lab) -> None:
    url = "s3://lab/records/mine.json"
    lab.nlbench("one", "run", *BOARD)
    assert url in lab.nlbench("one", "export", "--all", "--out", url).stdout
    assert "1 run" in lab.nlbench("two", "verify", url).stdout
    here = {"NLBENCH_HOME": str(lab.root / "another home")}
    assert "1 run new here" in lab.nlbench("two", "import", url, **here).stdout
    same = lab.nlbench("two", "import", "s3://lab/runs", **here)
    assert "already here" in same.stdout
    (run,) = (lab.root / "another home" / "runs").iterdir()
    assert "Equal" in lab.nlbench("two", "compare", run.name[:12], url, **here).stdout
    for records in (url, "s3://lab/records"):
        words = ("leaderboard", "--records", records, "--only-records", "--json")
        board = json.loads(lab.nlbench("two", *words, **here).stdout)
        assert board["boards"][0]["rows"][0]["method"] == "none"
    missing = lab.nlbench("two", "verify", "s3://lab/records/other.json", code=2)
    assert "other.json" in missing.stderr


@pytest.mark.parametrize(
    ("url", "more", "message"),
    [
        ("s3://missing/runs", {}, "bucket does not exist"),
        ("s3://lab/runs", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect"),
        ("s3://me:verysecretkey@lab/runs", {}, "without a password"),
    ],
)
def test_a_store_that_cannot_be_used_is_named_before_anything_runs(
    lab: Lab, url: str, more: dict[str, str], message: str
) -> None:
    words = ("run", *BOARD)
    code = 2 if "password" in message else 1
    done = lab.nlbench("one", *words, code=code, NLBENCH_HOME=url, **more)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((lab.root / "one").rglob("record.json"))


def test_a_store_that_goes_away_in_mid_sweep_costs_nothing(lab: Lab) -> None:
    with lab.gate() as address:
        sweep = lab.start("one", SWEEP, lab.root, "one", 1, AWS_ENDPOINT_URL=address)
        assert sweep.stdout is not None
        while "finished" not in sweep.stdout.readline():
            assert sweep.poll() is None
    out, errors = sweep.communicate(timeout=300)  # nothing answers from here on
    assert out.count("finished") == 3, errors
    assert errors.count("Runs go on without it") == 1, errors
    again = lab.nlbench("one", "leaderboard", "--json")
    assert "that 's3://lab/runs' lacked: uploaded now" in again.stderr
    for machine in ("one", "two"):
        board = json.loads(lab.nlbench(machine, "leaderboard", "--json").stdout)
        assert [len(row["runs"]) for row in board["boards"][0]["rows"]] == [2, 2]


def test_embeddings_are_computed_by_one_machine(lab: Lab) -> None:
    words = ("run", "--selector", "clip-knn", "--noise", "pair:0.3", "--epochs", "1")
    lab.nlbench("one", *words)
    lab.nlbench("two", *words, "--seed", "1")
    names = {
        machine: {path.name for path in (lab.root / machine).rglob("*.safetensors")}
        for machine in ("one", "two")
    }
    assert names["one"]
    assert names["one"] == names["two"]  # each shard has a name of its own: nobody made others


def test_a_data_set_is_embedded_once_for_all_machines(lab: Lab) -> None:
    words = ("embed", "--encoder", "bundled-glyphs", "--part-size", "1", "--json")
    made = [
        json.loads(lab.nlbench(machine, *words, "--jobs", "2").stdout) for machine in ("one", "two")
    ]
    assert [content["embedded"] for content in made] == [1797, 0]
    assert [content["encoders"][0]["different"] for content in made] == [1797, 1797]
