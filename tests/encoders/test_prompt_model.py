"""Prompt learning: text towers entered behind their token embedding."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from test_encoders import save_clip, save_timm

import nlbench
from nlbench import PromptModel, TrainingData
from nlbench.conformance.reach import path_to_labels
from nlbench.data.images import TensorImages
from nlbench.encoders.cache import EmbeddingCache
from nlbench.encoders.features import FeatureBank, load_encoder
from nlbench.errors import ConfigError

CPU = torch.device("cpu")
TEXTS = ["the digit three", "a photo of the letter q", "Zero!"]
VISION = {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 2}

# What makes a text tower another function of its tokens.
TOWERS: dict[str, dict[str, Any]] = {
    "last token, no mask, as SigLIP's": {"no_causal_mask": True, "pool_type": "last"},
    "projection with a bias": {"proj_bias": True},
    "a token of its own, as CoCa's": {"embed_cls": True},
    "first token": {"pool_type": "first", "no_causal_mask": True},
    "no mask": {"no_causal_mask": True},
}


def save_custom_clip(folder: Path, **text: Any) -> str:
    """Save a tiny CustomTextCLIP with random weights, and return its encoder's name."""
    config = {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": {**TEXT, **text}}
    config["custom_text"] = True
    arguments = {key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.model.CustomTextCLIP(**arguments)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    pixels = {"mean": [0.5] * 3, "std": [0.5] * 3}
    content = {"model_cfg": config, "preprocess_cfg": pixels}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return f"local-dir:{folder}"


def data_of(tmp_path: Path, encoder: str = "bundled-clip", n: int = 12) -> TrainingData:
    pixels = torch.randint(
        0, 256, (n, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    bank = FeatureBank(
        images=TensorImages(pixels),
        data_key="k",
        data_name="a few",
        rows=torch.arange(n),
        class_names=("one", "two"),
        roles={"image-text": encoder, "image": encoder},
        prompts="default",
        device=CPU,
        cache=EmbeddingCache(tmp_path / "cache"),
    )
    kept.append(bank)
    arrays = TrainingData.from_arrays(
        torch.arange(n) % 2, 2, class_names=("one", "two"), images=pixels
    )
    return replace(arrays, _features=bank.sealed())


kept: list[FeatureBank] = []


def assert_is_the_encoder(name: str) -> None:
    """Unmodified tokens give the features of the encoder; other ones do not."""
    encoder = load_encoder(name)
    model = encoder.prompt_model(CPU)
    tokens = model.token_embeddings(TEXTS)
    features = model.encode_tokens(tokens.embeddings, tokens)
    torch.testing.assert_close(features, encoder.encode_text(TEXTS), atol=1e-6, rtol=0)
    norms = torch.linalg.vector_norm(features, dim=1)
    torch.testing.assert_close(norms, torch.ones(len(TEXTS)))
    moved = model.encode_tokens(tokens.embeddings.flip(2), tokens)
    assert (moved - features).abs().max() > 1e-3
    # And the shared encoder is as before: nothing was left hooked in.
    torch.testing.assert_close(encoder.encode_text(TEXTS), features, atol=1e-6, rtol=0)


@pytest.mark.parametrize("tower", TOWERS)
def test_tokens_as_they_are_give_the_features_of_a_custom_text_tower(
    tower: str, tmp_path: Path
) -> None:
    name = save_custom_clip(tmp_path, **TOWERS[tower])
    assert type(load_encoder(name).model).__name__ == "CustomTextCLIP"
    assert_is_the_encoder(name)


def test_tokens_as_they_are_give_the_features_of_the_bundled_clip() -> None:
    assert_is_the_encoder("bundled-clip")


def test_tokens_as_they_are_give_the_features_of_a_clip_from_a_folder(tmp_path: Path) -> None:
    save_clip(tmp_path)
    assert_is_the_encoder(f"local-dir:{tmp_path}")


def test_ends_are_the_tokens_that_texts_end_with() -> None:
    model = load_encoder("bundled-clip").prompt_model(CPU)
    tokens = model.token_embeddings(TEXTS)
    for text, ids, end in zip(TEXTS, tokens.ids, tokens.ends, strict=True):
        assert int(ids[end]) == int(ids.max()), text
        assert ids[end + 1 :].tolist() == [0] * (model.context_length - 1 - int(end))
    # Nothing behind the end is looked at.
    behind = tokens.embeddings.clone()
    behind[:, int(tokens.ends.max()) + 1 :] = 7
    same = model.encode_tokens(behind, tokens)
    torch.testing.assert_close(same, model.encode_tokens(tokens.embeddings, tokens))


def test_free_places_are_before_the_words_and_behind_the_start() -> None:
    model = load_encoder("bundled-clip").prompt_model(CPU)
    plain, free = model.token_embeddings(TEXTS), model.token_embeddings(TEXTS, n_context=4)
    assert free.context == range(1, 5)
    assert torch.equal(free.ids[:, 0], plain.ids[:, 0])
    assert torch.equal(free.ids[:, 5:], plain.ids[:, 1:-4])
    assert torch.equal(free.ends, plain.ends + 4)
    context = torch.arange(4.0)[:, None].expand(4, model.width)
    filled = free.with_context(context)
    assert torch.equal(filled[:, 1:5], context.expand(3, -1, -1))
    assert torch.equal(filled[:, 5:], free.embeddings[:, 5:])
    own = torch.stack([context, context + 10, context + 20])
    assert torch.equal(free.with_context(own)[:, 1:5], own)


def test_a_tokenizer_without_a_start_token_leaves_the_first_places_free() -> None:
    """As SigLIP's: the words, one end token, padding."""

    def tokenize(texts: list[str], context_length: int) -> torch.Tensor:
        rows = [[*(300 + len(word) for word in text.split()), 913] for text in texts]
        padded = [(row + [0] * context_length)[:context_length] for row in rows]
        return torch.tensor(padded)

    model: Any = replace(load_encoder("bundled-clip").prompt_model(CPU), _tokenize=tokenize)
    tokens = model.token_embeddings(["some words"], n_context=3)
    assert tokens.context == range(3)
    assert tokens.ids[0, :6].tolist() == [301, 301, 301, 304, 305, 913]


def test_a_context_is_learned_by_gradient(tmp_path: Path) -> None:
    """Four tokens shared by two classes, full batches: the loss falls."""
    data = data_of(tmp_path)
    model = data.prompt_model()
    images = model.image_features(data.images(torch.arange(data.n_samples)))
    tokens = model.token_embeddings(["the digit one.", "the digit two."], n_context=4)
    context = (0.02 * torch.randn(4, model.width, generator=data.generator("c"))).requires_grad_()
    optimizer = torch.optim.SGD([context], lr=0.5)
    losses = []
    for _ in range(15):
        texts = model.encode_tokens(tokens.with_context(context), tokens)
        logits = model.logit_scale * images @ texts.T + model.logit_bias
        loss = torch.nn.functional.cross_entropy(logits, data.noisy_labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.01
    assert losses[1:5] == sorted(losses[1:5], reverse=True)


def test_weights_get_no_gradient(tmp_path: Path) -> None:
    model: Any = data_of(tmp_path).prompt_model()
    tokens = model.token_embeddings(TEXTS)
    start = tokens.embeddings.clone().requires_grad_()
    model.encode_tokens(start, tokens).sum().backward()
    assert start.grad is not None
    assert bool((start.grad[:, 1] != 0).any())
    assert all(weights.grad is None for weights in model._model.parameters())


def test_a_gradient_passes_a_tower_whose_weights_moved_in_inference_mode() -> None:
    """Embedding images moves a model in inference mode, and its weights cannot be saved then."""
    encoder = load_encoder("bundled-clip")
    fresh: Any = type(encoder).__new__(type(encoder))
    fresh.__dict__.update(encoder.__dict__)
    with torch.inference_mode():
        fresh.model = encoder.in_precision("bfloat16").model.float()
    assert any(weights.is_inference() for weights in fresh.model.parameters())
    model = fresh.prompt_model(CPU)
    tokens = model.token_embeddings(TEXTS)
    start = tokens.embeddings.clone().requires_grad_()
    model.encode_tokens(start, tokens).sum().backward()
    assert start.grad is not None


def test_images_and_logits_are_those_of_the_encoder(tmp_path: Path) -> None:
    data = data_of(tmp_path)
    model = data.prompt_model("image-text")
    features = model.image_features(data.images(torch.arange(data.n_samples)))
    torch.testing.assert_close(features, data.embeddings(), atol=1e-5, rtol=0)
    assert not features.is_inference()
    assert (model.logit_scale, model.logit_bias) == data.logit_scale()
    small = model.image_features(torch.zeros(2, 1, 5, 5, dtype=torch.uint8))
    assert small.shape == (2, features.shape[1])


def test_the_model_is_frozen_and_leads_to_no_data(tmp_path: Path) -> None:
    data = data_of(tmp_path)
    model: PromptModel = data.prompt_model()
    with pytest.raises(FrozenInstanceError):
        model.width = 3  # type: ignore[misc]
    pixels = torch.arange(12)  # where the bank's rows lead
    assert path_to_labels(model, pixels, pixels.flip(0)) is None
    assert path_to_labels({"model": model, "rows": pixels}, pixels, pixels.flip(0)) is not None


# What cannot be done ------------------------------------------------------------------------------


def test_an_image_encoder_says_what_would_work(tmp_path: Path) -> None:
    save_timm(tmp_path)
    data = data_of(tmp_path, f"local-dir:{tmp_path}")
    with pytest.raises(ConfigError, match=r"'local-dir:.*' has no text tower.*'bundled-clip'"):
        data.prompt_model()


def test_a_tower_of_another_library_is_refused_by_name() -> None:
    encoder: Any = load_encoder("bundled-clip")
    foreign: Any = type(encoder).__new__(type(encoder))
    foreign.__dict__.update(encoder.__dict__, name="open_clip:roberta/x", model=torch.nn.Module())
    foreign.model.text = torch.nn.Linear(2, 2)
    with pytest.raises(
        ConfigError, match=r"'open_clip:roberta/x' must have a text tower of open_clip's own"
    ):
        foreign.prompt_model(CPU)


def test_plain_arrays_refuse() -> None:
    data = TrainingData.from_arrays([0, 1], 2, embeddings=torch.eye(2))
    with pytest.raises(ConfigError, match=r"without their model, so prompts cannot be learned"):
        data.prompt_model()


def test_a_text_that_does_not_fit_is_refused_and_not_cut(tmp_path: Path) -> None:
    model = data_of(tmp_path).prompt_model()
    room = model.context_length - 3  # start, end and one word
    model.token_embeddings(["x"], n_context=room)
    with pytest.raises(ConfigError, match=r"at most 32 tokens for encoder 'bundled-clip', free"):
        model.token_embeddings(["x"], n_context=room + 1)


@pytest.mark.parametrize(("texts", "n_context"), [([], 0), (["a"], -1)])
def test_no_texts_and_negative_places_are_refused(
    texts: list[str], n_context: int, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="`texts` must not be empty and `n_context` must be"):
        data_of(tmp_path).prompt_model().token_embeddings(texts, n_context)


def test_shapes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = data_of(tmp_path).prompt_model()
    tokens = model.token_embeddings(TEXTS, n_context=2)
    with pytest.raises(ConfigError, match=r"`embeddings` must have shape \(3, 32, 96\)"):
        model.encode_tokens(tokens.embeddings[:2], tokens)
    with pytest.raises(ConfigError, match=r"`context` must have shape \(2, 96\) or \(3, 2, 96\)"):
        tokens.with_context(torch.zeros(3, 96))


def test_the_public_names_are_those_that_selectors_annotate_with() -> None:
    assert nlbench.PromptModel is PromptModel
    assert {"PromptModel", "PromptTokens"} <= set(nlbench.__all__)
