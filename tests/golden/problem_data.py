"""Fixed numbers that problems are made of; numpy's generator gives the same ones everywhere."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def pixels(n: int, channels: int = 3, side: int = 8, seed: int = 0) -> Tensor:
    """Return (n, channels, side, side) uint8."""
    shape = (n, channels, side, side)
    return torch.from_numpy(rng(seed).integers(0, 256, shape, dtype=np.uint8))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(rng(seed).standard_normal(shape).astype(np.float32))


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


def seeded_weights(module: torch.nn.Module) -> None:
    """Give every weight a number of ours: libraries change how they initialise.

    By He et al.'s scale, so that what reaches the end still tells images apart.
    """
    with torch.no_grad():
        for i, (name, value) in enumerate(sorted(module.state_dict().items())):
            if not value.is_floating_point():
                continue
            drawn = torch.as_tensor(rng(i).standard_normal(tuple(value.shape)))
            if value.ndim > 1:
                drawn = drawn * (2 / value[0].numel()) ** 0.5
            elif name.endswith(("weight", "running_var")):
                drawn = 1 + 0.1 * drawn.abs()
            else:
                drawn = 0.1 * drawn
            value.copy_(drawn)


def checksums(images: Tensor) -> dict[str, Tensor]:
    """Return each image's mean and its product with fixed signs: a pixel that moves shows in it.

    Not a hash: where a value lies halfway between two shades, processors round either way.
    """
    values = images.double().flatten(1)
    if not images.is_floating_point():
        values = values / 255
    signs = torch.from_numpy(rng(1).integers(0, 2, values.shape[1]) * 2.0 - 1)
    return {"mean": values.mean(dim=1), "signed mean": (values * signs).mean(dim=1)}


# Another value of a field, where a rule by its type does not tell one.
_OTHER_VALUES: dict[str, Any] = {
    "encoder": "another",
    "noise_rate": 0.2,
    "learned_share": 0.3,
    "weight_decay": 0.2,
    "momentum": 0.5,
    "input_size": 6,
    "batch_size": 8,
    "milestones": [1],
    "k_max": 31,
    "theta_r": 0.55,
    "theta_r2": 0.55,
}


def variations(cls: type, skipped: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the settings that change one field of a component: every branch of a choice.

    Args:
        cls: The component's class.
        skipped: Fields that are varied elsewhere, with the reason.
    """
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        if field.name in skipped:
            continue
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        for value in _others(field.name, hints[field.name], default):
            yield {field.name: value}


def _others(name: str, hint: Any, default: Any) -> list[Any]:
    choices = [c for c in _choices(hint) if c != default]
    if name in _OTHER_VALUES:
        return [_OTHER_VALUES[name], *choices]
    if choices:
        return choices
    if isinstance(default, bool):
        return [not default]
    if isinstance(default, int):
        return [3 if default != 3 else 2]
    if isinstance(default, float):
        return [round(0.9 * default, 6)]
    raise AssertionError(
        f"no other value of the field {name!r} is told: add one to _OTHER_VALUES in {__file__}"
    )


def _choices(hint: Any) -> list[Any]:
    if get_origin(hint) is typing.Annotated:
        return _choices(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [c for part in get_args(hint) if get_origin(part) is Literal for c in get_args(part)]


def case_name(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items()) or "defaults"


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
