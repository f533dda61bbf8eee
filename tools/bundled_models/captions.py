"""Captions for rendered glyphs, and the small byte-pair vocabulary made from them."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

DIGITS = "0123456789"
# Letters that look like a digit once their size is normalised (O, l, I, Z, S, b, q, ...) would
# teach that a ring is half a zero, so the image-text model never sees them.
LETTERS = "ACDEFHJKLMNPQRTUVWXYadefhkmnprtuwxy"
SIGNS = {
    "+": "plus sign",
    "#": "hash sign",
    "%": "percent sign",
    "&": "ampersand",
    "?": "question mark",
    "@": "at sign",
    "=": "equals sign",
    "<": "less than sign",
}
CHARACTERS = DIGITS + LETTERS + "".join(SIGNS)

DIGIT_TEMPLATES = (
    "a photo of the digit {}.",
    "a photo of the digit {}",
    "a photo of the number {}.",
    "a photo of the number {}",
    "a photo of a {}.",
    "a photo of a {}",
    "a photo of {}.",
    'a photo of the number: "{}".',
    "a handwritten digit {}",
    "a handwritten digit {}.",
    "a handwritten {}",
    "a scan of a handwritten {}.",
    "an image of the digit {}",
    "an image of {}.",
    "the number {}",
    "the digit {}",
    "{}",
    "{}.",
    '"{}"',
    "a blurry photo of the digit {}.",
    "a low resolution photo of a {}.",
    "a black and white photo of a {}.",
    "a printed {}.",
)
OTHER_TEMPLATES = ("a photo of the {}.", "the {}", "a handwritten {}.", '"{}"', "an image of a {}.")

Prompts = dict[str, Any]


def load_prompts(path: Path) -> Prompts:
    """Reads the prompts file of the digits data set."""
    with path.open(encoding="utf-8") as file:
        prompts: Prompts = yaml.safe_load(file)
    return prompts


def concept_of(character: str) -> str:
    """Gives the text concept of a character; upper and lower case share one."""
    return character.lower()


def captions_of(concept: str, prompts: Prompts) -> list[str]:
    """Gives every caption that may describe a concept."""
    if concept not in DIGITS:
        name = SIGNS.get(concept, f"letter {concept}")
        captions = [template.format(name) for template in OTHER_TEMPLATES]
        return [*captions, f'"{concept}"', f"the character {concept}"]
    word = prompts["class_names"][int(concept)]
    templates = [*DIGIT_TEMPLATES, *prompts["templates"]]
    return [template.format(name) for template in templates for name in (word, concept)]


def described(concept: str, prompts: Prompts) -> list[str]:
    """Gives the captions of a digit that say what it looks like, with and without the suffix."""
    word = prompts["class_names"][int(concept)]
    plain = [f"a photo of a {word} {text}" for text in prompts["descriptions"][word]]
    return plain + [caption + prompts["suffix"] for caption in plain]


def draw_caption(concept: str, prompts: Prompts, rng: random.Random) -> str:
    """Draws a caption: a digit is described by its shape half of the time."""
    if concept in DIGITS and rng.random() < 0.5:
        return rng.choice(described(concept, prompts))
    return rng.choice(captions_of(concept, prompts))


def corpus(prompts: Prompts) -> list[str]:
    """Gives every caption of every concept."""
    concepts = sorted({concept_of(character) for character in CHARACTERS})
    texts = [text for concept in concepts for text in captions_of(concept, prompts)]
    return texts + [text for digit in DIGITS for text in described(digit, prompts)]


def learn_merges(texts: list[str], n_merges: int) -> list[tuple[str, str]]:
    """Learns byte-pair merges on lower-case ASCII words, most frequent pair first.

    Source: Sennrich et al., "Neural machine translation of rare words with subword units", 2016.
    """
    words: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        for word in "".join(c if c.isalpha() else " " for c in text.lower()).split():
            words[(*word[:-1], word[-1] + "</w>")] += 1
    merges: list[tuple[str, str]] = []
    while len(merges) < n_merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for symbols, count in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = _apply_merge(words, best)
    return merges


def _apply_merge(
    words: Counter[tuple[str, ...]], pair: tuple[str, str]
) -> Counter[tuple[str, ...]]:
    merged: Counter[tuple[str, ...]] = Counter()
    for word, count in words.items():
        symbols: list[str] = []
        for symbol in word:
            if symbols and (symbols[-1], symbol) == pair:
                symbols[-1] += symbol
            else:
                symbols.append(symbol)
        merged[tuple(symbols)] += count
    return merged


def write_merges(merges: list[tuple[str, str]], path: Path) -> None:
    """Writes a merges file that open_clip's SimpleTokenizer reads.

    The reader drops the first line and would take a final newline for an empty merge. The gzip
    header holds no time stamp, so equal merges give equal bytes.
    """
    lines = ["# byte-pair merges of the caption corpus in tools/bundled_models/captions.py"]
    text = "\n".join([*lines, *(" ".join(pair) for pair in merges)])
    path.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
