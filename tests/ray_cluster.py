"""A real Ray cluster of several nodes on this machine, with ports of its own, for tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

START_S = 120.0
# No telemetry; and no token, which Ray would write into the home of whoever runs the tests.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Node:
    """One `ray start --block`; its processes know it by a word in their environment."""

    def __init__(self, name: str, folder: Path, words: list[str]) -> None:
        self.name, self.folder = name, folder / name
        self.folder.mkdir()
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("NLBENCH_", "RAY_"))
        }
        environment |= {
            **QUIET,
            "TMPDIR": str(self.folder),
            "NLBENCH_CACHE": str(self.folder / "cache"),
            "TEST_NODE_OF_NLBENCH": str(self.folder),
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words]
        self.log = self.folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def pids(self) -> list[int]:
        mark = f"TEST_NODE_OF_NLBENCH={self.folder}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is another user's
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """End everything of the node at once, as a power cut does."""
        for _ in range(3):  # what was being started meanwhile
            for pid in self.pids():
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=30)


class Cluster:
    """A head and further nodes, each with one CPU."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._client_port = free_ports(2)
        ip = "127.0.0.1"
        self.address, self.client_address = f"{ip}:{self._port}", f"ray://{ip}:{self._client_port}"
        self.nodes = [
            self._started(
                "head", "--head", "--port", str(self._port), "--node-ip-address", ip,
                "--ray-client-server-port", str(self._client_port),
                "--include-dashboard", "false", "--temp-dir", str(folder / "ray"),
            )
        ]  # fmt: skip
        self._wait(lambda: b"Ray runtime started" in self.nodes[0].log.read_bytes())

    def add(self, name: str) -> Node:
        node = self._started(name, "--address", self.address, "--node-ip-address", "127.0.0.1")
        self.nodes.append(node)
        self._wait(lambda: b"Ray runtime started" in node.log.read_bytes())
        return node

    def _started(self, name: str, *words: str) -> Node:
        sizes = ["--num-cpus", "1", "--object-store-memory", str(100 * 2**20)]
        return Node(name, self._folder, [*words, *sizes])

    def _wait(self, what: object) -> None:
        deadline = time.monotonic() + START_S
        while not what():  # type: ignore[operator]
            assert time.monotonic() < deadline, self.nodes[-1].log.read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        for node in reversed(self.nodes):
            node.kill()


@contextmanager
def ray_cluster() -> Iterator[Cluster]:
    """Start a head and one more node; both are gone afterwards, whatever happened."""
    folder = Path(tempfile.mkdtemp(prefix="nlr"))  # short: sockets have at most 107 characters
    cluster = Cluster(folder)
    try:
        cluster.add("second")
        yield cluster
    finally:
        cluster.kill()
        shutil.rmtree(folder, ignore_errors=True)
