"""A model in a folder: ``local-dir:PATH``, in open_clip's or timm's own layout."""

from __future__ import annotations

from pathlib import Path

from nlbench.encoders.base import Encoder
from nlbench.encoders.open_clip_encoder import OpenClipEncoder
from nlbench.encoders.timm_encoder import TimmEncoder
from nlbench.errors import DataError
from nlbench.plugins.versions import versioned


@versioned(2)
def local_dir(argument: str, name: str | None = None) -> Encoder:
    """Encoder from a folder with open_clip_config.json (open_clip) or config.json (timm)."""
    folder = Path(argument).expanduser()
    scheme = f"local-dir:{folder}"
    if (folder / "open_clip_config.json").is_file():
        return OpenClipEncoder(scheme, name=name or scheme)
    if (folder / "config.json").is_file():
        return TimmEncoder(scheme, name=name or scheme)
    raise DataError(
        f"'{folder}' contains neither open_clip_config.json nor config.json. Save a timm "
        "model there with `timm.models.save_for_hf(model, PATH)`, an open_clip model with "
        "`open_clip.push_to_hf_hub.save_for_hf`; weights as safetensors."
    )
