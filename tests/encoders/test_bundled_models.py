"""The two bundled models: small, offline, and as good as their cards say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F  # noqa: N812
import yaml
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nlbench

ENCODERS = Path(nlbench.__file__).parent / "encoders"
BUNDLED = ENCODERS / "bundled"
CLIP, GLYPHS = BUNDLED / "clip", BUNDLED / "glyphs"
PROMPTS = yaml.safe_load((ENCODERS / "prompts" / "digits.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def offline() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    data = load_digits()
    pixels = torch.from_numpy(np.rint(data.images * 255 / 16).astype(np.uint8))
    large = F.interpolate(
        pixels[:, None].float() / 255, (32, 32), mode="bicubic", antialias=True, align_corners=False
    )
    return large.clamp(0, 1).expand(-1, 3, -1, -1), torch.from_numpy(data.target).long()


@pytest.fixture(scope="module")
def clip() -> tuple[Any, Any]:
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{CLIP}")
    tokenizer = open_clip.get_tokenizer(
        f"local-dir:{CLIP}", bpe_path=str(CLIP / "bpe_merges.txt.gz")
    )
    return model.eval(), tokenizer


@pytest.fixture(scope="module")
def glyphs() -> Any:
    return timm.create_model(f"local-dir:{GLYPHS}", pretrained=True, num_classes=0).eval()


def card_percent(folder: Path, label: str) -> float:
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    match = re.search(rf"^- {re.escape(label)}: ([\d.]+) %", card, flags=re.MULTILINE)
    assert match is not None, f"{folder.name}/MODEL_CARD.md states no {label!r}"
    return float(match[1])


def normalise(images: torch.Tensor, config: dict[str, Any]) -> torch.Tensor:
    mean, std = (torch.tensor(config[key])[None, :, None, None] for key in ("mean", "std"))
    return (images - mean) / std


@pytest.fixture(scope="module")
def image_embeddings(
    clip: tuple[Any, Any], digits: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    model, _ = clip
    images = normalise(digits[0], model.visual.preprocess_cfg)
    with torch.no_grad():
        return torch.cat([model.encode_image(part, normalize=True) for part in images.split(256)])


@torch.no_grad()
def zero_shot_percent(
    clip: tuple[Any, Any], embeddings: torch.Tensor, labels: torch.Tensor, prompts: list[list[str]]
) -> float:
    model, tokenizer = clip
    classes = [model.encode_text(tokenizer(group), normalize=True).mean(0) for group in prompts]
    classifier = F.normalize(torch.stack(classes), dim=1)
    return 100 * ((embeddings @ classifier.T).argmax(1) == labels).double().mean().item()


def template_prompts() -> list[list[str]]:
    return [[t.format(word) for t in PROMPTS["templates"]] for word in PROMPTS["class_names"]]


def description_prompts() -> list[list[str]]:
    return [
        [f"a photo of a {word} {text}{PROMPTS['suffix']}" for text in PROMPTS["descriptions"][word]]
        for word in PROMPTS["class_names"]
    ]


def test_both_models_take_at_most_4_mb() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()) <= 4_000_000


def test_the_vocabulary_matches_the_text_tower(clip: tuple[Any, Any]) -> None:
    model, tokenizer = clip
    assert tokenizer.vocab_size == model.token_embedding.num_embeddings == model.vocab_size
    assert tokenizer.context_length == model.context_length


def test_weights_load_in_full_precision(clip: tuple[Any, Any], glyphs: Any) -> None:
    for model in (clip[0], glyphs):
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_prompts_name_every_class_and_fit_the_context(clip: tuple[Any, Any]) -> None:
    _, tokenizer = clip
    assert set(PROMPTS["descriptions"]) == set(PROMPTS["class_names"])
    assert all(5 <= len(texts) <= 8 for texts in PROMPTS["descriptions"].values())
    texts = [text for group in template_prompts() + description_prompts() for text in group]
    longest = max(len(tokenizer.encode(text)) + 2 for text in texts)
    assert longest <= tokenizer.context_length


def test_zero_shot_with_templates_is_as_good_as_the_card_says(
    clip: tuple[Any, Any],
    digits: tuple[torch.Tensor, torch.Tensor],
    image_embeddings: torch.Tensor,
) -> None:
    measured = zero_shot_percent(clip, image_embeddings, digits[1], template_prompts())
    assert measured >= 70
    assert measured == pytest.approx(card_percent(CLIP, "zero-shot accuracy, templates"), abs=0.5)


def test_zero_shot_with_descriptions_is_as_good_as_the_card_says(
    clip: tuple[Any, Any],
    digits: tuple[torch.Tensor, torch.Tensor],
    image_embeddings: torch.Tensor,
) -> None:
    measured = zero_shot_percent(clip, image_embeddings, digits[1], description_prompts())
    card = card_percent(CLIP, "zero-shot accuracy, descriptions")
    assert measured == pytest.approx(card, abs=0.5)


def test_linear_probe_is_as_good_as_the_card_says(
    glyphs: Any, digits: tuple[torch.Tensor, torch.Tensor]
) -> None:
    images, labels = digits
    with torch.no_grad():
        parts = normalise(images, glyphs.pretrained_cfg).split(256)
        features = torch.cat([glyphs(part) for part in parts]).numpy()
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    measured = 100 * cross_val_score(classifier, features, labels.numpy(), cv=folds).mean()
    assert measured == pytest.approx(card_percent(GLYPHS, "linear-probe accuracy"), abs=1.0)


def test_same_images_give_the_same_features(
    clip: tuple[Any, Any], glyphs: Any, digits: tuple[torch.Tensor, torch.Tensor]
) -> None:
    images = digits[0][:32] * 2 - 1
    with torch.no_grad():
        assert torch.equal(clip[0].encode_image(images), clip[0].encode_image(images))
        assert torch.equal(glyphs(images), glyphs(images))
    assert glyphs(images).shape == (32, glyphs.num_features)
