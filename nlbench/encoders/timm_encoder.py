"""timm models by name: ``timm:resnet50.a1_in1k``; pooled features before the classifier."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, get_args

from torch import Tensor, nn

from nlbench.data.images import Filter, Fit, Mode
from nlbench.encoders.base import Encoder
from nlbench.encoders.hub import not_loaded, offline_where_unreachable
from nlbench.encoders.library_warnings import collected_warnings
from nlbench.errors import ConfigError, did_you_mean

# timm's names of what open_clip calls the resize mode.
_MODES: dict[str, Mode] = {"center": "shortest", "squash": "squash", "border": "longest"}


class TimmEncoder(Encoder):
    """A pretrained timm model as timm names it, or local-dir:PATH.

    Filter and way of resizing are the model's own. Its `crop_pct` is not taken: the centre of
    ImageNet's photographs shows the object, but the edges of small images are part of it.
    """

    version: ClassVar[int] = 2

    def __init__(self, argument: str, name: str | None = None) -> None:
        import timm
        from timm.data import resolve_model_data_config

        if not argument.startswith(("hf-hub:", "local-dir:")):
            _check_name(argument)
        try:
            with (
                offline_where_unreachable(argument),
                collected_warnings() as messages,
                _missing_tensors() as missing,
            ):
                model = timm.create_model(
                    argument,
                    pretrained=True,
                    num_classes=0,
                    pretrained_cfg_overlay=_classifier(argument),
                )
            _require_weights(model, missing)
        except Exception as error:  # hub clients raise many types when weights are out of reach
            raise not_loaded(
                argument, name or f"timm:{argument}", error, "config.json beside model.safetensors"
            ) from error
        config = resolve_model_data_config(model)
        super().__init__(
            name=name or f"timm:{argument}",
            model=model,
            input_size=config["input_size"][-1],
            mean=config["mean"],
            std=config["std"],
            fit=_fit(name or f"timm:{argument}", config),
        )
        self.warnings = tuple(messages)

    def forward_images(self, batch: Tensor) -> Tensor:
        """Run the backbone and its pooling."""
        features: Tensor = self.model(batch)
        return features


@contextmanager
def _missing_tensors() -> Iterator[list[str]]:
    """Collect what timm logs of tensors that a checkpoint lacks.

    Where it leaves out the classifier it takes any checkpoint, and says in its log, below the
    level of warnings, which tensors then keep their random start.
    """
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if text.startswith("Missing keys ("):
                found.extend(text.partition("(")[2].partition(")")[0].split(", "))

    logger, collector = logging.getLogger("timm.models._builder"), Collector(logging.INFO)
    level = logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.INFO)
    try:
        yield found
    finally:
        logger.setLevel(level)
        logger.removeHandler(collector)


def _require_weights(model: nn.Module, missing: list[str]) -> None:
    absent = [name for name, _ in model.named_parameters() if name in missing]
    if absent:
        raise RuntimeError(f"the file lacks weights of the model: {', '.join(absent)}")


def _classifier(argument: str) -> dict[str, Any] | None:
    """Return what timm must know of a folder's classifier to leave it out.

    timm drops it only where the configuration names it, which ``{"architecture": ...}`` beside a
    plain state dict does not; the architecture's own configuration does.
    """
    import timm

    if not argument.startswith("local-dir:"):
        return None
    content = json.loads((Path(argument.partition(":")[2]) / "config.json").read_bytes())
    stated = {**content, **content.get("pretrained_cfg", {})}
    usual = timm.get_pretrained_cfg(content["architecture"], allow_unregistered=True)
    classifier = stated.get("classifier") or (usual.classifier if usual else None)
    # The number only has to differ from 0, where the weights have a classifier.
    return {"classifier": classifier, "num_classes": stated.get("num_classes", 1000)}


def _fit(name: str, config: Mapping[str, Any]) -> Fit:
    interpolation, crop = config["interpolation"], config["crop_mode"]
    if interpolation not in get_args(Filter) or crop not in _MODES:
        raise ConfigError(
            f"encoder {name!r} must resize by {' or '.join(get_args(Filter))} interpolation and "
            f"have one of the crop modes {', '.join(_MODES)}, got {interpolation!r}, {crop!r}. "
            "Use another model, or change `interpolation` or `crop_mode` in a local copy."
        )
    return Fit(mode=_MODES[crop], interpolation=interpolation)


def _check_name(argument: str) -> None:
    import timm

    model, _, tag = argument.partition(".")
    models = timm.list_models()
    if model not in models:
        hint = did_you_mean(model, models)
        hint = hint if hint.startswith("Did") else "See `timm.list_models()`."
        raise ConfigError(f"timm has no model {argument!r}. {hint}")
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{model}.*")]
    if tag and tag not in tags:
        raise ConfigError(f"timm's {model!r} has no weights {tag!r}. {did_you_mean(tag, tags)}")
