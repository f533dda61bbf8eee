"""What torch, NumPy and the process look like around a call of a plugin, compared and put back.

A switch that one plugin leaves behind changes the numbers of all that run after it, under a
fingerprint that knows nothing of it.
"""

from __future__ import annotations

import decimal
import gc
import locale
import logging
import multiprocessing
import operator
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

log = logging.getLogger("nlbench")


@dataclass(frozen=True)
class Setting:
    """One thing of the surroundings.

    Attributes:
        name: What people call it.
        read: Returns its value, to be compared with `==`.
        put_back: Sets it to such a value.
        is_silent: Whether nothing is said of a change: nobody's numbers depend on it, and
            libraries change it when they are imported.
    """

    name: str
    read: Callable[[], Any]
    put_back: Callable[[Any], object]
    is_silent: bool = False


def _of(owner: Any, attribute: str, name: str) -> Setting:
    return Setting(
        name, lambda: getattr(owner, attribute), lambda value: setattr(owner, attribute, value)
    )


_KEPT_MODES: list[object] = []


def _set_inference_mode(value: bool) -> None:
    """Enter a mode for good: torch can end only modes whose object is at hand."""
    mode = torch.inference_mode(value)
    mode.__enter__()
    _KEPT_MODES.append(mode)


def _set_default_device(device: torch.device) -> None:
    # With None torch looks at no default any more, which costs less than naming the CPU.
    torch.set_default_device(None if device.type == "cpu" else device)


_backends: Any = torch.backends

