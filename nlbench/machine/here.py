"""The machine: its name, devices, threads, memory, versions; without users or paths."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from nlbench.errors import ConfigError


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device: ``auto`` is cuda, else mps, else cpu.

    Raises:
        ConfigError: if the name is unknown, or the device asked for is not there.
    """
    require_device_name(name)
    kind, _, index = name.partition(":")
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if kind == "auto":
        return torch.device("cuda" if has_cuda else "mps" if has_mps else "cpu")
    if kind == "cuda" and not has_cuda:
        raise ConfigError(
            "--device cuda: torch sees no CUDA device here. Use --device auto, or check "
            "`nlbench doctor` and the driver."
        )
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}: there are {torch.cuda.device_count()} CUDA devices, from cuda:0."
        )
    if kind == "mps" and not has_mps:
        raise ConfigError("--device mps: torch sees no Metal device here. Use --device auto.")
    return torch.device(name)


def require_device_name(name: str) -> None:
    """Refuse what is not a device's name, whatever devices this machine has.

    Raises:
        ConfigError: with the names there are.
    """
    kind, colon, index = name.partition(":")
    is_name = kind in ("auto", "cpu", "cuda", "mps")
    if not is_name or (colon and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError(f"--device must be auto, cpu, cuda, cuda:N or mps, got {name!r}.")


def device_name(device: torch.device) -> str:
    """Return the device in words, for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


_SMALL = 2**23  # pixels; digits has 92 thousand, CIFAR-10 has 51 million


def has_bfloat16_tiles() -> bool:
    """Return whether the CPU multiplies bfloat16 matrices by tiles (Intel AMX), many times as fast.

    Versions of torch before `torch.cpu.get_capabilities` do not tell, which counts as no.
    """
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16", False))


class PeakMemory:
    """Peak memory since construction, in MiB: of the CUDA device, else of the process.

    On Linux the process's high-water mark is reset at the start; elsewhere it is the largest
    since the process began.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif sys.platform == "linux":
            try:
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:
                return  # not permitted in some containers: the mark then covers the process

    def mib(self) -> float:
        """Return the peak so far."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**20
        if sys.platform == "linux":
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def memory_limit() -> int:
    """Return how many bytes this process can have: the container's or shell's limit, or the RAM."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int(Path("/sys/fs/cgroup", file).read_text()))
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if address_space != resource.RLIM_INFINITY:
        limits.append(address_space)
    return min(limits)


def memory_limit_words() -> str:
    """Return the limit as a sentence."""
    return f"The memory limit here is {memory_limit() / 2**30:.1f} GiB."


@contextmanager
def deterministic_algorithms(device: torch.device, enabled: bool = True) -> Iterator[None]:
    """Return the same bits on every run on a GPU, at a cost; an operation that cannot is refused.

    On a CPU all that nlbench calls is repeatable as it is.

    Args:
        device: Where the run takes place.
        enabled: Whether to do anything at all.

    Raises:
        RuntimeError: from torch, inside, naming an operation that has no repeatable version.
    """
    if not enabled or device.type == "cpu":
        yield
        return
    # Read by cuBLAS when it is first used; the larger of the two repeatable workspaces.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    filling: Any = torch.utils.deterministic  # its switch is unknown to mypy
    fill = filling.fill_uninitialized_memory
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    # Fills every new tensor with NaN to expose readers of uninitialised memory: not our aim.
    filling.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
        filling.fill_uninitialized_memory = fill


def leaves_cores(n_threads: int, n_jobs: int, n_cores: int | None = None) -> bool:
    """Return whether large runs side by side have cores of their own.

    Args:
        n_threads: Of torch in each run, as OMP_NUM_THREADS sets them.
        n_jobs: Number of runs.
        n_cores: That the process may use; counted where left out.

    >>> leaves_cores(1, 4, 2), leaves_cores(2, 2, 2), leaves_cores(4, 4, 16)
    (True, False, True)
    """
    if n_cores is None:
        linux = sys.platform == "linux"
        n_cores = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
    # torch takes one of the two threads of a core: half of them may be all.
    return n_threads == 1 or (2 * n_threads < n_cores and n_threads * n_jobs <= n_cores)


def takes_all_cores(device: torch.device, n_values: int) -> bool:
    """Return whether a run uses all CPU cores: data above the limit, unless told otherwise."""
    return device.type == "cpu" and not os.environ.get("NLBENCH_THREADS") and n_values > _SMALL


@contextmanager
def suitable_threads(device: torch.device, n_values: int) -> Iterator[None]:
    """Run small work on one CPU thread, larger work on all.

    Small networks and solvers are faster alone than on many threads that wait for each other;
    one thread also gives the same bits whatever the number of cores of the same kind.

    Args:
        device: Where the tensors are.
        n_values: Pixels of the training set, the size that decides.

    Raises:
        ConfigError: if `NLBENCH_THREADS`, which overrides the choice, is not a number.
    """
    setting = os.environ.get("NLBENCH_THREADS", "")
    if setting and (not setting.isdigit() or int(setting) < 1):
        raise ConfigError(f"NLBENCH_THREADS must be a whole number >= 1, got {setting!r}.")
    if device.type != "cpu" or takes_all_cores(device, n_values):
        yield
        return

    before, n_threads = torch.get_num_threads(), int(setting or 1)
    torch.set_num_threads(n_threads)
    try:
        with threadpool_limits(n_threads):
            yield
    finally:
        torch.set_num_threads(before)


PACKAGES = (
    "nlbench", "torch", "torchvision", "open_clip_torch", "timm", "mlflow", "scikit-learn", "numpy",
)  # fmt: skip


@cache
def package_versions() -> Mapping[str, str]:
    """Return the installed version of each package that matters, "" where it is missing."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = ""
    return MappingProxyType(versions)


@cache
def cpu_name() -> str:
    """Return the CPU's model, and the widest instructions that torch uses on it.

    Both decide in which order sums are added, and so the last bits of a result.
    """
    model = platform.processor()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = models[0] if models else model
    widest = torch.backends.cpu.get_cpu_capability()
    return f"{model or platform.machine()}, {widest}{', AMX' if has_bfloat16_tiles() else ''}"


def describe_environment(device: str, deterministic: bool = False) -> dict[str, Any]:
    """Return the environment part of a record; `machine` alone names a host and stays at home.

    Args:
        device: In words.
        deterministic: Whether the same seed gives the same bits on the same machine.
    """
    return {
        "python": platform.python_version(),
        "machine": platform.node(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "cpu": cpu_name(),
        "deterministic": deterministic,
        "packages": dict(package_versions()),
    }
