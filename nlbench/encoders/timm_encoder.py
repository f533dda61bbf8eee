"""timm models by name: ``timm:resnet50.a1_in1k``; pooled features before the classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, get_args

from torch import Tensor

from nlbench.data.images import Filter, Fit, Mode
from nlbench.encoders.base import Encoder
from nlbench.encoders.hub import offline_where_unreachable
from nlbench.encoders.library_warnings import collected_warnings
from nlbench.errors import ConfigError, DataError, did_you_mean

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
            with offline_where_unreachable(argument), collected_warnings() as messages:
                model = timm.create_model(argument, pretrained=True, num_classes=0)
        except Exception as error:  # hub clients raise many types when weights are out of reach
            raise DataError(
                f"weights of encoder 'timm:{argument}' could not be loaded: "
                f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}\n"
                "They are downloaded on first use: run once on a machine with internet, or give a "
                "local copy as `local-dir:PATH` (config.json beside model.safetensors)."
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
