"""Measure the bundled models on scikit-learn's handwritten digits and write it to their cards.

This is the only maintainer script that loads handwritten digits. It trains nothing that ships and
chooses nothing: `python tools/bundled_models/evaluate_bundled_models.py`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import captions
import numpy as np
import open_clip
import timm
import torch
import torch.nn.functional as F  # noqa: N812
from augment_glyphs import enlarge
from model_cards import replace_section
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ENCODERS = Path(__file__).resolve().parents[2] / "nlbench" / "encoders"
COMMAND = "python tools/bundled_models/evaluate_bundled_models.py"
UNSEEN_TEMPLATES = (
    "a bad sketch of the {}",
    "{} written on a cheque",
    "a toddler's attempt at a {} in crayon",
)


def main() -> None:
    """Measures both models and rewrites the `measured` section of their cards."""
    parser = argparse.ArgumentParser(description="Measure the bundled models on real digits.")
    parser.add_argument("--bundled", type=Path, default=ENCODERS / "bundled")
    bundled = parser.parse_args().bundled
    images, labels = digits_images()
    for name, measure in (("clip", clip_report), ("glyphs", glyphs_report)):
        report = measure(bundled / name, images, labels)
        print(f"{name}\n{report}")
        replace_section(bundled / name / "MODEL_CARD.md", "measured", report)


def digits_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Gives all 1797 digits as (N, 3, 32, 32) in model units, prepared as nlbench does it."""
    digits = load_digits()
    pixels = torch.from_numpy(np.rint(digits.images * 255 / 16).astype(np.uint8))
    images = (enlarge(pixels[:, None].float() / 255) - 0.5) / 0.5
    return images[:, None].expand(-1, 3, -1, -1), torch.from_numpy(digits.target).long()


@torch.no_grad()
def clip_report(folder: Path, images: torch.Tensor, labels: torch.Tensor) -> str:
    """Gives the zero-shot numbers of the image-text model as Markdown lines."""
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    merges = str(folder / "bpe_merges.txt.gz")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}", bpe_path=merges)
    prompts = captions.load_prompts(ENCODERS / "prompts" / "digits.yaml")
    features = model.encode_image(images, normalize=True)
    templates = [[t.format(w) for t in prompts["templates"]] for w in prompts["class_names"]]
    shapes = [
        [f"a photo of a {w} {text}{prompts['suffix']}" for text in prompts["descriptions"][w]]
        for w in prompts["class_names"]
    ]
    lines = []
    for title, texts in (("templates", templates), ("descriptions", shapes)):
        encoded = [model.encode_text(tokenizer(group), normalize=True) for group in texts]
        classifier = F.normalize(torch.stack([group.mean(0) for group in encoded]), dim=1)
        cosines = features @ classifier.T
        lines.append(f"- zero-shot accuracy, {title}: {percent(cosines.argmax(1), labels)} %")
        for temperature in (0.07, 0.01):
            share = mean_of_softmaxes(features, encoded, temperature)
            lines.append(
                f"- {title}, mean over prompts of softmax at temperature {temperature}: "
                f"{percent(share.argmax(1), labels)} %, mean probability of the right class "
                f"{share[torch.arange(len(labels)), labels].mean():.3f}"
            )
        if title == "templates":
            lines += error_lines(cosines.argmax(1), labels)
    lines.append(unseen_templates_line(model, tokenizer, features, labels, prompts))
    lines.append(f"- learned logit scale: {model.logit_scale.exp().item():.1f}")
    return "\n".join([f"`{COMMAND}`, 1797 digits:\n", *lines])


def unseen_templates_line(
    model: Any,
    tokenizer: Any,
    features: torch.Tensor,
    labels: torch.Tensor,
    prompts: captions.Prompts,
) -> str:
    """Gives zero-shot accuracy with templates that no training caption used."""
    accuracies = []
    for template in UNSEEN_TEMPLATES:
        texts = tokenizer([template.format(word) for word in prompts["class_names"]])
        predicted = (features @ model.encode_text(texts, normalize=True).T).argmax(1)
        accuracies.append(percent(predicted, labels))
    quoted = "; ".join(
        f'"{template}" {accuracy} %'
        for template, accuracy in zip(UNSEEN_TEMPLATES, accuracies, strict=True)
    )
    return f"- templates that training never saw: {quoted}"


def mean_of_softmaxes(
    features: torch.Tensor, encoded: list[torch.Tensor], temperature: float
) -> torch.Tensor:
    """Averages class probabilities over prompts: the j-th of each class compete, shorter lists
    start again from the front. Gives (N, K)."""
    rounds = max(len(group) for group in encoded)
    shares = []
    for j in range(rounds):
        texts = torch.stack([group[j % len(group)] for group in encoded])
        shares.append((features @ texts.T / temperature).softmax(1))
    return torch.stack(shares).mean(0)


def error_lines(predicted: torch.Tensor, labels: torch.Tensor) -> list[str]:
    """Gives accuracy per digit and the five commonest confusions."""
    recalls = [(predicted[labels == k] == k).float().mean().item() for k in range(10)]
    pairs = Counter(
        (t, p) for t, p in zip(labels.tolist(), predicted.tolist(), strict=True) if t != p
    )
    confusions = ", ".join(f"{t} read as {p} ({n})" for (t, p), n in pairs.most_common(5))
    per_digit = ", ".join(f"{k}: {100 * recall:.0f}" for k, recall in enumerate(recalls))
    return [f"- accuracy per digit in %: {per_digit}", f"- commonest errors: {confusions}"]


@torch.no_grad()
def glyphs_report(folder: Path, images: torch.Tensor, labels: torch.Tensor) -> str:
    """Gives the linear-probe accuracy of the letters backbone, and of raw pixels beside it."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    features = model(images).numpy()
    pixels = F.adaptive_avg_pool2d(images[:, 0], 8).flatten(1).numpy()
    return "\n".join(
        [
            f"`{COMMAND}`, 1797 digits:\n",
            f"- linear-probe accuracy: {probe(features, labels)} %",
            f"- the same probe on the 64 raw pixels: {probe(pixels, labels)} %",
            "- probe: standardised features, logistic regression (C = 1), 5 stratified folds "
            "shuffled with seed 0",
        ]
    )


def probe(features: Any, labels: torch.Tensor) -> str:
    """Gives the cross-validated accuracy of a linear classifier in percent."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return f"{100 * cross_val_score(classifier, features, labels.numpy(), cv=folds).mean():.1f}"


def percent(predicted: torch.Tensor, labels: torch.Tensor) -> str:
    """Gives an accuracy in percent with one decimal."""
    return f"{100 * (predicted == labels).float().mean().item():.1f}"


if __name__ == "__main__":
    main()
