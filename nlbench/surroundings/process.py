"""What is read around a whole call: the rest of torch, NumPy, and the process."""

from __future__ import annotations

import decimal
import gc
import locale
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlbench.surroundings.setting import Setting, of_attribute

log = logging.getLogger("nlbench")


def _set_default_device(device: torch.device) -> None:
    # With None torch looks at no default any more, which costs less than naming the CPU.
    torch.set_default_device(None if device.type == "cpu" else device)


def _flushes_denormals() -> bool:
    return bool((torch.tensor([1e-310], dtype=torch.float64) * 1.0 == 0).item())


# Those that anyone handles, as far as the system has them.
_SIGNALS = [
    getattr(signal, f"SIG{name}")
    for name in ("INT", "TERM", "HUP", "ALRM", "CHLD", "PIPE", "USR1", "USR2", "ABRT", "SEGV")
    if hasattr(signal, f"SIG{name}")
]


def _signal_handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in _SIGNALS}


def _alarm_is_set() -> bool:
    return hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0


def _end_alarm(before: bool) -> None:
    if not before:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _set_signal_handlers(before: dict[int, Any]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # nor can the plugin have changed them
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


# Libraries set these when they are first loaded, and a plugin that asks for embeddings loads them.
_OF_LIBRARIES = ("TOKENIZERS_", "TORCHINDUCTOR_", "TRITON_")


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(_OF_LIBRARIES)}


def _set_environment(before: dict[str, str]) -> None:
    for name in set(_environment()) - set(before):
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _folder() -> str | None:
    with suppress(OSError):  # it was deleted
        return str(Path.cwd())
    return None


def _set_folder(before: str | None) -> None:
    with suppress(OSError):
        os.chdir(before or "/")


def _set_path(before: list[str]) -> None:
    sys.path[:] = before


def _set_filters(before: list[Any]) -> None:
    warnings.resetwarnings()  # which tells Python that its memory of the filters is stale
    warnings.filters[:] = before  # type: ignore[index]


def _set_collecting(value: bool) -> None:
    (gc.enable if value else gc.disable)()


def start_method() -> str:
    """Return how `multiprocessing` starts processes; asking for it settles nothing."""
    default = multiprocessing.get_all_start_methods()[0]
    return multiprocessing.get_start_method(allow_none=True) or default


def _decimal_rules() -> tuple[int, str]:
    context = decimal.getcontext()
    return context.prec, context.rounding


def _set_decimal_rules(before: tuple[int, str]) -> None:
    context = decimal.getcontext()
    context.prec, context.rounding = before


def _cores() -> Any:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _set_cores(before: Any) -> None:
    if before is not None:
        os.sched_setaffinity(0, before)


def _loggers() -> tuple[Any, ...]:
    """Return how the loggers speak that everyone shares."""
    both = (logging.getLogger(), log)
    return (
        logging.root.manager.disable,
        *((each.level, each.propagate, each.disabled, list(each.handlers)) for each in both),
    )


def _set_loggers(before: tuple[Any, ...]) -> None:
    logging.disable(before[0])
    for each, (level, propagate, disabled, handlers) in zip(
        (logging.getLogger(), log), before[1:], strict=True
    ):
        each.setLevel(level)
        each.propagate, each.disabled, each.handlers[:] = propagate, disabled, handlers


def _numpy_draws() -> tuple[Any, ...]:
    state: Any = np.random.get_state()
    kind, keys, *rest = state
    return (kind, keys.tobytes(), *rest)


def _set_numpy_draws(before: tuple[Any, ...]) -> None:
    kind, keys, *rest = before
    state: Any = (kind, np.frombuffer(keys, dtype=np.uint32), *rest)
    np.random.set_state(state)


def _set_torch_draws(before: bytes) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(before), dtype=torch.uint8))


def _torch_draws() -> bytes:
    return torch.get_rng_state().numpy().tobytes()


ENVIRONMENT = "the environment variables"

# Read around a whole call. Draws and what is printed are put back without a word: nothing of ours
# reads them.
PROCESS = (
    Setting("torch's default device", torch.get_default_device, _set_default_device),
    Setting("torch's anomaly mode", torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    Setting("torch's flushing of denormals", _flushes_denormals, torch.set_flush_denormal),
    Setting(
        "torch's autocast",
        lambda: torch.is_autocast_enabled("cpu"),
        lambda value: torch.set_autocast_enabled("cpu", value),
    ),
    Setting("NumPy's error state", np.geterr, lambda before: np.seterr(**before)),
    Setting("the working directory", _folder, _set_folder),
    Setting(ENVIRONMENT, _environment, _set_environment),
    Setting("sys.path", lambda: list(sys.path), _set_path),
    Setting("the rules of decimal numbers", _decimal_rules, _set_decimal_rules),
    Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("the signal handlers", _signal_handlers, _set_signal_handlers),
    Setting("the alarm clock", _alarm_is_set, _end_alarm),
    Setting(
        "the locale",
        lambda: locale.setlocale(locale.LC_ALL),
        lambda before: locale.setlocale(locale.LC_ALL, before),
    ),
    Setting("the cores of the process", _cores, _set_cores),
    Setting("garbage collection", gc.isenabled, _set_collecting),
    Setting(
        "the start method of processes",
        start_method,
        lambda before: multiprocessing.set_start_method(before, force=True),
    ),
    of_attribute(sys, "stdout", "sys.stdout"),
    of_attribute(sys, "stderr", "sys.stderr"),
    Setting("the log's handlers and levels", _loggers, _set_loggers, is_silent=True),
    Setting("the warnings filters", lambda: list(warnings.filters), _set_filters, is_silent=True),
    Setting(
        "NumPy's print options",
        np.get_printoptions,
        lambda before: np.set_printoptions(**before),
        is_silent=True,
    ),
    Setting("torch's draws", _torch_draws, _set_torch_draws, is_silent=True),
    Setting("NumPy's draws", _numpy_draws, _set_numpy_draws, is_silent=True),
    Setting("Python's draws", random.getstate, random.setstate, is_silent=True),
)