# Read in every step of a training: each takes far less than a microsecond. Inference mode comes
# first, since it sets the gradient mode.
SWITCHES = (
    Setting("torch's inference mode", torch.is_inference_mode_enabled, _set_inference_mode),
    Setting("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
    Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    Setting(
        "torch's deterministic mode",
        torch.get_deterministic_debug_mode,
        torch.set_deterministic_debug_mode,
    ),
    _of(_backends.mkldnn, "enabled", "torch.backends.mkldnn.enabled"),
    _of(_backends.cudnn, "enabled", "torch.backends.cudnn.enabled"),
    _of(_backends.cudnn, "benchmark", "torch.backends.cudnn.benchmark"),
    _of(_backends.cudnn, "deterministic", "torch.backends.cudnn.deterministic"),
    Setting(
        "torch's precision of float32 products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
)


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


_ENVIRONMENT = "the environment variables"

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
    Setting(_ENVIRONMENT, _environment, _set_environment),
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
    _of(sys, "stdout", "sys.stdout"),
    _of(sys, "stderr", "sys.stderr"),
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


@dataclass(frozen=True)
class Patch:
    """A function or class of someone else's that was replaced, and how it was."""

    owner: Any
    owner_name: str
    attribute: str
    before: Any

    def undo(self) -> None:
        """Put back what was there."""
        with suppress(AttributeError, TypeError):
            if self.before is _ABSENT:
                delattr(self.owner, self.attribute)
            else:
                setattr(self.owner, self.attribute, self.before)


_ABSENT = object()
# Whose functions the numbers of a run come from, beside all modules and classes of nlbench.
_SHARED = (
    "builtins", "math", "random", "time", "os", "numpy", "numpy.linalg", "numpy.random",
    "torch", "torch.linalg", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.optim",
    "sklearn.mixture", "sklearn.linear_model",
)  # fmt: skip
_OURS = ("nlbench.", "nlbench_selectors.")

Names = list[tuple[str, Any, dict[str, Any]]]


def _shared_names() -> Names:
    """Return what is in every module and class that plugins share: its name, itself, a copy."""
    owners: list[tuple[str, Any]] = [
        ("torch.Tensor", torch.Tensor),
        ("torch.nn.Module", torch.nn.Module),
        ("torch.optim.Optimizer", torch.optim.Optimizer),
        ("torch.optim.SGD", torch.optim.SGD),
    ]
    for name, module in list(sys.modules.items()):
        if name in _SHARED and module is not None:
            owners.append((name, module))
        elif name.startswith(_OURS) and module is not None:
            owners.append((name, module))
            owners += [
                (f"{name}.{value.__qualname__}", value)
                for value in list(vars(module).values())
                if isinstance(value, type) and value.__module__ == name
            ]
    return [(name, owner, dict(vars(owner))) for name, owner in owners]


def _patches(before: Names) -> Iterator[Patch]:
    for name, owner, old in before:
        now = vars(owner)
        if len(now) == len(old) and all(map(operator.is_, old.values(), now.values())):
            continue
        for attribute, value in old.items():
            new = now.get(attribute, _ABSENT)
            if callable(value) and new is not value and not _wraps_its_own(name, new, value):
                yield Patch(owner, name, attribute, value)
        if isinstance(owner, type):  # where a name hides one of the base class
            for attribute in set(now) - set(old):
                if callable(now[attribute]) and hasattr(super(owner, owner), attribute):
                    yield Patch(owner, name, attribute, _ABSENT)


def _wraps_its_own(owner_name: str, new: Any, old: Any) -> bool:
    """Return whether a library wrapped its own function, as torch does when its compiler loads."""
    package = sys.modules[owner_name.partition(".")[0]]
    code = getattr(new, "__code__", None)
    folder = Path(getattr(package, "__file__", None) or "/").parent
    return (
        code is not None
        and getattr(new, "__wrapped__", None) is old
        and Path(code.co_filename).is_relative_to(folder)
        and (folder / "__init__.py").exists()
    )


def _what_differs(name: str, before: Any, now: Any) -> str:
    if name != _ENVIRONMENT:
        return name
    keys = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    return f"{name} ({', '.join(map(str, keys[:5]))}{', ...' if len(keys) > 5 else ''})"


def _put_back(settings: tuple[Setting, ...], before: list[Any]) -> list[str]:
    """Put back what has changed; return the names of what is worth a word."""
    changed = []
    for setting, value in zip(settings, before, strict=True):
        now = setting.read()
        if now != value:
            setting.put_back(value)
            if not setting.is_silent:
                changed.append(_what_differs(setting.name, value, now))
    return changed


def _undo(names: Names) -> list[str]:
    patches = list(_patches(names))
    for patch in patches:
        patch.undo()
    return [f"{patch.owner_name}.{patch.attribute}" for patch in patches]


@contextmanager
def watched(patches: bool = True) -> Iterator[list[str]]:
    """Put back, at the end, all that changed inside.

    Args:
        patches: Whether to look for replaced functions, which takes some milliseconds.

    Yields:
        What changed, by name, filled in at the end.
    """
    settings = (*SWITCHES, *PROCESS)
    changed: list[str] = []
    before, names = [setting.read() for setting in settings], _shared_names() if patches else []
    try:
        yield changed
    finally:
        changed += _put_back(settings, before)
        changed += _undo(names)


_notes: ContextVar[list[str] | None] = ContextVar("notes", default=None)


@contextmanager
def noting() -> Iterator[list[str]]:
    """Collect what `kept` says inside, for a record."""
    notes: list[str] = []
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


@contextmanager
def kept(who: str, patches: bool = True) -> Iterator[None]:
    """Call a plugin inside: what it changes of its surroundings is put back, and said.

    Args:
        who: As `registry.plugin_name` calls it; nothing is looked at where it is "".
        patches: Whether to look for replaced functions, which takes some milliseconds.
    """
    if not who:
        yield
        return
    changed: list[str] = []
    try:
        with watched(patches) as changed:
            yield
    finally:
        _say(who, changed)


def switches_before() -> list[Any]:
    """Return torch's switches, for `keep_switches`."""
    return [switch.read() for switch in SWITCHES]


def keep_switches(who: str, before: list[Any]) -> None:
    """Put torch's switches back and say who changed them: the little that every step can afford."""
    if switches_before() != before:
        _say(who, _put_back(SWITCHES, before))


def _say(who: str, changed: list[str]) -> None:
    if not changed:
        return
    more = f" and {len(changed) - 8} more" if len(changed) > 8 else ""
    text = f"{who} changed {', '.join(changed[:8])}{more}: put back, so that no other run feels it."
    notes = _notes.get()
    if notes is None or text not in notes:
        log.warning("%s", text)
    if notes is not None and text not in notes:
        notes.append(text)
