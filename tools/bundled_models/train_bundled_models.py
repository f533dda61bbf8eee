"""Train the two tiny models that nlbench ships, on glyphs rendered from fonts only.

No handwritten digit is loaded here: hyper-parameters were chosen on held-out font families, and
tools/bundled_models/evaluate_bundled_models.py measures real digits once the files are written.

Fonts: those that matplotlib ships and the Debian 12 packages listed in font_packages.txt.

    sh tools/bundled_models/fetch_fonts.sh build/fonts
    python tools/bundled_models/train_bundled_models.py clip --fonts build/fonts
    python tools/bundled_models/train_bundled_models.py glyphs --fonts build/fonts
    python tools/bundled_models/evaluate_bundled_models.py
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import captions
import open_clip
import timm
import torch
import torch.nn.functional as F  # noqa: N812
from augment_glyphs import IMAGE_SIDE, cosine, draw_batch
from model_cards import replace_section
from render_glyphs import Font, GlyphBank, find_fonts, fonts_digest, render_bank, split_families
from safetensors.torch import save_file
from torch import nn

ENCODERS = Path(__file__).resolve().parents[2] / "nlbench" / "encoders"
PROMPTS = ENCODERS / "prompts" / "digits.yaml"
MEAN, STD = 0.5, 0.5
N_MERGES = 400
N_HELD_OUT = 2048
DIGIT_SHARE = 0.65  # of the images that the image-text model sees

# The backbone learns the Latin, Greek and Cyrillic letters and no digit.
LATIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
GREEK = "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθλμξπρστφχψω"
CYRILLIC = "БГДЖЗИЙЛПФЦЧШЩЪЫЬЭЮЯбвджзийклмнптфцчшщъыьэюя"

CLIP_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {
            "timm_model_name": "test_resnet",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": IMAGE_SIDE,
        },
        "text_cfg": {
            "context_length": 32,
            "vocab_size": 0,  # set once the merges are learned
            "width": 96,
            "heads": 4,
            "layers": 2,
        },
    },
    "preprocess_cfg": {
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}


def main() -> None:
    """Trains one model and writes its folder."""
    parser = argparse.ArgumentParser(description="Train a bundled model on rendered glyphs.")
    parser.add_argument("model", choices=["clip", "glyphs"])
    parser.add_argument("--fonts", type=Path, help="folder made by fetch_fonts.sh")
    parser.add_argument("--out", type=Path, default=ENCODERS / "bundled")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    fonts = find_fonts(args.fonts)
    folder = args.out / args.model
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    train = train_clip if args.model == "clip" else train_glyphs
    accuracy = train(fonts, folder, args)
    print(f"held-out fonts: {accuracy:.4f}")
    facts = training_facts(fonts, args, time.perf_counter() - start, accuracy)
    replace_section(folder / "MODEL_CARD.md", "trained", facts)


def train_clip(fonts: Sequence[Font], folder: Path, args: argparse.Namespace) -> float:
    """Trains and saves the image-text model; gives its held-out zero-shot accuracy on digits."""
    prompts = captions.load_prompts(PROMPTS)
    merges_file = folder / "bpe_merges.txt.gz"
    merges = captions.learn_merges(captions.corpus(prompts), N_MERGES)
    captions.write_merges(merges, merges_file)
    text_cfg = CLIP_CONFIG["model_cfg"]["text_cfg"]
    tokenizer = open_clip.SimpleTokenizer(
        str(merges_file), context_length=text_cfg["context_length"]
    )
    text_cfg["vocab_size"] = tokenizer.vocab_size
    (folder / "open_clip_config.json").write_text(json.dumps(CLIP_CONFIG, indent=2) + "\n")
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    train_fonts, held_out = split_families(fonts)
    bank = balance(render_bank(train_fonts, captions.CHARACTERS), captions.DIGITS, DIGIT_SHARE)
    concepts = sorted({captions.concept_of(c) for c in captions.CHARACTERS})
    rng = random.Random(args.seed)  # noqa: S311

    def loss(images: torch.Tensor, characters: list[str]) -> torch.Tensor:
        labels = torch.tensor([concepts.index(captions.concept_of(c)) for c in characters])
        drawn = [c for c in concepts for _ in range(4 if c in captions.DIGITS else 1)]
        texts = tokenizer([captions.draw_caption(c, prompts, rng) for c in drawn])
        text_labels = torch.tensor([concepts.index(c) for c in drawn])
        image_features, text_features, scale = model(images, texts)
        logits = scale.clamp(max=100.0) * image_features @ text_features.T
        return contrastive_loss(logits, labels, text_labels)

    optimise(model, bank, loss, args)
    save_half(model, folder / "open_clip_model.safetensors")
    return held_out_zero_shot(model, tokenizer, render_bank(held_out, captions.DIGITS), prompts)


def train_glyphs(fonts: Sequence[Font], folder: Path, args: argparse.Namespace) -> float:
    """Trains and saves the letters backbone; gives its accuracy on held-out fonts."""
    letters = LATIN + GREEK + CYRILLIC
    train_fonts, held_out = split_families(fonts)
    model = timm.create_model("test_resnet", num_classes=len(letters))
    bank = balance(render_bank(train_fonts, letters), LATIN, 0.6)

    def loss(images: torch.Tensor, characters: list[str]) -> torch.Tensor:
        labels = torch.tensor([letters.index(c) for c in characters])
        return F.cross_entropy(model(images), labels, label_smoothing=0.1)

    optimise(model, bank, loss, args)
    save_half(model, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(timm_config(len(letters)), indent=2) + "\n")
    images, characters = draw_fixed(render_bank(held_out, LATIN))
    truth = torch.tensor([letters.index(c) for c in characters])
    return share_correct(model.eval()(images), truth)


def optimise(
    model: nn.Module,
    bank: GlyphBank,
    loss: Callable[[torch.Tensor, list[str]], torch.Tensor],
    args: argparse.Namespace,
) -> None:
    """Takes `args.steps` AdamW steps on the loss of freshly drawn batches."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: cosine(s, args.steps))
    generator = torch.Generator().manual_seed(args.seed)
    model.train()
    for step in range(args.steps):
        images, characters = draw_normalised(bank, args.batch_size, generator)
        optimiser.zero_grad(set_to_none=True)
        loss(images, characters).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1} of {args.steps}", flush=True)


