"""A recipe with every setting filled in, and where each value comes from."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import yaml

from nlbench.config.recipe_files import SECTIONS, Layer, load_recipe, merge, recipe_layers
from nlbench.config.run_config import ProtocolConfig
from nlbench.noise.corrupt import noise_options, noise_takes_rate
from nlbench.plugins.registry import find, make_component

_WIDTH = 52
_DEFAULT = "default"


def recipe_text(name: str) -> str:
    """Return the resolved recipe as YAML that is itself a recipe; comments name the sources.

    Raises:
        ConfigError: if the recipe is missing, or a name or value in it is wrong.
    """
    own = recipe_layers(name)
    dataset = load_recipe(name).get("dataset", "digits")
    layers = list({layer.name: layer for layer in [*_standard(dataset), *own]}.values())
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer.content)
    lines = [*own[-1].head, *(_origin(layer) for layer in layers)]
    lines += [f"# {_DEFAULT}: the component's own", ""]
    lines += _pairs(merged, ("summary", "source", "dataset"))
    for section, values in _resolved(merged).items():
        lines += [f"{section}:"] if values else []
        for key, value in values.items():
            is_set = key in merged[section]
            lines.append(_line(section, key, value, layers if is_set else []))
    return "\n".join(lines)


def _origin(layer: Layer) -> str:
    return f"# {layer.name}: values from {layer.content.get('source', 'no source stated')}"


def _standard(dataset: str) -> list[Layer]:
    """Return the recipe that every run on the data set starts from."""
    return recipe_layers(find("datasets", dataset).load().recipe)


def _resolved(merged: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return all settings of all sections, the defaults filled in."""
    resolved: dict[str, dict[str, Any]] = {}
    for section in ("selector", "trainer"):
        params = dict(merged[section])
        name = params.pop("name")
        made = make_component("selectors" if section == "selector" else "trainers", name, params)
        resolved[section] = {"name": name, **asdict(made)}
        if section == "trainer":
            made.check(ProtocolConfig(**merged["protocol"]).image_size)
    resolved["protocol"] = ProtocolConfig(**merged["protocol"]).model_dump()
    draw = find("noises", merged["noise"]["kind"]).load()
    defaults = inspect.signature(draw).parameters
    options = {key: defaults[key].default for key in noise_options(draw)}
    empty = (None, inspect.Parameter.empty)
    preset = {key: value for key, value in options.items() if value not in empty}
    resolved["noise"] = {"kind": merged["noise"]["kind"], **preset, **merged["noise"]}
    if not noise_takes_rate(draw):
        resolved["noise"].pop("rate", None)
    resolved["data"] = asdict(make_component("datasets", merged["dataset"], merged["data"]))
    return {section: resolved[section] for section in SECTIONS}


def _line(section: str, key: str, value: Any, layers: list[Layer]) -> str:
    setter = next((x for x in reversed(layers) if key in x.content.get(section, {})), None)
    source, note = _DEFAULT, ""
    if setter is not None:
        source, note = setter.name, setter.comments.get((section, key), "")
    comment = f"{source}: {note}" if note else source
    return f"{f'  {key}: {_text(value)}':<{_WIDTH}}  # {comment}"


def _pairs(content: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[str]:
    yield from (f"{key}: {_text(content[key])}" for key in keys if key in content)


def _text(value: Any) -> str:
    """Return a value on one line, as YAML reads it back."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()
