"""The two tiny models that come with nlbench, so that every selector runs offline.

They know rendered glyphs only. See MODEL_CARD.md beside the weights.
"""

from __future__ import annotations

from pathlib import Path

from nlbench.encoders.base import Encoder
from nlbench.encoders.open_clip_encoder import OpenClipEncoder
from nlbench.encoders.timm_encoder import TimmEncoder
from nlbench.errors import ConfigError
from nlbench.plugins.versions import versioned

_FOLDER = Path(__file__).parent / "bundled"


@versioned(1)
def bundled_clip(argument: str = "") -> Encoder:
    """Tiny CLIP, trained on glyphs rendered from fonts with captions."""
    _no_argument("bundled-clip", argument)
    return OpenClipEncoder(f"local-dir:{_FOLDER / 'clip'}", name="bundled-clip")


@versioned(1)
def bundled_glyphs(argument: str = "") -> Encoder:
    """Tiny image backbone, trained on rendered letters; no text."""
    _no_argument("bundled-glyphs", argument)
    return TimmEncoder(f"local-dir:{_FOLDER / 'glyphs'}", name="bundled-glyphs")


def _no_argument(name: str, argument: str) -> None:
    if argument:
        raise ConfigError(f"encoder {name!r} takes no argument, got {argument!r}.")
