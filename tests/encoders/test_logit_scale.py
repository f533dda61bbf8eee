"""The model's own temperature, from the encoder to the selectors that take one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_encoders import save_clip, save_timm

import nlbench
from nlbench.data.images import TensorImages
from nlbench.encoders.cache import EmbeddingCache
from nlbench.encoders.features import FeatureBank, load_encoder
from nlbench.errors import ConfigError
from nlbench.plugins.registry import get_selector

N, K = 40, 2


def clip_with(folder: Path, scale: float, bias: float | None) -> str:
    """Save a tiny CLIP with this logit scale, and SigLIP's bias where one is given."""
    save_clip(folder)
    weights, config = folder / "open_clip_model.safetensors", folder / "open_clip_config.json"
    values = load_file(weights)
    values["logit_scale"] = torch.tensor(math.log(scale))
    if bias is not None:
        content = json.loads(config.read_text())
        content["model_cfg"]["init_logit_bias"] = -10
        config.write_text(json.dumps(content))
        values["logit_bias"] = torch.tensor(bias)
    save_file(values, weights)
    return f"local-dir:{folder}"


def data(tmp_path: Path, encoder: str) -> nlbench.TrainingData:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (N, 3, 16, 16), generator=generator).to(torch.uint8)
    bank = FeatureBank(
        images=TensorImages(pixels),
        data_key="k",
        data_name="forty",
        rows=torch.arange(N),
        class_names=("cat", "dog"),
        roles={"image-text": encoder, "image": encoder},
        prompts="default",
        device=torch.device("cpu"),
        cache=EmbeddingCache(tmp_path / "cache"),
    )
    kept.append(bank)
    arrays = nlbench.TrainingData.from_arrays(torch.arange(N) % K, K, class_names=("cat", "dog"))
    return replace(arrays, _features=bank.sealed())


kept: list[FeatureBank] = []


@pytest.mark.parametrize("bias", [None, -16.5])
def test_the_encoder_tells_its_scale_and_bias(tmp_path: Path, bias: float | None) -> None:
    name = clip_with(tmp_path / "clip", 37.0, bias)
    expected = pytest.approx((37.0, bias or 0.0))
    assert load_encoder(name).logit_scale() == expected
    assert data(tmp_path, name).logit_scale() == expected
    assert data(tmp_path, name).logit_scale(name) == expected


@pytest.mark.parametrize("selector", ["clip-zero-shot", "clipcleaner"])
def test_temperature_model_is_that_of_the_model(tmp_path: Path, selector: str) -> None:
    seen = data(tmp_path, clip_with(tmp_path / "clip", 37.0, -16.5))
    own, same, other = (
        get_selector(selector, temperature=value).select(seen)  # type: ignore[union-attr]
        for value in ("model", 1 / 37.0, 0.9)
    )
    torch.testing.assert_close(own.score, same.score, rtol=1e-5, atol=1e-6)
    assert torch.equal(own.keep, same.keep)
    assert not torch.allclose(own.score, other.score, atol=1e-3)


def test_a_bias_cancels_in_the_softmax(tmp_path: Path) -> None:
    scores = [
        get_selector("clip-zero-shot", temperature="model")
        .select(data(tmp_path, clip_with(tmp_path / str(bias), 37.0, bias)))  # type: ignore[union-attr]
        .score
        for bias in (None, -16.5)
    ]
    torch.testing.assert_close(scores[0], scores[1])


def test_an_encoder_without_a_scale_says_so(tmp_path: Path) -> None:
    save_timm(tmp_path / "timm")
    with pytest.raises(ConfigError, match=r"no logit scale.*temperature as a number"):
        data(tmp_path, f"local-dir:{tmp_path / 'timm'}").logit_scale()


def test_plain_arrays_say_so() -> None:
    arrays = nlbench.TrainingData.from_arrays([0, 1], 2, embeddings=[[1.0], [2.0]])
    with pytest.raises(ConfigError, match="temperature as a number"):
        arrays.logit_scale()


@pytest.mark.parametrize("value", ["models", 0, -1])
def test_other_temperatures_are_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        get_selector("clip-zero-shot", temperature=value)
