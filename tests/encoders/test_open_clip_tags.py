"""Every pair of model and tag that open_clip lists is built as the tag's configuration says.

The networks are open_clip's own with one narrow layer each; weights are not loaded.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import open_clip
import pytest
import torch

from nlbench.encoders import hub, open_clip_encoder
from nlbench.encoders.open_clip_encoder import OpenClipEncoder
from nlbench.errors import ConfigError

PAIRS = open_clip.list_pretrained()
WIDTH, HEAD_WIDTH = 64, 8
# Its tag says nothing of the activation, open_clip's model configuration says QuickGELU: the
# weights came together with that configuration.
SILENT = {("roberta-ViT-B-32", "laion2b_s12b_b32k")}


def narrow(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with one layer where it had many; what is not about size stays."""
    small = {**deepcopy(config), "embed_dim": WIDTH}
    vision, text = small["vision_cfg"], small["text_cfg"]
    of_resnet = isinstance(vision.get("layers"), list)
    vision |= {"width": WIDTH, "head_width": HEAD_WIDTH, "layers": [1] * 4 if of_resnet else 1}
    for part in (text, small.get("multimodal_cfg", {})):
        part |= {"width": WIDTH, "heads": WIDTH // HEAD_WIDTH, "layers": 1}
    text["vocab_size"] = 64
    return small


class Tower(torch.nn.Module):
    """Stands in for a tower of timm or Hugging Face, whose activation is not open_clip's."""

    vocab_size, context_length = 64, 77

    def __init__(self, name: str, *args: Any, image_size: int = 0, **settings: Any) -> None:
        super().__init__()
        self.image_size = image_size


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that builds an encoder without its weights."""
    from open_clip import factory, model

    real = open_clip.get_model_config
    monkeypatch.setattr(hub, "_answers", lambda endpoint: False)
    monkeypatch.setattr(open_clip_encoder, "find_spec", lambda name: object())
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda name, **settings: None)
    monkeypatch.setattr(factory, "get_model_config", lambda name: narrow(real(name)))
    monkeypatch.setattr(factory, "download_pretrained", lambda config, **settings: "weights.pt")
    monkeypatch.setattr(factory, "load_checkpoint", lambda *args, **settings: None)
    monkeypatch.setattr(model, "TimmModel", Tower)
    monkeypatch.setattr(model, "HFTextEncoder", Tower)
    return lambda name, tag: OpenClipEncoder(f"{name}/{tag}")


def towers_of_open_clip(name: str) -> bool:
    """Return whether a tower's activation is open_clip's to choose."""
    config = open_clip.get_model_config(name)
    of_timm = "timm_model_name" in config["vision_cfg"]
    return not (of_timm and "hf_model_name" in config["text_cfg"])


def test_every_tag_is_built_as_its_configuration_says(built: Any) -> None:
    assert len(PAIRS) > 150
    wrong = []
    for name, tag in PAIRS:
        encoder, config = built(name, tag), open_clip.get_pretrained_cfg(name, tag)
        model_config = open_clip.get_model_config(name)
        quick = config.get("quick_gelu", model_config.get("quick_gelu", False))
        size = model_config["vision_cfg"].get("image_size", 224)
        expected = {
            "activation": {"QuickGELU" if quick else "GELU"}
            if towers_of_open_clip(name)
            else set(),
            "size": size,
            "mean": tuple(config["mean"]),
            "std": tuple(config["std"]),
            "interpolation": config["interpolation"],
            "mode": config["resize_mode"],
            "warned": (name, tag) in SILENT,
        }
        kinds = {type(module).__name__ for module in encoder.model.modules()}
        got = {
            "activation": kinds & {"GELU", "QuickGELU"},
            "size": encoder.input_size,
            "mean": encoder.mean,
            "std": encoder.std,
            "interpolation": encoder.fit.interpolation,
            "mode": encoder.fit.mode,
            "warned": any("QuickGELU mismatch" in text for text in encoder.warnings),
        }
        wrong += [(name, tag, key, got[key]) for key in expected if got[key] != expected[key]]
    assert wrong == []


def test_the_two_names_of_the_same_weights_are_the_same_encoder(built: Any) -> None:
    plain, quick = (built(name, "openai") for name in ("ViT-B-32", "ViT-B-32-quickgelu"))
    other = built("ViT-B-32", "laion2b_s34b_b79k")
    assert plain.activations == quick.activations == "QuickGELU"
    assert other.activations == "GELU"
    assert plain.preprocessing == quick.preprocessing


def test_ways_of_resizing_are_told_apart_in_the_cache(built: Any) -> None:
    squash, cut = built("ViT-B-16-SigLIP", "webli"), built("ViT-B-16", "laion2b_s34b_b88k")
    assert (squash.fit.mode, cut.fit.mode) == ("squash", "shortest")
    assert '"mode": "squash"' in squash.preprocessing
    assert '"mode": "shortest"' in cut.preprocessing


@pytest.mark.parametrize(
    ("name", "tag"),
    [("ViT-B-16-SigLIP", "webli"), ("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k")],
)
def test_a_tokenizer_of_hugging_face_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, tag: str
) -> None:
    def downloaded(*args: Any, **settings: Any) -> None:
        pytest.fail("weights were asked for before it was known whether they are of use")

    monkeypatch.setattr(hub, "_answers", lambda endpoint: False)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", downloaded)
    monkeypatch.setattr(open_clip_encoder, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'nlbench\[siglip\]'") as caught:
        OpenClipEncoder(f"{name}/{tag}")
    assert "transformers" in str(caught.value)
    assert "internet" not in str(caught.value)
