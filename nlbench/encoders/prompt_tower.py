"""open_clip's own text towers, entered behind their token embedding: for prompt learning."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nlbench.encoders.base import Encoder
from nlbench.errors import ConfigError
from nlbench.selector import PromptTokens

# One token of any vocabulary; its embedding is what a learned context replaces.
_PLACEHOLDER = "x"


@dataclass(frozen=True, eq=False)
class TowerPrompts:
    """A `PromptModel` of an open_clip model whose text tower is open_clip's own.

    The tower is the library's, run as it is: a hook on its token embedding puts other embeddings
    in. So masks, pooling and projection are those that the weights were trained with.
    """

    encoder: Encoder = field(repr=False)
    device: torch.device
    width: int
    context_length: int
    logit_scale: float
    logit_bias: float
    _model: nn.Module = field(repr=False)
    _embedding: nn.Embedding = field(repr=False)
    _tokenize: Callable[..., Tensor] = field(repr=False)

    def token_embeddings(self, texts: Sequence[str], n_context: int = 0) -> PromptTokens:
        """Return texts as tokens, with free places before the first word."""
        if n_context < 0 or not texts:
            raise ConfigError(
                "`texts` must not be empty and `n_context` must be at least 0, got "
                f"{len(texts)} texts and {n_context}."
            )
        ids = self._ids([f"{_PLACEHOLDER} " * n_context + text for text in texts])
        # A start token, where the tokenizer has one, stays in front.
        pair = self._ids([f"{_PLACEHOLDER} {_PLACEHOLDER}"])[0]
        start = 0 if int(pair[0]) == int(pair[1]) else 1
        with torch.no_grad():
            embeddings = self._embedding(ids).float()
        return PromptTokens(embeddings, ids, self._ends(ids), range(start, start + n_context))

    def encode_tokens(self, embeddings: Tensor, tokens: PromptTokens) -> Tensor:
        """Return unit-norm text features (P, d), differentiable in `embeddings`."""
        if embeddings.shape != (*tokens.ids.shape, self.width):
            raise ConfigError(
                f"`embeddings` must have shape {(*tokens.ids.shape, self.width)}, one for each "
                f"token, got {tuple(embeddings.shape)}. Start from `tokens.embeddings`."
            )
        hook = self._embedding.register_forward_hook(lambda *_: embeddings)
        try:
            features = self._model.encode_text(tokens.ids)  # type: ignore[operator]
        finally:
            hook.remove()
        return nn.functional.normalize(features.float(), dim=1)

    def image_features(self, images: Tensor) -> Tensor:
        """Return unit-norm image features (B, d)."""
        # A copy: what comes out of inference mode cannot take part in a gradient.
        return self.encoder.encode_images(images, self.device).clone()

    def _ids(self, texts: Sequence[str]) -> Tensor:
        ids = self._tokenize(list(texts), context_length=self.context_length)
        # What does not fit is cut off without a word: with more room nothing may change.
        roomy = self._tokenize(list(texts), context_length=2 * self.context_length)
        too_long = (roomy[:, : self.context_length] != ids).any(dim=1)
        if bool(too_long.any()):
            text = texts[int(too_long.int().argmax())]
            raise ConfigError(
                f"a text must have at most {self.context_length} tokens for encoder "
                f"{self.encoder.name!r}, free places included, got {text[:80]!r}. Use a shorter "
                "text or fewer free places."
            )
        return ids.to(self.device)

    def _ends(self, ids: Tensor) -> Tensor:
        from open_clip.transformer import text_global_pool

        tower = getattr(self._model, "text", self._model)
        if getattr(tower, "cls_emb", None) is not None:
            return torch.full_like(ids[:, 0], ids.shape[1])
        places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        kind = getattr(tower, "pool_type", None) or tower.text_pool_type
        eos = getattr(tower, "eos_id", getattr(tower, "text_eos_id", None))
        ends: Tensor = text_global_pool(places, ids, kind, eos_token_id=eos)
        return ends


def tower_prompts(
    encoder: Encoder, tokenize: Callable[..., Tensor], device: torch.device
) -> TowerPrompts:
    """Return an open_clip encoder's text tower for prompt learning.

    Raises:
        ConfigError: if its text tower is not open_clip's own.
    """
    model = encoder.model
    tower = getattr(model, "text", model)
    if not isinstance(getattr(tower, "token_embedding", None), nn.Embedding):
        raise ConfigError(
            f"encoder {encoder.name!r} must have a text tower of open_clip's own for prompt "
            f"learning, got {type(tower).__name__}. Use a model that has one, such as "
            "'bundled-clip' or 'open_clip:ViT-B-32/openai'."
        )
    # A copy without the image tower: hooks and inference mode never touch the shared weights, of
    # which embedding may have made tensors without gradients.
    alone = copy.deepcopy(model, {id(model.visual): nn.Identity()}).to(device)
    embedding: nn.Embedding = getattr(alone, "text", alone).token_embedding  # type: ignore[assignment]
    scale, bias = encoder.logit_scale()
    length: int = alone.context_length  # type: ignore[assignment]
    return TowerPrompts(
        encoder, device, embedding.embedding_dim, length, scale, bias, alone, embedding, tokenize
    )
