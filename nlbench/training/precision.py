"""In which precision a network trains."""

from __future__ import annotations

import os
from typing import Literal

import torch
from torch import nn

from nlbench.errors import ConfigError
from nlbench.machine import has_bfloat16_tiles

Precision = Literal["float32", "bfloat16"]

VARIABLE = "NLBENCH_PRECISION"
# Below so many weights, casting costs a CPU what the products gain: docs/performance-training.md.
_LARGE = 1_000_000


def choose_precision(device: torch.device, network: nn.Module) -> Precision:
    """Return the precision of activations; weights and their updates stay float32.

    bf16 on CUDA, and for networks of a million weights on CPUs that multiply it by tiles (Intel
    AMX), else float32. The environment variable `NLBENCH_PRECISION` overrides the choice.

    Raises:
        ConfigError: if the variable is neither ``float32`` nor ``bfloat16``.
    """
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "float32", "bfloat16"):
        raise ConfigError(f"{VARIABLE} must be float32 or bfloat16, got {value!r}.")
    if value:
        return "bfloat16" if value == "bfloat16" else "float32"
    if device.type == "cpu":
        is_large = sum(weights.numel() for weights in network.parameters()) >= _LARGE
        return "bfloat16" if is_large and has_bfloat16_tiles() else "float32"
    return "bfloat16" if device.type == "cuda" else "float32"