def draw_normalised(
    bank: GlyphBank, n: int, generator: torch.Generator
) -> tuple[torch.Tensor, list[str]]:
    """Draws n augmented images (n, 3, 32, 32) in model units, with their characters."""
    index = torch.multinomial(bank.weights, n, replacement=True, generator=generator)
    images = (draw_batch(bank.maps[index], generator) - MEAN) / STD
    return images[:, None].expand(-1, 3, -1, -1), [bank.characters[i] for i in index.tolist()]


def draw_fixed(bank: GlyphBank) -> tuple[torch.Tensor, list[str]]:
    """Draws the same held-out images in every run."""
    generator = torch.Generator().manual_seed(1234)
    batches = [draw_normalised(bank, 256, generator) for _ in range(N_HELD_OUT // 256)]
    return torch.cat([b[0] for b in batches]), [c for b in batches for c in b[1]]


def balance(bank: GlyphBank, favoured: str, share: float) -> GlyphBank:
    """Gives every favoured character the same weight, `share` in sum, and the others the rest."""
    totals: dict[str, float] = {}
    for character, weight in zip(bank.characters, bank.weights.tolist(), strict=True):
        totals[character] = totals.get(character, 0.0) + weight
    n_favoured = sum(character in favoured for character in totals)
    shares = {
        c: share / n_favoured if c in favoured else (1 - share) / (len(totals) - n_favoured)
        for c in totals
    }
    factors = torch.tensor([shares[c] / totals[c] for c in bank.characters])
    return GlyphBank(bank.maps, bank.characters, bank.weights * factors)


def contrastive_loss(
    logits: torch.Tensor, image_labels: torch.Tensor, text_labels: torch.Tensor
) -> torch.Tensor:
    """Gives the symmetric contrastive loss where all pairs of one concept are positive.

    Source: Yang et al., "Unified contrastive learning in image-text-label space", CVPR 2022.
    """
    positive = (image_labels[:, None] == text_labels[None]).float()
    seen = positive.sum(0) > 0
    to_text = positive / positive.sum(1, keepdim=True)
    to_image = (positive / positive.sum(0, keepdim=True).clamp(min=1))[:, seen]
    return (F.cross_entropy(logits, to_text) + F.cross_entropy(logits.T[seen], to_image.T)) / 2


@torch.no_grad()
def held_out_zero_shot(
    model: Any, tokenizer: Any, bank: GlyphBank, prompts: captions.Prompts
) -> float:
    """Gives the zero-shot accuracy with the templates on digits of held-out fonts."""
    model.eval()
    texts = [
        model.encode_text(tokenizer([t.format(w) for t in prompts["templates"]]), normalize=True)
        for w in prompts["class_names"]
    ]
    classifier = F.normalize(torch.stack([t.mean(0) for t in texts]), dim=1)
    images, characters = draw_fixed(bank)
    truth = torch.tensor([int(c) for c in characters])
    return share_correct(model.encode_image(images, normalize=True) @ classifier.T, truth)


def share_correct(logits: torch.Tensor, truth: torch.Tensor) -> float:
    """Gives the share of rows whose largest logit is the truth."""
    return (logits.argmax(1) == truth).float().mean().item()


def save_half(model: nn.Module, path: Path) -> None:
    """Saves the weights in half precision; integer buffers stay as they are."""
    state = model.state_dict()
    save_file(
        {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()},
        path,
        metadata={"format": "pt"},
    )
    path.chmod(0o644)


def timm_config(n_classes: int) -> dict[str, Any]:
    """Gives the config.json that timm's `local-dir:` reads."""
    return {
        "architecture": "test_resnet",
        "num_classes": n_classes,
        "num_features": 96,
        "pretrained_cfg": {
            "tag": "nlbench_glyphs",
            "input_size": [3, IMAGE_SIDE, IMAGE_SIDE],
            "pool_size": [1, 1],
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "num_classes": n_classes,
            "first_conv": "conv1.0",
            "classifier": "fc",
            "license": "mit",
        },
    }


def training_facts(
    fonts: Sequence[Font], args: argparse.Namespace, seconds: float, accuracy: float
) -> str:
    """Gives the lines of the model card that say how the files came about."""
    train_fonts, held_out = split_families(fonts)
    fonts_option = " --fonts build/fonts" if args.fonts else ""
    options = f"--steps {args.steps} --batch-size {args.batch_size} --lr {args.lr}"
    command = (
        f"python tools/bundled_models/train_bundled_models.py {args.model}{fonts_option} {options}"
    )
    return "\n".join(
        [
            f"- command: `{command} --seed {args.seed} --threads {args.threads}`",
            f"- torch {torch.__version__}, timm {timm.__version__}, "
            f"open_clip {open_clip.__version__}; {seconds / 60:.0f} minutes on "
            f"{args.threads} CPU thread(s)",
            f"- {len(train_fonts)} font files of {len({f.family for f in train_fonts})} families "
            f"for training, {len(held_out)} of {len({f.family for f in held_out})} held out",
            f"- SHA-256 over all font files: `{fonts_digest(fonts)}`",
            f"- accuracy on held-out font families: {100 * accuracy:.1f} %",
        ]
    )


if __name__ == "__main__":
    main()
