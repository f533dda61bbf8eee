"""What an encoder is, and how images get to it."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from nlbench.data.images import CENTRE, Fit, resized
from nlbench.errors import ConfigError
from nlbench.selector import PromptModel

Precision = Literal["float32", "bfloat16"]


class Encoder(ABC):
    """A frozen model that turns images (and, for CLIP, texts) into unit-norm vectors.

    Attributes:
        name: The full name, e.g. ``open_clip:ViT-B-32/openai``.
        model: The network, in eval mode.
        input_size: Side of the square input in pixels.
        mean: Per-channel mean of the normalisation, for values in [0, 1].
        std: Per-channel standard deviation.
        fit: How an image of any shape becomes that square.
        warnings: What libraries warned of while the model was built; goes into the record.
        dtype: Of weights and activations.
        needs_float32: Whether bfloat16 moves the embeddings far, so that machines that are fast in
            it would give other results; then it is used only where it is asked for.
    """

    needs_float32: ClassVar[bool] = False
    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        model: nn.Module,
        input_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        fit: Fit = CENTRE,
    ) -> None:
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.input_size = input_size
        self.mean = tuple(float(m) for m in mean)
        self.std = tuple(float(s) for s in std)
        self.fit = fit
        self.dtype = torch.float32

    @abstractmethod
    def forward_images(self, batch: Tensor) -> Tensor:
        """Return raw features (B, d) of a normalised batch (B, 3, S, S)."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Return unit-norm text embeddings (P, d).

        Raises:
            ConfigError: if the model has no text side.
        """
        raise ConfigError(
            f"encoder {self.name!r} has no text side. Use an image-text encoder here, such as "
            "'bundled-clip' or 'open_clip:ViT-B-32/openai'."
        )

    def logit_scale(self) -> tuple[float, float]:
        """Return the scale and the bias that turn cosine similarities into the model's own logits.

        Raises:
            ConfigError: if the model was not trained on image-text similarities.
        """
        raise ConfigError(
            f"encoder {self.name!r} has no logit scale of its own. "
            "Give the temperature as a number."
        )

    def prompt_model(self, device: torch.device) -> PromptModel:
        """Return the text tower, open at its token embeddings, and the image tower.

        Raises:
            ConfigError: if the model has no text tower that can be entered there.
        """
        raise ConfigError(
            f"encoder {self.name!r} has no text tower to learn prompts for. Use an image-text "
            "encoder of open_clip, such as 'bundled-clip' or 'open_clip:ViT-B-32/openai'."
        )

    def in_precision(self, precision: Precision) -> Encoder:
        """Return this encoder, or a copy of it whose weights and activations are bfloat16.

        Not torch's autocast: without gradients it casts the weights again for every batch, which on
        a CPU takes as long as the model.
        """
        if precision == "float32":
            return self
        rounded = copy.copy(self)
        rounded.model, rounded.dtype = copy.deepcopy(self.model).bfloat16(), torch.bfloat16
        return rounded

    @torch.inference_mode()
    def encode_images(self, batch: Tensor, device: torch.device) -> Tensor:
        """Return unit-norm embeddings of uint8 images.

        Channels last: convolutions are faster so, on CPUs too (docs/performance-embedding.md).

        Args:
            batch: (B, 1 or 3, H, W) uint8, any size; fitted to the model's square on the device.
            device: Where the model runs.

        Returns:
            (B, d) float32 on `device`.
        """
        layout = torch.channels_last
        self.model.to(device).to(memory_format=layout)
        pixels = resized(batch.to(device, non_blocking=True), self.input_size, self.fit)
        mean = torch.tensor(self.mean, device=device)[:, None, None]
        std = torch.tensor(self.std, device=device)[:, None, None]
        images = pixels.expand(-1, 3, -1, -1).to(torch.float32, memory_format=layout)
        images = images.div_(255).sub_(mean).div_(std)
        features = self.forward_images(images.to(self.dtype))
        return nn.functional.normalize(features.float(), dim=1)

    @property
    def preprocessing(self) -> str:
        """The preprocessing as text: part of the cache key."""
        settings = {"size": self.input_size, "mean": self.mean, "std": self.std}
        return json.dumps({**settings, "fit": asdict(self.fit)}, sort_keys=True)

    @property
    def activations(self) -> str:
        """The kinds of activation in the network: part of the cache key, as no weight tells them.

        Functions that are called without a module are not seen.
        """
        leaves = [m for m in self.model.modules() if next(m.children(), None) is None]
        kinds = {type(m) for m in leaves if next(m.parameters(), None) is None}
        named = {k.__name__ for k in kinds if "activation" in k.__module__ or "GELU" in k.__name__}
        return ", ".join(sorted(named))

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of all weights: two checkpoints of one name never share a cache entry."""
        digest = hashlib.sha256()
        for key, value in sorted(self.model.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()
