"""What prompt learning needs of an image-text model; no encoder, no images and no labels in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nlbench.errors import ConfigError


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """Texts as a text tower's tokens.

    Attributes:
        embeddings: (P, L, w) float32, one for each token, padding included.
        ids: (P, L) int64.
        ends: (P,) int64, the token whose output becomes the text's feature; L where the tower
            appends one of its own.
        context: The places left free for a learned context, the same in every text.
    """

    embeddings: Tensor
    ids: Tensor
    ends: Tensor
    context: range

    def with_context(self, context: Tensor) -> Tensor:
        """Return the embeddings with vectors of one's own in the free places.

        Args:
            context: (n, w) for all texts, or (P, n, w) for one each; n as many as were left free.

        Returns:
            (P, L, w), differentiable in `context`.

        Raises:
            ConfigError: if there are not as many free places.
        """
        n_texts, _, width = self.embeddings.shape
        n = len(self.context)
        if tuple(context.shape) not in ((n, width), (n_texts, n, width)):
            raise ConfigError(
                f"`context` must have shape ({n}, {width}) or ({n_texts}, {n}, {width}), got "
                f"{tuple(context.shape)}. Free places come from "
                "`token_embeddings(texts, n_context=...)`."
            )
        start, stop = self.context.start, self.context.stop
        parts = [self.embeddings[:, :start], context.expand(n_texts, n, width)]
        return torch.cat([*parts, self.embeddings[:, stop:]], dim=1)


class PromptModel(Protocol):
    """A frozen image-text model, open at the embeddings of its text tokens."""

    @property
    def width(self) -> int:
        """w, the width of a token embedding."""

    @property
    def context_length(self) -> int:
        """L, tokens of a text, padding included."""

    @property
    def logit_scale(self) -> float:
        """What multiplies cosine similarities in the model's own logits."""

    @property
    def logit_bias(self) -> float:
        """What is added to them; 0 for CLIP, about -16 for SigLIP."""

    def token_embeddings(self, texts: Sequence[str], n_context: int = 0) -> PromptTokens:
        """Return texts as tokens, with `n_context` free places before the first word.

        Raises:
            ConfigError: if a text and its free places are longer than L tokens.
        """

    def encode_tokens(self, embeddings: Tensor, tokens: PromptTokens) -> Tensor:
        """Return unit-norm text features (P, d), differentiable in `embeddings`.

        Args:
            embeddings: (P, L, w), such as `tokens.with_context(...)` returns.
            tokens: Where those texts end.

        Raises:
            ConfigError: if the embeddings are not as many and as wide as the tokens.
        """

    def image_features(self, images: Tensor) -> Tensor:
        """Return unit-norm image features (B, d) of uint8 images (B, 1 or 3, H, W), any size."""
