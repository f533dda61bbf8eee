"""From recipe, flags and ``--set`` to one validated configuration.

Precedence, lowest first: the data set's standard recipe, ``--recipe``, flags, ``--set``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nlbench.config.code_versions import code_versions
from nlbench.config.file_hashes import file_hashes
from nlbench.config.methods import (
    check_pair,
    own_trainer,
    refuse_equal_keep,
    split_method,
    with_trainer,
)
from nlbench.config.recipe_files import SECTIONS, load_recipe, merge
from nlbench.config.run_config import (
    DataConfig,
    NoiseConfig,
    ProtocolConfig,
    RunConfig,
    SelectorConfig,
    TrainerConfig,
    protocol_of,
)
from nlbench.config.setting_text import inline_settings, parse_setting
from nlbench.errors import ConfigError, did_you_mean
from nlbench.noise.corrupt import (
    check_options,
    checked_rate,
    label_file_in_use,
    noise_options,
    noise_takes_rate,
)
from nlbench.noise.unknown_truth import refuse_noise
from nlbench.plugins import registry
from nlbench.plugins.registry import make_component

DEFAULT_DATASET = "digits"


def resolve(
    *,
    selector: str | None = None,
    dataset: str | None = None,
    noise: str | None = None,
    noise_rate: float | None = None,
    seed: int | None = None,
    trainer: str | None = None,
    epochs: int | None = None,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data_dir: Path | None = None,
) -> RunConfig:
    """Merge recipe and flags into one validated configuration.

    Args:
        selector: A method: a selector's name, a trainer's for training on everything, or
            ``selector+trainer``; with settings as ``name:key=value,key=value``.
        dataset: Name, or ``folder:PATH``.
        noise: Kind, or ``kind:rate``.
        noise_rate: Nominal rate; given beside a kind without one.
        seed: The run's seed.
        trainer: Name.
        epochs: Shorthand for ``trainer.epochs``.
        recipe: Name or path of a recipe.
        settings: ``{"selector.temperature": 0.01, ...}``; the section may be left out where a
            key is unambiguous.
        data_dir: Folder that contains the data sets; not part of the result.

    Raises:
        ConfigError: if a name, key or value is wrong.
    """
    own = load_recipe(recipe) if recipe else {}
    name, _, argument = (dataset or own.get("dataset") or DEFAULT_DATASET).partition(":")
    merged = merge(load_recipe(_dataset_class(name).recipe), own)
    if argument:
        merged["data"] = {**merged["data"], "path": argument}
    merged["dataset"] = name
    _apply_method(merged, selector, trainer)
    if epochs is not None:
        merged["trainer"]["epochs"] = epochs
    _apply_noise(merged, noise, noise_rate)
    for key, value in (settings or {}).items():
        _assign(merged, key, value)
    return _validated(merged, seed if seed is not None else 0, data_dir)


def _apply_method(merged: dict[str, Any], method: str | None, trainer: str | None) -> None:
    name = (method or merged["selector"]["name"]).partition(":")[0]
    selector, own = split_method(name)
    if selector != merged["selector"].get("name"):
        merged["selector"] = {"name": selector}
    if own and trainer is not None and own != trainer:
        raise ConfigError(
            f"the trainer is given twice, in --selector {name} and as --trainer {trainer}. Leave "
            "one of them out."
        )
    # A recipe's selector was written beside the recipe's trainer.
    brought = own_trainer(selector) if method is not None else ""
    chosen = trainer or own or brought
    if chosen:
        merged["trainer"] = with_trainer(merged["trainer"], chosen)
    for key, values in inline_settings(method or "").items():
        if len(values) > 1:
            raise ConfigError(
                f"a run takes one value of {key!r}, got {len(values)} ({', '.join(values)}). "
                f"`nlbench sweep --selector '{method}'` makes a run for each."
            )
        merged[_home_of(merged, key)][key] = parse_setting(f"{key}={values[0]}")[1]


def _home_of(merged: Mapping[str, Any], key: str) -> str:
    """Return the section of a method's setting: the trainer's where only the trainer has it."""
    valid = valid_keys(merged)
    return "trainer" if key in valid["trainer"] and key not in valid["selector"] else "selector"


def _apply_noise(merged: dict[str, Any], noise: str | None, rate: float | None) -> None:
    kind, _, inline = (noise or merged["noise"]["kind"]).partition(":")
    if kind != merged["noise"]["kind"]:
        merged["noise"] = {"kind": kind, "rate": merged["noise"].get("rate")}
    draw = registry.find("noises", kind).load()
    check_options(kind, draw, [key for key in merged["noise"] if key not in ("kind", "rate")])
    if inline and rate is not None:
        raise ConfigError(
            f"the noise rate is given twice, in --noise {noise} and as --noise-rate {rate:g}. "
            "Leave one of them out."
        )
    asked = inline or rate
    if asked is None and noise_takes_rate(draw):
        # A recipe's rate; it was meant for another noise where this one takes none.
        asked = merged["noise"].get("rate")
    merged["noise"]["rate"] = checked_rate(kind, draw, asked)


def valid_keys(merged: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the settable keys of each section for the components in use."""
    noise = registry.find("noises", merged["noise"]["kind"]).load()
    trainer = registry.find("trainers", merged["trainer"]["name"]).load()
    return {
        "selector": _field_names(registry.selector_class(merged["selector"]["name"])),
        "trainer": _field_names(trainer),
        "protocol": list(ProtocolConfig.model_fields),
        "noise": noise_options(noise),
        "data": _field_names(_dataset_class(merged["dataset"])),
    }


