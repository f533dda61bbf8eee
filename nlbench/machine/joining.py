"""How a process becomes one of several of a run: by its environment, through Lightning Fabric."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from functools import cache
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from nlbench.errors import ConfigError
from nlbench.machine.here import require_device_name, resolve_device
from nlbench.machine.ranks import Ranks

# Longer than any process waits for another in a run that is well: the selection of one may take
# minutes more than that of another. One that ended is noticed at once, without it.
_PATIENCE = timedelta(minutes=30)


def world_size() -> int:
    """Return how many processes this one was started with, by torchrun or `--devices`; else 1."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank_here() -> int:
    """Return the number of this process among them, from 0."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def require_devices(n_devices: int | None, device: str) -> None:
    """Refuse a number of devices that is not here, or that the environment contradicts.

    Raises:
        ConfigError: with what to do instead.
    """
    here = world_size()
    if n_devices is not None and n_devices < 1:
        raise ConfigError(f"--devices must be a whole number >= 1, got {n_devices}.")
    if here > 1 and n_devices not in (None, here):
        raise ConfigError(
            f"--devices must be the number of processes that torchrun started, {here}, got "
            f"{n_devices}. Leave it out, or start with --nproc-per-node {n_devices}."
        )
    n = n_devices or here
    if n == 1:
        return
    if find_spec("lightning_fabric") is None:
        raise ConfigError(
            "--devices needs the package 'lightning-fabric', which is not installed: "
            "pip install 'nlbench[devices]'"
        )
    _require_so_many(n if here == 1 else _local_size(), device)


def _require_so_many(n: int, device: str) -> None:
    """Refuse what one machine does not have so many of."""
    require_device_name(device)
    kind, colon, _ = device.partition(":")
    if colon:
        raise ConfigError(
            f"--device must not name one GPU where --devices is {n}, got {device!r}. Leave out its "
            "number; CUDA_VISIBLE_DEVICES chooses among them."
        )
    kind = resolve_device(device).type
    if kind == "mps":
        raise ConfigError(f"--devices must be 1 on mps, got {n}. Add --device cpu.")
    if kind == "cuda" and n > torch.cuda.device_count():
        raise ConfigError(
            f"--devices must be at most the number of GPUs, {torch.cuda.device_count()}, got {n}. "
            "Use fewer, or add --device cpu for processes without a GPU."
        )


def joined(device: str) -> Ranks | None:
    """Return this process among those it was started with; None where there is only one.

    Raises:
        ConfigError: as `require_devices`.
    """
    return _joined(resolve_device(device).type) if world_size() > 1 else None


@cache
def _joined(kind: str) -> Ranks:
    """Meet the others, once for each process."""
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    # It says on every start that there are several processes, in each of them.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # Batch statistics are those of the whole batch everywhere: there is nothing to send.
    has_new_name = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    unsent: dict[str, Any] = {
        "forward_sync_buffers" if has_new_name else "broadcast_buffers": False
    }
    strategy = DDPStrategy(
        process_group_backend="nccl" if kind == "cuda" else "gloo",
        timeout=_PATIENCE,
        # A step may leave out layers, or a whole network of two.
        find_unused_parameters=True,
        **unsent,
    )
    n_machines = world_size() // _local_size()
    fabric = Fabric(
        accelerator=kind, devices=_local_size(), num_nodes=n_machines, strategy=strategy
    )
    fabric.launch()
    return Ranks(fabric)


def _local_size() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE") or world_size())
