"""Live state as plain data and back, to the last bit.

What comes out holds tensors, numbers, texts and tuples only: `torch.load(weights_only=True)` reads
it, so a checkpoint never runs code. One object in two places is one object afterwards, as pickle
keeps it; views of one tensor stay views.

What has a state of its own and is made by code - networks, optimisers, schedules - is not made
again here: the same code makes it, and the state is put into it.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from pathlib import PurePath
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from nlbench.errors import NlbenchError

_C = TypeVar("_C", bound=type)
_PLAIN = (type(None), bool, int, float, str, bytes)
_FACTORIES: dict[str, Callable[[], Any]] = {f.__name__: f for f in (int, float, list, dict, set)}
_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_storable: dict[str, type] = {}


class ResumeError(NlbenchError):
    """A state that cannot be saved, or cannot be put back (the run then starts anew)."""


def storable(dataclass: _C) -> _C:
    """Let instances of a dataclass be saved as their fields; a decorator."""
    _storable[dataclass.__name__] = dataclass
    return dataclass


def saved(value: Any, name: str = "the state") -> Any:
    """Return a value as plain data; tensors share memory with it.

    Args:
        value: None, numbers, texts, tensors, arrays, containers of these, generators of torch,
            NumPy and Python, whatever has `state_dict` and `load_state_dict`, and objects with
            `saved_state` and `restore_state`.
        name: What it is called in messages.

    Raises:
        ResumeError: naming what is of another kind.
    """
    return _Saver().plain(value, name)


def stateful_parts(value: Any, name: str = "the state") -> frozenset[str]:
    """Return the names of what `restored` finds again only where the same code has made it.

    Raises:
        ResumeError: as `saved` does.
    """
    saver = _Saver()
    saver.plain(value, name)
    return frozenset(saver.stateful)


def restored(plain: Any, live: Any = None) -> Any:
    """Return what was saved.

    Args:
        plain: What `saved` returned.
        live: What the same code has made anew: networks, optimisers, generators and tensors that
            are learned, as they are in it, get their state in place. It is not written otherwise.

    Raises:
        ResumeError: if it does not fit.
    """
    try:
        return _Restorer().value(plain, live)
    except ResumeError:
        raise
    except Exception as error:  # a state dict that does not fit, a tuple that is too short
        raise ResumeError(f"a saved state does not fit: {type(error).__name__}: {error}") from error


class _Saver:
    def __init__(self) -> None:
        self.stateful: list[str] = []
        # The object is kept, or its id could be given to another one.
        self._done: dict[int, tuple[Any, Any]] = {}
        self._under_way: set[int] = set()

    def plain(self, value: Any, name: str) -> Any:
        if type(value) in _PLAIN:
            return value
        key = id(value)
        if key in self._done:
            return self._done[key][1]
        if key in self._under_way:
            raise ResumeError(f"{name} contains itself, and cannot be saved.")
        self._under_way.add(key)
        result = self._container(value, name) or self._leaf(value) or self._object(value, name)
        self._under_way.discard(key)
        self._done[key] = value, result
        return result

    def _container(self, value: Any, name: str) -> tuple[Any, ...] | None:
        kind = type(value)
        if kind in (list, tuple, set, frozenset, torch.Size):
            parts = [self.plain(part, f"{name}[{i}]") for i, part in enumerate(value)]
            return (kind.__name__, parts)
        if kind is deque:
            parts = [self.plain(part, f"{name}[{i}]") for i, part in enumerate(value)]
            return ("deque", parts, value.maxlen)
        if kind in (dict, OrderedDict, Counter):
            return (kind.__name__, self._pairs(value, name))
        if kind is defaultdict:
            factory = getattr(value.default_factory, "__name__", "")
            if value.default_factory is not None and factory not in _FACTORIES:
                raise ResumeError(f"{name} is a defaultdict of {factory}, and cannot be saved.")
            return ("defaultdict", self._pairs(value, name), factory)
        return None

    def _pairs(self, value: Mapping[Any, Any], name: str) -> list[tuple[Any, Any]]:
        return [
            (self.plain(key, f"a key of {name}"), self.plain(part, f"{name}[{key!r:.40}]"))
            for key, part in value.items()
        ]

    def _leaf(self, value: Any) -> tuple[Any, ...] | None:
        kind = type(value)
        if kind in (Tensor, nn.Parameter) and value.grad_fn is None:
            return ("tensor", value.detach(), value.requires_grad)
        if kind is np.ndarray and _is_flat(value.dtype):
            return _plain_array(value)
        if isinstance(value, np.generic) and _is_flat(value.dtype):
            return ("scalar", _plain_array(np.asarray(value)))
        if kind is complex:
            return ("complex", value.real, value.imag)
        if isinstance(value, Enum):
            return ("enum", value.name)
        if isinstance(value, PurePath):
            return ("path", str(value))
        if kind is torch.device:
            return ("device", str(value))
        if kind is torch.dtype:
            return ("dtype", str(value).partition(".")[2])
        return _plain_generator(value)

    def _object(self, value: Any, name: str) -> tuple[Any, ...]:
        known: Any = _storable.get(type(value).__name__)
        if known is type(value):
            parts = {field.name: getattr(value, field.name) for field in fields(known)}
            return ("object", type(value).__name__, self._pairs(parts, name))
        if hasattr(value, "saved_state") and hasattr(value, "restore_state"):
            return ("own", self.plain(dict(value.saved_state()), name))
        if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
            self.stateful.append(name)
            return ("stateful", self.plain(value.state_dict(), name), _modes(value))
        what = type(value).__name__
        if isinstance(value, Tensor):
            what = "a tensor that belongs to a computation; `detach()` it"
        raise ResumeError(
            f"{name} cannot be saved: it is {what}. Keep tensors, arrays, numbers, containers of "
            "these, networks, optimisers or generators, or write `saved_state` and `restore_state`."
        )


def _is_flat(dtype: np.dtype[Any]) -> bool:
    return not dtype.hasobject and dtype.names is None


def _plain_array(value: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    if value.flags.writeable and value.dtype.kind in "biufc":
        try:
            return ("array", torch.from_numpy(value))  # its strides are kept
        except (TypeError, ValueError):  # another byte order, a mirrored view
            pass
    is_by_column = value.flags.f_contiguous and not value.flags.c_contiguous
    order: Literal["C", "F"] = "F" if is_by_column else "C"
    return ("raw array", value.dtype.str, value.shape, order, value.tobytes(order))


def _plain_generator(value: Any) -> tuple[Any, ...] | None:
    if isinstance(value, torch.Generator):
        return ("torch generator", str(value.device), value.get_state())
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        name = type(bits).__name__
        if name not in _BIT_GENERATORS or getattr(bits.seed_seq, "n_children_spawned", False):
            return None
        return ("numpy generator", name, saved(dict(bits.state)))
    if isinstance(value, np.random.RandomState):
        return ("numpy random state", saved(value.get_state()))
    if type(value) is random.Random:
        return ("python generator", value.getstate())
    return None


def _modes(value: Any) -> list[bool]:
    """Return what the state dict of a network leaves out: modes, and what is learned."""
    if not isinstance(value, nn.Module):
        return []
    modes = [module.training for module in value.modules()]
    return modes + [weights.requires_grad for weights in value.parameters()]


class _Restorer:
    def __init__(self) -> None:
        self._done: dict[int, Any] = {}

    def value(self, plain: Any, live: Any) -> Any:
        if not isinstance(plain, tuple):
            return plain
        if id(plain) not in self._done:
            make = getattr(self, f"_{plain[0].replace(' ', '_')}")
            self._done[id(plain)] = make(live, *plain[1:])
        return self._done[id(plain)]

    def _parts(self, live: Any, parts: list[Any], kind: type[Sequence[Any]]) -> list[Any]:
        fits = isinstance(live, kind) and len(live) == len(parts)
        lives = list(live) if fits else [None] * len(parts)
        return [self.value(part, old) for part, old in zip(parts, lives, strict=True)]

    def _list(self, live: Any, parts: list[Any]) -> list[Any]:
        return self._parts(live, parts, list)

    def _tuple(self, live: Any, parts: list[Any]) -> tuple[Any, ...]:
        return tuple(self._parts(live, parts, tuple))

    def _Size(self, live: Any, parts: list[Any]) -> torch.Size:  # noqa: N802 - the type's name
        return torch.Size(parts)

    def _set(self, live: Any, parts: list[Any]) -> set[Any]:
        return {self.value(part, None) for part in parts}

    def _frozenset(self, live: Any, parts: list[Any]) -> frozenset[Any]:
        return frozenset(self._set(live, parts))

    def _deque(self, live: Any, parts: list[Any], maxlen: int | None) -> deque[Any]:
        return deque(self._parts(live, parts, deque), maxlen)

    def _dict(self, live: Any, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        old = live if isinstance(live, Mapping) else {}
        keyed = ((self.value(key, None), part) for key, part in pairs)
        return {key: self.value(part, old.get(key)) for key, part in keyed}

    def _OrderedDict(self, live: Any, pairs: Any) -> OrderedDict[Any, Any]:  # noqa: N802
        return OrderedDict(self._dict(live, pairs))

    def _Counter(self, live: Any, pairs: Any) -> Counter[Any]:  # noqa: N802
        return Counter(self._dict(live, pairs))

    def _defaultdict(self, live: Any, pairs: Any, factory: str) -> defaultdict[Any, Any]:
        return defaultdict(_FACTORIES[factory] if factory else None, self._dict(live, pairs))

    def _tensor(self, live: Any, value: Tensor, is_learned: bool) -> Tensor:
        # Optimisers hold what is learned. All else may be someone else's, and is not written into.
        if isinstance(live, Tensor) and live.requires_grad and live.is_leaf:
            with torch.no_grad():
                return live.copy_(value)
        return value.requires_grad_(is_learned)

    def _array(self, live: Any, value: Tensor) -> Any:
        return value.numpy()

    def _raw_array(
        self, live: Any, dtype: str, shape: tuple[int, ...], order: Any, content: bytes
    ) -> Any:
        flat: Any = np.frombuffer(content, dtype=np.dtype(dtype))
        return flat.reshape(shape, order=order).copy(order="K")

    def _scalar(self, live: Any, array: Any) -> Any:
        return self.value(array, None)[()]

    def _complex(self, live: Any, real: float, imaginary: float) -> complex:
        return complex(real, imaginary)

    def _enum(self, live: Any, name: str) -> Any:
        return type(live)[name]

    def _path(self, live: Any, text: str) -> Any:
        return type(live)(text)

    def _device(self, live: Any, text: str) -> torch.device:
        return torch.device(text)

    def _dtype(self, live: Any, name: str) -> Any:
        return getattr(torch, name)

    def _torch_generator(self, live: Any, device: str, state: Tensor) -> torch.Generator:
        generator = live if isinstance(live, torch.Generator) else torch.Generator(device)
        generator.set_state(state.cpu())
        return generator

    def _numpy_generator(self, live: Any, name: str, state: Any) -> np.random.Generator:
        if name not in _BIT_GENERATORS:
            raise ResumeError(f"NumPy has no bit generator {name!r} that can be resumed.")
        fits = isinstance(live, np.random.Generator)
        generator = live if fits else np.random.Generator(getattr(np.random, name)())
        generator.bit_generator.state = self.value(state, None)
        return generator

    def _numpy_random_state(self, live: Any, state: Any) -> np.random.RandomState:
        fits = isinstance(live, np.random.RandomState)
        generator: np.random.RandomState = live if fits else np.random.RandomState()
        generator.set_state(self.value(state, None))
        return generator

    def _python_generator(self, live: Any, state: Any) -> random.Random:
        generator = live if type(live) is random.Random else random.Random()  # noqa: S311
        generator.setstate(state)
        return generator

    def _object(self, live: Any, name: str, pairs: Any) -> Any:
        return _storable[name](**self._dict(None, pairs))

    def _own(self, live: Any, plain: Any) -> Any:
        if not hasattr(live, "restore_state"):
            raise ResumeError("a saved object is not made any more by the code that made it.")
        live.restore_state(self.value(plain, dict(live.saved_state())))
        return live

    def _stateful(self, live: Any, plain: Any, modes: list[bool]) -> Any:
        if not hasattr(live, "load_state_dict"):
            raise ResumeError("a saved network or optimiser is not made any more by its code.")
        live.load_state_dict(self.value(plain, None))
        if isinstance(live, nn.Module):
            n_modules = sum(1 for _ in live.modules())
            for module, mode in zip(live.modules(), modes[:n_modules], strict=True):
                module.training = mode
            for weights, mode in zip(live.parameters(), modes[n_modules:], strict=True):
                weights.requires_grad_(mode)
        return live
