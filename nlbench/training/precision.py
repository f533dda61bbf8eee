"""In which precision a network trains."""

from __future__ import annotations

import os
from typing import Literal

import torch

from nlbench.errors import ConfigError

Precision = Literal["float32", "bfloat16"]

VARIABLE = "NLBENCH_PRECISION"


def choose_precision(device: torch.device) -> Precision:
    """Give the precision of activations; weights and their updates stay float32.

    bf16 on CUDA, else float32. The environment variable `NLBENCH_PRECISION` overrides the choice:
    bf16 speeds large networks up on CPUs with AMX and slows others down.

    Raises:
        ConfigError: if the variable is neither ``float32`` nor ``bfloat16``.
    """
    given = os.environ.get(VARIABLE, "")
    if given not in ("", "float32", "bfloat16"):
        raise ConfigError(f"{VARIABLE} must be float32 or bfloat16, got {given!r}.")
    if given:
        return "bfloat16" if given == "bfloat16" else "float32"
    return "bfloat16" if device.type == "cuda" else "float32"
