"""Encoders on fixed images and texts: the bundled models, and tiny ones with weights of ours."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golden.answer_files import Answer
from golden.problem_data import CPU, pixels, seeded_weights
from lite0_package import weights_of_ours
from safetensors.torch import save_file
from torch import Tensor

from nlbench.encoders.base import Encoder
from nlbench.plugins.discovery import Component

# The order of sums in a matrix product differs between processors.
TOLERANCE = 1e-4
TOLERANCES: dict[str, float] = {}
_TEXTS = ["the digit three", "a photo of the letter q", "Zero!"]
_PIXELS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
_CLIP: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


def answers(component: Component) -> Answer:
    load = component.load()
    if component.name.startswith("bundled-"):
        return {"bundled": _facts(load(), component.name == "bundled-clip")}
    if component.name == "efficientnet-lite0":
        with tempfile.TemporaryDirectory() as folder, weights_of_ours(Path(folder)):
            return {"an input of 64 pixels": _thinned(_facts(load("64"), has_text=False))}
    assert component.name in _MODELS, (
        f"no problem for encoder {component.name!r}: add one to _MODELS in {__file__}"
    )
    out: Answer = {}
    for name, (prefix, save, has_text) in _MODELS[component.name].items():
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder))
            out[name] = _facts(load(f"{prefix}{folder}"), has_text)
    return out


def _thinned(facts: Answer) -> Answer:
    """Keep every 20th of 1280 dimensions: they tell a change as well as all."""
    return {k: v[:, ::20] if isinstance(v, Tensor) else v for k, v in facts.items()}


def _facts(encoder: Encoder, has_text: bool) -> Answer:
    facts: Answer = {
        "input size": encoder.input_size,
        "large images": encoder.encode_images(pixels(3, side=70, seed=4), CPU),
        "small grey images": encoder.encode_images(pixels(2, channels=1, side=8, seed=5), CPU),
    }
    if has_text:
        facts["texts"] = encoder.encode_text(_TEXTS)
    return facts


def _save_clip(folder: Path, **changes: Any) -> None:
    import open_clip

    config = {**_CLIP, **changes}
    model = open_clip.CLIP(**config).eval()
    seeded_weights(model)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    text = {"model_cfg": config, "preprocess_cfg": _PIXELS}
    (folder / "open_clip_config.json").write_text(json.dumps(text))


def _save_quick_clip(folder: Path) -> None:
    _save_clip(folder, quick_gelu=True)


def _save_timm(folder: Path) -> None:
    import timm

    model = timm.create_model("test_resnet", num_classes=5).eval()
    seeded_weights(model)
    save_file(model.state_dict(), folder / "model.safetensors")
    pretrained = {"input_size": [3, 32, 32], "num_classes": 5, **_PIXELS}
    pretrained |= {"first_conv": "conv1.0", "classifier": "fc"}
    config = {"architecture": "test_resnet", "num_classes": 5, "pretrained_cfg": pretrained}
    (folder / "config.json").write_text(json.dumps(config))


_CLIPS: dict[str, Callable[[Path], None]] = {
    "a model with GELU": _save_clip,
    "a model with QuickGELU": _save_quick_clip,
}
_MODELS: dict[str, dict[str, tuple[str, Callable[[Path], None], bool]]] = {
    "open_clip": {name: ("local-dir:", save, True) for name, save in _CLIPS.items()},
    "timm": {"a small ResNet": ("local-dir:", _save_timm, False)},
    "local-dir": {
        **{name: ("", save, True) for name, save in _CLIPS.items()},
        "a small ResNet": ("", _save_timm, False),
    },
}
