"""torch's switches: what every step of a training can afford to look at."""

from __future__ import annotations

from typing import Any

import torch

from nlbench.surroundings.setting import Setting, of_attribute

_KEPT_MODES: list[object] = []


def _set_inference_mode(value: bool) -> None:
    """Enter a mode for good: torch can end only modes whose object is at hand."""
    mode = torch.inference_mode(value)
    mode.__enter__()
    _KEPT_MODES.append(mode)


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
    of_attribute(_backends.mkldnn, "enabled", "torch.backends.mkldnn.enabled"),
    of_attribute(_backends.cudnn, "enabled", "torch.backends.cudnn.enabled"),
    of_attribute(_backends.cudnn, "benchmark", "torch.backends.cudnn.benchmark"),
    of_attribute(_backends.cudnn, "deterministic", "torch.backends.cudnn.deterministic"),
    Setting(
        "torch's precision of float32 products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
)
