"""A connection to a Ray cluster: what is sent there, what a cell takes of it, how it fails."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
import torch

from nlbench.errors import RunError, text_of
from nlbench.files import cache_dir
from nlbench.plugins.registry import plugin_name
from nlbench.runner.delivery import Delivery
from nlbench.runner.executors import SweepOrder
from nlbench.runner.library_warnings import logs_warnings
from nlbench.runner.on_ray.node_share import data_key
from nlbench.runner.on_ray.options import RayOptions
from nlbench.runner.on_ray.post import News, Post
from nlbench.runner.on_ray.shipping import Parcel
from nlbench.runner.on_ray.task import NodeOrder, read_data, run_on_node
from nlbench.runner.pausing import SIGNALS
from nlbench.runner.signals import handlers_kept
from nlbench.runner.work import Work

log = logging.getLogger("nlbench")

_RETRIES = 3  # of a cell whose process or machine dies
_LOOK_AGAIN_S = 2.0  # at how large the cluster is
_WHAT_DECIDES = "--ray-cpus, --ray-gpus and --device decide what a run needs."
_KNOCK_S = 10.0
_HEAD = {"node:__internal_head__": 0.001}
_MISSES_NLBENCH = ("No module named 'nlbench", "failed to import")


class Cluster:
    """One sweep's connection; `open` and `close` come once each, in this order."""

    def __init__(self, order: SweepOrder, options: RayOptions) -> None:
        self._order, self._options = order, options
        self._folder = Path(tempfile.mkdtemp(prefix="nlbench-parcel-"))
        self._slots, self._looked_at = 1, -_LOOK_AGAIN_S
        self._data: dict[str, Any] = {}

    def open(self) -> None:
        """Connect, and send plugins and files.

        Raises:
            RunError: if no cluster answers, or it has no room for a single cell.
        """
        try:
            self._parcel = Parcel(self._folder, self._order.works)
            self._connect()
            self._post = _remote(Post).options(num_cpus=0, resources=_HEAD).remote()
            self._node_order = ray.put(self._for_nodes())
            self._gpus = self._gpus_of_a_cell()
            if not self._places():
                raise RunError(f"{self._no_room()} Look at `ray status`; {_WHAT_DECIDES}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect; what still runs there ends with the connection."""
        with suppress(Exception):
            ray.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self) -> None:
        address = self._options.address
        if address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        try:
            _knock(os.environ.get("RAY_ADDRESS", "") if address == "auto" else address)
            # Ray takes SIGTERM for itself, and aborts on it.
            with handlers_kept((*SIGNALS, signal.SIGINT)):
                ray.init(
                    address=address, namespace="nlbench", log_to_driver=False,
                    logging_level=logging.ERROR, runtime_env=self._environment(), **local,
                )  # fmt: skip
        except Exception as error:  # ConnectionError, RuntimeError, ValueError, gRPC's own
            raise RunError(
                f"no Ray cluster answers at --ray-address {address}: {_first_line(error)} Start "
                "one with `ray start --head`, check the address, or use --ray-address local."
            ) from error

    def _environment(self) -> dict[str, Any]:
        """Return Ray's runtime environment: files, and the settings that numbers may depend on."""
        own = ("NLBENCH_HOME", "NLBENCH_CACHE")  # a node's, not ours
        names = [n for n in os.environ if n.startswith("NLBENCH_") and n not in own]
        variables = {name: os.environ[name] for name in names}
        if not self._options.is_outside:
            variables["NLBENCH_CACHE"] = str(cache_dir(self._order.place.store.home))
        environment: dict[str, Any] = {"working_dir": str(self._folder), "env_vars": variables}
        if self._parcel.packages:
            environment["py_modules"] = [str(path) for path in self._parcel.packages]
        return environment

    def _for_nodes(self) -> NodeOrder:
        place = self._order.place
        return NodeOrder(
            device=self._order.device,
            data_dir=None if place.data_dir is None else place.data_dir.absolute(),
            working_dir=str(Path.cwd()),
            deterministic=place.deterministic,
            n_threads=self._options.cpus or torch.get_num_threads(),
            plugins=self._parcel.plugins,
            log_level=log.getEffectiveLevel(),
            logs_warnings=logs_warnings(),
        )

    def _gpus_of_a_cell(self) -> float:
        if self._options.gpus is not None:
            return self._options.gpus
        device, has_gpus = self._order.device, ray.cluster_resources().get("GPU", 0) > 0
        return 1.0 if device == "cuda" or (device == "auto" and has_gpus) else 0.0

    def slots(self) -> int:
        """Return how many cells the cluster has room for, at least 1: machines come and go."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_AGAIN_S:
            self._looked_at, before = now, self._slots
            self._slots = self._places()
            if before and not self._slots:
                log.warning("%s The sweep waits for one.", self._no_room())
        return max(1, self._slots)

    def _places(self) -> int:
        share = self._share()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return sum(int(min(node.get(kind, 0.0) / n for kind, n in share.items())) for node in nodes)

    def _no_room(self) -> str:
        needs = " and ".join(f"{n:g} {kind}" for kind, n in self._share().items())
        return f"no machine of the Ray cluster has {needs} for a run."

    def _share(self) -> dict[str, float]:
        share = {"CPU": float(self._options.cpus or 1), "GPU": self._gpus}
        return {kind: n for kind, n in share.items() if n}

    def submit(self, work: Work) -> Any:
        """Submit work and return the reference to its `Delivery`."""
        task = self._task(sorted(work.outsiders()))
        addressed = self._parcel.addressed(work)
        packed = pickle.dumps(addressed)
        return task.remote(self._node_order, packed, self._data_of(work), self._post)

    def _data_of(self, work: Work) -> dict[str, Any]:
        """Return the reference to a data set, which one task reads for the whole cluster."""
        if plugin_name("datasets", work.dataset.name):
            return {}  # read in the process of its own runs, which alone know its classes
        key = data_key(work.dataset)
        if key not in self._data:
            # No GPU: a run that waits for its data keeps the one that it has.
            read = _remote(read_data).options(num_cpus=1, max_retries=_RETRIES)
            self._data[key] = read.remote(self._node_order, work.dataset, work.key, self._post)
        return {key: self._data[key]}

    def _task(self, plugins: list[str]) -> Any:
        # Another environment is another process: what a plugin breaks, no other cell feels.
        apart = {"runtime_env": {"env_vars": {"NLBENCH_CELL_OF": " ".join(plugins)}}}
        return _remote(run_on_node).options(
            num_cpus=self._options.cpus or 1, num_gpus=self._gpus, max_retries=_RETRIES,
            retry_exceptions=False, **(apart if plugins else {}),
        )  # fmt: skip

    def ended(self, references: list[Any], patience_s: float) -> list[Any]:
        """Wait for one of several cells; none where none ends in time.

        Raises:
            RunError: if the cluster is lost.
        """
        with self._connected():
            done: list[Any] = ray.wait(references, num_returns=1, timeout=patience_s)[0]
        return done

    def delivery(self, reference: Any) -> Delivery:
        """Return what came home of a cell that has ended.

        Raises:
            RayError: if its process or machine is lost, or it raised what is no error of ours.
            RunError: if the cluster is lost.
        """
        with self._connected():
            delivery: Delivery = ray.get(reference)
        return delivery

    def news(self) -> list[News]:
        """Return what cells have said since the last call.

        Raises:
            RunError: if the cluster is lost.
        """
        try:
            with self._connected():
                news: list[News] = ray.get(self._post.take.remote())
        except ray.exceptions.RayError as error:
            raise self._lost(error) from error
        return news

    @contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:  # a client's; others never return
            raise self._lost(error) from error

    def cancel(self, reference: Any) -> None:
        """End a cell, whose process is killed."""
        with suppress(Exception):  # it has ended, or the cluster is lost
            ray.cancel(reference, force=True)

    def refuse_to_go_on(self, error: Exception) -> None:
        """Raise where no other cell would fare better.

        Raises:
            RunError: if the machines lack nlbench.
        """
        text = str(error)
        if any(words in text for words in _MISSES_NLBENCH):
            raise RunError(
                "the machines of the Ray cluster cannot import nlbench: "
                f"{_last_line(error)} Install this version on each: pip install 'nlbench[ray]'."
            ) from error

    def words(self, error: Exception) -> str:
        """Return why a cell has not come home."""
        if isinstance(error, ray.exceptions.RayTaskError):  # what run_cell does not catch
            return f"{type(error.cause).__name__}: {text_of(error.cause)}"
        return (
            f"its process or machine was lost {_RETRIES + 1} times: {_first_line(error)} If memory "
            "ran out, lower --jobs or raise --ray-cpus, so that fewer runs share a machine."
        )

    def _lost(self, error: Exception) -> RunError:
        return RunError(
            f"the Ray cluster is lost: {_first_line(error)} What came home is kept; start the "
            "cluster again and repeat the same command."
        )


def _knock(address: str) -> None:
    """Refuse a HOST:PORT where nobody listens: Ray would try for minutes.

    Raises:
        OSError: if nobody listens.
    """
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()


def _remote(thing: Any) -> Any:
    return ray.remote(thing)


def _first_line(error: BaseException) -> str:
    return (text_of(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".") + "."


def _last_line(error: BaseException) -> str:
    return (text_of(error).strip().splitlines() or [type(error).__name__])[-1].rstrip(".") + "."
