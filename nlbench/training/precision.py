"""In which precision a network trains: bf16 where the device has matrix units for it."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from nlbench.errors import ConfigError

Precision = Literal["float32", "bfloat16"]

VARIABLE = "NLBENCH_PRECISION"

# Small networks spend their time in normalisation and pooling, which bf16 does not speed up.
_LARGE = 2**20


def choose_precision(device: torch.device, network: nn.Module) -> Precision:
    """Give the precision of activations; weights and their updates stay float32.

    On CUDA bf16; on a CPU bf16 for networks of a million weights where it has AMX, else float32.
    The environment variable `NLBENCH_PRECISION` overrides the choice.

    Raises:
        ConfigError: if the variable is neither ``float32`` nor ``bfloat16``.
    """
    given = os.environ.get(VARIABLE, "")
    if given == "float32" or given == "bfloat16":
        return given
    if given:
        raise ConfigError(f"{VARIABLE} must be float32 or bfloat16, got {given!r}.")
    if device.type == "cuda":
        return "bfloat16"
    n_weights = sum(weight.numel() for weight in network.parameters())
    return "bfloat16" if device.type == "cpu" and n_weights >= _LARGE and _has_amx() else "float32"


@cache
def _has_amx() -> bool:
    """Say whether this CPU multiplies bf16 matrices in hardware, as Linux tells it."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
