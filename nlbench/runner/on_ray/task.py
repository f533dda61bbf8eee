"""Work on a node: what Ray runs there, in a process that has done only work of its kind.

Imported on the node before anything heavy.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlbench.runner.library_warnings import log_library_warnings
from nlbench.runner.on_ray.telling import Teller

if TYPE_CHECKING:
    from nlbench.config.run_config import DataConfig
    from nlbench.results.record import RunRecord
    from nlbench.runner.delivery import Delivery
    from nlbench.runner.work import Work
    from nlbench.runner.workplace import Workplace


_OLD_S = 86400.0


@dataclass(frozen=True)
class NodeOrder:
    """What all work of a command has in common on a node.

    Attributes:
        device: As typed; resolved on the node.
        data_dir: Absolute; the node must have it, too.
        working_dir: The driver's, which names of data are relative to.
        deterministic: As in `Workplace`.
        n_threads: torch's threads for large data.
        plugins: The loose files, below the folder that came along.
        log_level: Of the logger "nlbench".
        logs_warnings: Whether warnings of libraries go to the log.
    """

    device: str
    data_dir: Path | None
    working_dir: str
    deterministic: bool
    n_threads: int
    plugins: tuple[str, ...]
    log_level: int
    logs_warnings: bool


@dataclass
class _Process:
    """What this process keeps from one piece of work to the next."""

    came_along: Path | None = None
    data: dict[str, Any] = field(default_factory=dict)


_process = _Process()


def run_on_node(order: NodeOrder, packed: bytes, data: Mapping[str, Any], post: Any) -> Delivery:
    """Do one piece of work and return what goes home; its home on the node is deleted afterwards.

    Args:
        order: What all work has in common.
        packed: The work, pickled: a client's proxy unpacks arguments, and must not import what is
            heavy. Its files are named below the folder that came along.
        data: A reference to its data set, by key; empty where the node reads it.
        post: The actor that takes news.
    """
    from nlbench.runner.on_ray.shipping import opened

    work: Work = opened(pickle.loads(packed), _get_ready(order))  # noqa: S301 - the driver's own
    with Teller(post, work.key, order.log_level) as teller, _home() as home:
        place = _workplace(order, home, data, post, teller)
        return work.packed(work.run(place, teller.progress), place.store)


def read_data(order: NodeOrder, dataset: DataConfig, key: str, post: Any) -> Any:
    """Return a data set, which Ray keeps for all nodes; what it warns of goes to the driver.

    Args:
        order: What all work has in common.
        dataset: The data set.
        key: Of the work that needs it first.
        post: The actor that takes news.
    """
    from nlbench.runner.inputs import data_of

    _get_ready(order)
    with Teller(post, key, order.log_level):
        return data_of(dataset, order.data_dir)


def _get_ready(order: NodeOrder) -> Path:
    """Set this process up, once: threads as the driver has them, plugins, the log.

    Returns:
        The folder that came along, which Ray starts a process in.
    """
    if _process.came_along is not None:
        return _process.came_along
    came_along = Path.cwd()
    with suppress(OSError):  # it is on another disk: only relative names of data need it
        os.chdir(order.working_dir)
    if order.logs_warnings:
        log_library_warnings()
    logger = logging.getLogger("nlbench")
    logger.setLevel(order.log_level)
    logger.propagate = False

    import torch
    from threadpoolctl import threadpool_limits

    from nlbench.plugins import registry

    # Ray gives a process one thread; a run's last bits depend on their number.
    torch.set_num_threads(order.n_threads)
    threadpool_limits(order.n_threads)
    for name in order.plugins:
        registry.add_plugin_file(came_along / name)
    _process.came_along = came_along
    return came_along


@contextmanager
def _home() -> Iterator[Path]:
    """Give a cell a home of its own, in a folder that goes with it."""
    above = node_folder() / "cells"
    above.mkdir(parents=True, exist_ok=True)
    _sweep_up(above)
    home = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=above))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def node_folder() -> Path:
    """Return where nlbench writes on a node; it stays, for the cache in it."""
    return Path(tempfile.gettempdir()) / f"nlbench-ray-{os.getuid()}"


def _sweep_up(above: Path) -> None:
    """Delete what processes that were killed left a day ago or longer."""
    for home in above.iterdir():
        pid = home.name.partition("-")[0]
        with suppress(OSError):  # another process deletes it
            is_old = time.time() - home.stat().st_mtime > _OLD_S
            if is_old and pid.isdecimal() and not _lives(int(pid)):
                shutil.rmtree(home, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _workplace(
    order: NodeOrder, home: Path, data: Mapping[str, Any], post: Any, teller: Teller
) -> Workplace:
    from nlbench.machine import resolve_device
    from nlbench.results.store import RunStore
    from nlbench.runner.on_ray.node_share import NodeShare
    from nlbench.runner.selector_calls import use_clock
    from nlbench.runner.workplace import Workplace

    class Store(RunStore):
        def write_started(self, record: RunRecord) -> None:
            super().write_started(record)
            teller.tell("started", record.to_json())

    use_clock(teller.clock)
    os.environ.setdefault("NLBENCH_CACHE", str(node_folder() / "cache"))
    return Workplace(
        Store(home),
        resolve_device(order.device),
        data_dir=order.data_dir,
        deterministic=order.deterministic,
        shared=NodeShare(data, _process.data, post),
    )
