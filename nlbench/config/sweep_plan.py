"""The grid of a sweep: its axes, from flags or from a file, and the cells they span."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from nlbench.config.recipe_files import read_yaml
from nlbench.config.resolve import DEFAULT_DATASET, resolve
from nlbench.config.run_config import RunConfig
from nlbench.config.setting_text import inline_settings
from nlbench.errors import ConfigError, PluginError, did_you_mean
from nlbench.plugins import registry

log = logging.getLogger("nlbench")

DEFAULT_NOISES = ("symmetric:0.4", "asymmetric:0.4")


@dataclass(frozen=True)
class SweepPlan:
    """The axes of a grid.

    Attributes:
        selectors: Methods such as ``my-idea:k=5,10``, which spans two of them; empty for all that
            are registered.
        datasets: Names, or ``folder:PATH``; empty for that of the recipe, without one for digits.
        noises: Specs such as ``symmetric:0.4``; empty for that of the recipe, without one for
            symmetric and asymmetric noise of 40 %.
        settings: Further settings of every run, as ``--set`` takes them.
    """

    selectors: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    noises: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: str | None = None
    trainer: str | None = None
    epochs: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def boards(self) -> list[tuple[str | None, str | None]]:
        """Data set and noise of each board; None for what the recipe says."""
        datasets: Sequence[str | None] = self.datasets or (None,)
        noises: Sequence[str | None] = self.noises or (None,)
        if self.recipe is None:
            datasets, noises = self.datasets or (DEFAULT_DATASET,), self.noises or DEFAULT_NOISES
        return list(product(datasets, noises))

    def configs(self, data_dir: Path | None = None) -> list[RunConfig]:
        """Return all cells, validated before the first one runs; all selectors of a seed together.

        Where no selectors are named, bounds are left out of data whose truth nobody knows.
        """
        selectors = spanned(self.selectors) or usable_methods()
        grid = product(self.boards, self.seeds, selectors)
        cells = [
            resolve(
                selector=selector,
                dataset=dataset,
                noise=noise,
                seed=seed,
                trainer=self.trainer,
                epochs=self.epochs,
                recipe=self.recipe,
                settings=self.settings,
                data_dir=data_dir,
            )
            for (dataset, noise), seed, selector in grid
        ]
        return [cell for cell in cells if self.selectors or not _lacks_truth(cell)]


def shard_of(cells: Sequence[RunConfig], text: str) -> list[RunConfig]:
    """Return one part of a grid: ``2/8`` is every eighth cell from the second on.

    The parts of a grid share no cell and together are all of it; sizes differ by one at most, and
    a part of a small grid may be empty.

    Raises:
        ConfigError: if the text is not I/N with 1 <= I <= N.
    """
    number, slash, count = text.replace(" ", "").partition("/")
    if not (slash and _is_number(number) and _is_number(count) and 1 <= int(number) <= int(count)):
        raise ConfigError(
            f"--shard must be I/N with 1 <= I <= N, got {text!r}. For eight parts give 1/8 to 8/8."
        )
    return list(cells[int(number) - 1 :: int(count)])


def spanned(specs: Sequence[str]) -> tuple[str, ...]:
    """Return selectors with one value for each setting: the product of the values of each spec.

    >>> spanned(["none", "my-idea:k=5,10,share=0.5"])
    ('none', 'my-idea:k=5,share=0.5', 'my-idea:k=10,share=0.5')
    """
    points = []
    for spec in specs:
        settings = inline_settings(spec)
        for values in product(*settings.values()):
            pairs = (f"{key}={value}" for key, value in zip(settings, values, strict=True))
            name = spec.partition(":")[0]
            points.append(f"{name}:{','.join(pairs)}" if settings else spec)
    return tuple(dict.fromkeys(points))


def _lacks_truth(config: RunConfig) -> bool:
    is_bound = registry.selector_class(config.selector.name).is_bound
    return is_bound and not config.labels_are_clean


def usable_methods() -> tuple[str, ...]:
    """Return the names of all methods that can be imported; a broken one is reported.

    These are all selectors, each with the trainer that it brings or the standard one, and the
    trainers that are a method by themselves, trained on everything.
    """
    usable = [name for name in registry.selector_names() if _loads("selectors", name)]
    trainers = [name for name, each in registry.components("trainers").items() if not each.problem]
    losses = [name for name in trainers if name not in usable and _is_method(name)]
    return (*usable, *losses)


def _is_method(trainer: str) -> bool:
    return _loads("trainers", trainer) and registry.find("trainers", trainer).load().is_method


def _loads(kind: registry.Kind, name: str) -> bool:
    try:
        registry.find(kind, name).load()
    except PluginError as error:
        log.warning("left out of the sweep: %s", error)
        return False
    return True


def load_plan(path: Path) -> SweepPlan:
    """Read a sweep file: YAML with the fields of `SweepPlan`.

    Raises:
        ConfigError: if a key is unknown or a value has the wrong shape.
    """
    content = read_yaml(path)
    axes = list(SweepPlan.__dataclass_fields__)
    for key in content:
        if key not in axes:
            raise ConfigError(f"sweep '{path}': unknown key {key!r}. {did_you_mean(key, axes)}")
    for axis in ("selectors", "datasets", "noises"):
        if axis in content:
            content[axis] = tuple(_text_list(path, axis, content[axis]))
    if "seeds" in content:
        content["seeds"] = parse_seeds(str(content["seeds"]).strip("[]"))
    settings = content.get("settings", {})
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(
            f"sweep '{path}': 'settings' must contain key: value pairs, keys as text."
        )
    for key, kind in (("recipe", str), ("trainer", str), ("epochs", int)):
        if key in content and not isinstance(content[key], kind):
            raise ConfigError(f"sweep '{path}': {key!r} must be one {kind.__name__}.")
    return SweepPlan(**content)


def _text_list(path: Path, axis: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value) or not value:
        raise ConfigError(f"sweep '{path}': '{axis}' must be a list of names, got {value!r}.")
    return value


_MOST_SEEDS = 10_000


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read seeds such as ``0-2`` or ``0,3,7-9``.

    Raises:
        ConfigError: if a part is not a number or a range.

    >>> parse_seeds("0-2,5")
    (0, 1, 2, 5)
    """
    seeds: list[int] = []
    for part in text.replace(" ", "").split(","):
        low, dash, high = part.partition("-")
        if not _is_number(low) or (dash and not _is_number(high)):
            raise ConfigError(f"seeds must be like 0-2 or 0,3,7, got {text!r}.")
        if max(len(low), len(high)) > len(str(2**63)):
            raise ConfigError(f"seeds must be below 2^63, got {part:.60}.")
        last = int(high) if dash else int(low)
        if last < int(low):
            raise ConfigError(f"seeds must go upwards, got {part!r}.")
        if last - int(low) >= _MOST_SEEDS:
            raise ConfigError(f"seeds must be at most {_MOST_SEEDS} in one range, got {part!r}.")
        seeds += range(int(low), last + 1)
    return tuple(dict.fromkeys(seeds))
