"""open_clip models by name and pretrained tag: ``open_clip:ViT-B-32/openai``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlbench.encoders.base import Encoder
from nlbench.encoders.hub import offline_where_unreachable
from nlbench.errors import ConfigError, DataError, did_you_mean

BPE_FILE = "bpe_merges.txt.gz"
_STOCK_VOCABULARY = 49408


class OpenClipEncoder(Encoder):
    """An open_clip model, MODEL/TAG as open_clip lists them, or hf-hub:ORG/REPO."""

    version: ClassVar[int] = 1

    def __init__(self, argument: str, name: str | None = None) -> None:
        import open_clip

        model_name, tag = _split(argument)
        try:
            with offline_where_unreachable(model_name):
                model, _ = open_clip.create_model_from_pretrained(model_name, pretrained=tag)
                tokenizer = open_clip.get_tokenizer(model_name, **_tokenizer_file(model_name))
        except Exception as error:  # hub clients raise many types when weights are out of reach
            raise DataError(
                f"weights of encoder 'open_clip:{argument}' could not be loaded: "
                f"{type(error).__name__}: {_first_line(error)}\nThey are downloaded on first use: "
                "run once on a machine with internet, or give a local copy as "
                "`local-dir:PATH` (open_clip_config.json beside the weights)."
            ) from error
        config = open_clip.get_model_preprocess_cfg(model)
        size = config["size"]
        super().__init__(
            name=name or f"open_clip:{argument}",
            model=model,
            input_size=size if isinstance(size, int) else size[0],
            mean=config["mean"],
            std=config["std"],
        )
        self._tokenizer = tokenizer

    def forward_images(self, batch: Tensor) -> Tensor:
        """Run the image tower."""
        features: Tensor = self.model.encode_image(batch)  # type: ignore[operator]
        return features

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Return unit-norm text embeddings (P, d) on the model's device."""
        device = next(self.model.parameters()).device
        tokens = self._tokenizer(list(texts)).to(device)
        features = self.model.encode_text(tokens)  # type: ignore[operator]
        return nn.functional.normalize(features.float(), dim=1)


def _split(argument: str) -> tuple[str, str | None]:
    """Return open_clip's model name and pretrained tag; checked where names are closed sets."""
    import open_clip

    if argument.startswith(("hf-hub:", "local-dir:")):
        return argument, None
    model_name, _, tag = argument.partition("/")
    known = open_clip.list_models()
    if model_name not in known:
        raise ConfigError(
            f"open_clip has no model {model_name!r}. {did_you_mean(model_name, known)[:200]}"
        )
    tags = open_clip.list_pretrained_tags_by_model(model_name)
    if tag not in tags:
        raise ConfigError(
            f"open_clip's {model_name!r} has no weights {tag!r}: write "
            f"open_clip:{model_name}/TAG. {did_you_mean(tag, tags)}"
        )
    return model_name, tag


def _tokenizer_file(model_name: str) -> dict[str, Any]:
    """Return a BPE file of the model's own, where a local folder or a hub repository brings one."""
    if model_name.startswith("local-dir:"):
        file = Path(model_name.removeprefix("local-dir:")) / BPE_FILE
        return {"bpe_path": str(file)} if file.is_file() else {}
    if model_name.startswith("hf-hub:") and _has_small_vocabulary(model_name):
        from huggingface_hub import hf_hub_download

        return {"bpe_path": hf_hub_download(model_name.removeprefix("hf-hub:"), BPE_FILE)}
    return {}


def _has_small_vocabulary(model_name: str) -> bool:
    """Return whether open_clip's stock tokenizer would give tokens that the model does not have."""
    import open_clip

    text = open_clip.get_model_config(model_name).get("text_cfg", {})
    n_tokens: int = text.get("vocab_size", _STOCK_VOCABULARY)
    return not text.get("hf_tokenizer_name") and n_tokens < _STOCK_VOCABULARY


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
