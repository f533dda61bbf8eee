"""What a run ran on: versions and device, without names of hosts, users or paths."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any

PACKAGES = (
    "nlbench", "torch", "torchvision", "open_clip_torch", "timm", "mlflow", "scikit-learn", "numpy",
)  # fmt: skip


@cache
def package_versions() -> Mapping[str, str]:
    """Give the installed version of each package that matters, "" where it is missing."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return MappingProxyType(found)


def describe(device: str, deterministic: bool = False) -> dict[str, Any]:
    """Give the environment part of a record.

    Args:
        device: In words.
        deterministic: Whether the same seed gives the same bits on the same machine.
    """
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "deterministic": deterministic,
        "packages": dict(package_versions()),
    }
