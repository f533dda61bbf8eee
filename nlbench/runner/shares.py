"""What each of several worker processes gets of a machine: a GPU, threads, no fight over cores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

# Threads that wait for work sleep, where by default they spin and take the cores of other jobs.
_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


@dataclass(frozen=True)
class Share:
    """A worker's part of the machine.

    Attributes:
        gpu: As `CUDA_VISIBLE_DEVICES` names it; "" where the worker sees what its parent sees.
        n_threads: torch's threads for large data.
        variables: What its environment has besides.
    """

    gpu: str
    n_threads: int
    variables: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def in_environment(self) -> Iterator[None]:
        """Have a process that is started inside begin with this share: libraries read it once."""
        changed = {**self.variables, **({"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {})}
        before = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def gpus_of(device: torch.device) -> tuple[str, ...]:
    """Return the GPUs that workers share, as `CUDA_VISIBLE_DEVICES` names them.

    Nothing where there is only one, where the device is a CPU, or where one GPU was asked for.
    """
    if device.type != "cuda" or device.index is not None or torch.cuda.device_count() < 2:
        return ()
    n = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return tuple(named[:n]) if len(named) >= n else tuple(map(str, range(n)))


def share_of(
    device: torch.device, n_jobs: int, taken: Sequence[str], deterministic: bool = False
) -> Share:
    """Return what the next worker gets.

    On a CPU every run keeps the threads that it has by itself: with fewer its last bits would
    depend on the number of jobs. Beside a GPU, where no bit depends on it unless `deterministic`,
    the cores are divided.

    Args:
        device: Where the sweep runs.
        n_jobs: Workers at once.
        taken: The GPUs of the workers that are there.
        deterministic: Whether the same bits were asked for.
    """
    gpus = gpus_of(device)
    gpu = min(gpus, key=taken.count) if gpus else ""
    n_threads = torch.get_num_threads()
    variables = {} if n_jobs == 1 else {k: v for k, v in _PATIENT.items() if k not in os.environ}
    if n_jobs > 1 and device.type != "cpu" and not deterministic:
        n_threads = max(1, n_threads // n_jobs)
        variables["OMP_NUM_THREADS"] = str(n_threads)
    return Share(gpu, n_threads, variables)
