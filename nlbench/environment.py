"""What a run ran on: versions and device, without names of hosts, users or paths."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    "nlbench", "torch", "torchvision", "open_clip_torch", "timm", "mlflow", "scikit-learn", "numpy",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Give the installed version of each package that matters, "" where it is missing."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found


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
        "packages": package_versions(),
    }