def _assign(merged: dict[str, Any], key: str, value: Any) -> None:
    section, dot, name = key.partition(".")
    valid = valid_keys(merged)
    if dot and section in SECTIONS and name in valid[section]:
        merged[section][name] = _plain(value)
        return
    homes = [s for s in SECTIONS if key in valid[s]]
    if len(homes) == 1:
        merged[homes[0]][key] = _plain(value)
        return
    if homes:
        choices = " or ".join(f"'{s}.{key}'" for s in homes)
        raise ConfigError(f"setting {key!r} is ambiguous: write {choices}.")
    names = [f"{s}.{k}" for s in SECTIONS for k in valid[s]]
    by_last = {k.split(".", 1)[1]: k for k in names}
    hint = did_you_mean(name or key, by_last)
    hint = hint if hint.startswith("Did") else did_you_mean(key, names)
    tail = "" if hint.startswith("Valid") else f" Valid: {', '.join(names)}."
    raise ConfigError(f"unknown setting {key!r}. {hint}{tail}")


def _plain(value: Any) -> Any:
    """Return an array as lists: a configuration is JSON."""
    return value.tolist() if hasattr(value, "tolist") else value


def _validated(merged: Mapping[str, Any], seed: int, data_dir: Path | None) -> RunConfig:
    selector = dict(merged["selector"])
    selector_name = selector.pop("name")
    instance = registry.get_selector(selector_name, **selector)
    trainer = dict(merged["trainer"])
    trainer_name = trainer.pop("name")
    training = make_component("trainers", trainer_name, trainer)
    merged = {**merged, "trainer": {"name": trainer_name, **asdict(training)}}
    noise = dict(merged["noise"])
    source = make_component("datasets", merged["dataset"], merged["data"])
    if not source.labels_are_clean:
        refuse_noise(merged["dataset"], noise["kind"])
    try:
        protocol = protocol_of(merged["protocol"])
        training.check(protocol.image_size)
        check_pair(instance, training, selector_name, trainer_name)
        refuse_equal_keep(instance, selector_name, protocol.equal_keep)
        return RunConfig(
            dataset=DataConfig(
                name=merged["dataset"],
                options=asdict(source),
                content=dict(source.content_key(data_dir)),
            ),
            noise=NoiseConfig(kind=noise.pop("kind"), rate=noise.pop("rate", None), options=noise),
            selector=SelectorConfig(
                name=selector_name,
                params=asdict(instance),  # type: ignore[call-overload]
            ),
            trainer=TrainerConfig(name=trainer_name, params=asdict(training)),
            protocol=protocol,
            seed=seed,
            files=file_hashes(
                merged,
                asdict(instance),  # type: ignore[call-overload]
                label_file_in_use(
                    registry.find("noises", merged["noise"]["kind"]).load(),
                    merged["noise"],
                    source.label_file(data_dir),
                ),
            ),
            versions=code_versions(merged, asdict(instance), protocol),  # type: ignore[call-overload]
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{where}: {first['msg'].lower()}, got {first['input']!r}."
        raise ConfigError(f"setting {message}") from None


def _field_names(cls: type) -> list[str]:
    return [f.name for f in fields(cls)]


def _dataset_class(name: str) -> Any:
    return registry.find("datasets", name).load()
