"""A planted image-text model: the feature of a text is the mean of its tokens' embeddings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from nlbench.errors import ConfigError
from nlbench.seeds import derive_seed
from nlbench.selector import PromptTokens

# Neither is what a selector may take for granted: CLIP has 100 and 0, SigLIP about 110 and -16.
LOGIT_SCALE, LOGIT_BIAS = 15.0, -4.0
_CONTEXT_LENGTH = 32
# Class names decide, as a text's words do in CLIP; their embeddings have length 1.
_WORD_LENGTH = 0.1
_PADDING, _START, _PLACEHOLDER, _FIRST_WORD, _END = 0, 1, 2, 3, 2**31
# In grey values: two images that differ as planted ones do share nothing.
_BANDWIDTH = 4.0


@dataclass(frozen=True, eq=False)
class PlantedPrompts:
    """A `PromptModel` on planted data; it contains no labels.

    Start, words, end, padding, as CLIP has them. A class name is one token, whatever words are in
    it, and its embedding is the mean of the class's planted text embeddings. An image's feature is
    the mean of the planted images' embeddings, by Gaussian weights of the distance in grey values:
    of a planted image its own embedding, of another one that of what looks like it.
    """

    names: Mapping[str, Tensor] = field(repr=False)
    images: Tensor = field(repr=False)
    embeddings: Tensor = field(repr=False)
    logit_scale: float = LOGIT_SCALE
    logit_bias: float = LOGIT_BIAS
    context_length: int = _CONTEXT_LENGTH

    @property
    def width(self) -> int:
        """w, that of the features."""
        return self.embeddings.shape[1]

    def token_embeddings(self, texts: Sequence[str], n_context: int = 0) -> PromptTokens:
        """Return texts as tokens, with free places before the first word."""
        if n_context < 0 or not texts:
            raise ConfigError(
                "`texts` must not be empty and `n_context` must be at least 0, got "
                f"{len(texts)} texts and {n_context}."
            )
        device = self.embeddings.device
        ids = torch.full((len(texts), self.context_length), _PADDING, device=device)
        embeddings = torch.zeros(*ids.shape, self.width, device=device)
        ends = torch.zeros(len(texts), dtype=torch.int64, device=device)
        for row, text in enumerate(texts):
            words = self._words(text)
            end = 1 + n_context + len(words)
            if end >= self.context_length:
                raise ConfigError(
                    f"a text must have at most {self.context_length} tokens, free places included, "
                    f"got {text[:80]!r}. Use a shorter text or fewer free places."
                )
            ids[row, 0], ids[row, end], ends[row] = _START, _END, end
            ids[row, 1 : 1 + n_context] = _PLACEHOLDER
            for place, word in enumerate(words, start=1 + n_context):
                ids[row, place] = _word_id(word)
                embeddings[row, place] = self._embedding(word)
        return PromptTokens(embeddings, ids, ends, range(1, 1 + n_context))

    def encode_tokens(self, embeddings: Tensor, tokens: PromptTokens) -> Tensor:
        """Return unit-norm text features (P, d), differentiable in `embeddings`."""
        if embeddings.shape != (*tokens.ids.shape, self.width):
            raise ConfigError(
                f"`embeddings` must have shape {(*tokens.ids.shape, self.width)}, one for each "
                f"token, got {tuple(embeddings.shape)}. Start from `tokens.embeddings`."
            )
        places = torch.arange(embeddings.shape[1], device=embeddings.device)
        is_text = (places[None] <= tokens.ends[:, None]).to(embeddings.dtype)
        sums = (embeddings * is_text[:, :, None]).sum(dim=1)
        return normalize(sums / is_text.sum(dim=1, keepdim=True), dim=1)

    @torch.no_grad()
    def image_features(self, images: Tensor) -> Tensor:
        """Return unit-norm image features (B, d)."""
        pixels = images.to(self.embeddings.device).double()
        if pixels.shape[-2:] != self.images.shape[-2:]:
            pixels = interpolate(pixels, self.images.shape[-2:], mode="bilinear", antialias=True)
        known = self.images.double().flatten(1)
        distances = torch.cdist(pixels.expand(-1, self.images.shape[1], -1, -1).flatten(1), known)
        weights = torch.softmax(-((distances / _BANDWIDTH) ** 2) / (2 * known.shape[1]), dim=1)
        return normalize((weights @ self.embeddings.double()).float(), dim=1)

    def _words(self, text: str) -> list[str]:
        names = sorted(self.names, key=lambda name: (-len(name), name))
        whole = "|".join(rf"\b{re.escape(name)}\b" for name in names)
        return re.findall(rf"{whole}|\w+|[^\w\s]", text.lower())

    def _embedding(self, word: str) -> Tensor:
        if word in self.names:
            return self.names[word]
        drawn = np.random.default_rng(derive_seed("planted word", word, 0))
        row = torch.from_numpy(drawn.standard_normal(self.width)).float()
        return _WORD_LENGTH * normalize(row, dim=0).to(self.embeddings.device)


def _word_id(word: str) -> int:
    return _FIRST_WORD + derive_seed("planted token", word, 0) % (_END - _FIRST_WORD)
