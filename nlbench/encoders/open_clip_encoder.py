"""open_clip models by name and pretrained tag: ``open_clip:ViT-B-32/openai``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlbench.data.images import Fit
from nlbench.encoders.base import Encoder
from nlbench.encoders.hub import not_loaded, offline_where_unreachable
from nlbench.encoders.library_warnings import collected_warnings
from nlbench.encoders.prompt_tower import tower_prompts
from nlbench.errors import ConfigError, did_you_mean
from nlbench.selector import PromptModel

BPE_FILE = "bpe_merges.txt.gz"
_STOCK_VOCABULARY = 49408


class OpenClipEncoder(Encoder):
    """An open_clip model, MODEL/TAG as open_clip lists them, or hf-hub:ORG/REPO.

    Activation, normalisation, filter and way of resizing are those that the tag's or repository's
    own configuration names: they are what the weights were trained with.
    """

    version: ClassVar[int] = 2

    def __init__(self, argument: str, name: str | None = None) -> None:
        import open_clip

        full_name = name or f"open_clip:{argument}"
        model_name, tag = _split(argument)
        try:
            with offline_where_unreachable(model_name), collected_warnings() as messages:
                _require_tokenizer(full_name, open_clip.get_model_config(model_name))
                model, _ = open_clip.create_model_from_pretrained(
                    model_name, pretrained=tag, force_quick_gelu=_has_quick_gelu(model_name, tag)
                )
                tokenizer = open_clip.get_tokenizer(model_name, **_tokenizer_file(model_name))
        except ConfigError:
            raise
        except Exception as error:  # hub clients raise many types when weights are out of reach
            layout = "open_clip_config.json beside the weights"
            raise not_loaded(model_name, full_name, error, layout) from error
        config = open_clip.get_model_preprocess_cfg(model)
        super().__init__(
            name=full_name,
            model=model,
            input_size=_side(full_name, config["size"]),
            mean=config["mean"],
            std=config["std"],
            fit=_fit(config),
        )
        self.warnings = tuple(messages)
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

    def logit_scale(self) -> tuple[float, float]:
        """Return the scale and bias that the model learned; a model without a bias has 0."""
        bias = getattr(self.model, "logit_bias", None)
        scale = self.model.logit_scale.exp()  # type: ignore[operator]
        return float(scale), 0.0 if bias is None else float(bias)

    def prompt_model(self, device: torch.device) -> PromptModel:
        """Return the text tower, open at its token embeddings, and the image tower."""
        return tower_prompts(self, self._tokenizer, device)


def _has_quick_gelu(model_name: str, tag: str | None) -> bool:
    """Return whether a tag's weights were trained with QuickGELU.

    The model's name does not tell: ``ViT-B-32`` says GELU, its tag ``openai`` QuickGELU. Where the
    tag says nothing (``roberta-ViT-B-32``), and for folders and hub repositories, the model's
    configuration does.
    """
    import open_clip

    config = {} if tag is None else open_clip.get_pretrained_cfg(model_name, tag)
    return bool(config.get("quick_gelu", False))


def _fit(config: Mapping[str, Any]) -> Fit:
    # open_clip's third filter, "random", is bicubic outside training.
    is_bilinear = config.get("interpolation") == "bilinear"
    return Fit(
        mode=config.get("resize_mode") or "shortest",
        interpolation="bilinear" if is_bilinear else "bicubic",
        fill=config.get("fill_color") or 0,
    )


def _side(name: str, size: int | Sequence[int]) -> int:
    sides = (size,) if isinstance(size, int) else tuple(size)
    if len(set(sides)) != 1:
        raise ConfigError(
            f"encoder {name!r} must take square images, got {sides[0]} x {sides[1]}. "
            "Use a model with a square input."
        )
    return sides[0]


def _require_tokenizer(name: str, config: Mapping[str, Any]) -> None:
    """Refuse, before anything is downloaded, a model whose text needs a package that is missing."""
    text = config.get("text_cfg", {})
    from_hub = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    if from_hub and find_spec("transformers") is None:
        raise ConfigError(
            f"encoder {name!r} must have the package `transformers`: it reads text with a "
            f"tokenizer of Hugging Face ({from_hub}). Install it: pip install 'nlbench[siglip]'."
        )


def _split(argument: str) -> tuple[str, str | None]:
    """Return open_clip's model name and pretrained tag; checked where names are closed sets."""
    import open_clip

    if argument.startswith(("hf-hub:", "local-dir:")):
        return argument, None
    model_name, _, tag = argument.partition("/")
    models = open_clip.list_models()
    if model_name not in models:
        raise ConfigError(
            f"open_clip has no model {model_name!r}. {did_you_mean(model_name, models)[:200]}"
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
