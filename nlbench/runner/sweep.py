"""A grid of runs: skips what is finished, redoes what was killed, goes on after a failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nlbench import registry
from nlbench.attempt import Progress
from nlbench.cell import Cell, cell_from_before, run_cell
from nlbench.config import RunConfig
from nlbench.errors import ConfigError, PluginError, did_you_mean
from nlbench.jobs import Workers
from nlbench.recipe_files import read_yaml
from nlbench.settings import resolve
from nlbench.store import RunStore
from nlbench.worker import WorkerSetup, hides_warnings

if TYPE_CHECKING:
    from nlbench.tracking import MlflowTracker

log = logging.getLogger("nlbench")

OnStart = Callable[[RunConfig], Progress]


@dataclass(frozen=True)
class SweepPlan:
    """The axes of a grid; empty selectors mean all that are registered.

    Attributes:
        noises: Specs such as ``symmetric:0.4``.
        settings: Further settings of every run, as ``--set`` takes them.
    """

    selectors: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ("digits",)
    noises: tuple[str, ...] = ("symmetric:0.4", "asymmetric:0.4")
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: str | None = None
    trainer: str | None = None
    epochs: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def configs(self, data_dir: Path | None = None) -> list[RunConfig]:
        """Give all cells, validated before the first one runs; all selectors of a seed together.

        Where no selectors are named, bounds are left out of data whose truth nobody knows.
        """
        selectors = self.selectors or usable_selectors()
        grid = product(self.datasets, self.noises, self.seeds, selectors)
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
            for dataset, noise, seed, selector in grid
        ]
        return [cell for cell in cells if self.selectors or not _lacks_truth(cell)]


def _lacks_truth(config: RunConfig) -> bool:
    is_bound = registry.selector_class(config.selector.name).is_bound
    return is_bound and not config.labels_are_clean


def usable_selectors() -> tuple[str, ...]:
    """Give the names of all selectors that can be imported; a broken one is reported."""
    usable = []
    for name in registry.selector_names():
        try:
            registry.selector_class(name)
        except PluginError as error:
            log.warning("left out of the sweep: %s", error)
        else:
            usable.append(name)
    return tuple(usable)


def run_sweep(
    configs: Sequence[RunConfig],
    store: RunStore,
    device: torch.device,
    tracker: MlflowTracker | None,
    data_dir: Path | None = None,
    force: bool = False,
    on_start: OnStart = lambda config: _silent,
    deterministic: bool = False,
    jobs: int = 1,
    tracking_uri: str | None = None,
) -> Generator[Cell, None, None]:
    """Run cell after cell and yield how each ended; an error of one does not stop the others.

    What comes out does not depend on `jobs`, but for the order in which cells end.

    Args:
        configs: The cells.
        store: Where records go.
        device: Where to run; all processes share it.
        tracker: The MLflow store; None logs nothing there.
        data_dir: Where data sets lie.
        force: Run again what is finished.
        on_start: Called with a cell that begins; gives what its progress is told to.
        deterministic: On a GPU, the same bits on every run.
        jobs: Cells to run at once; from 2 on in processes of their own, which are gone when the
            generator is closed.
        tracking_uri: What `tracker` was opened with: such a process opens it for itself.

    Raises:
        ConfigError: if `jobs` is below 1.
        RunError: if no process can be started.
    """
    if jobs < 1:
        raise ConfigError(f"jobs must be a whole number >= 1, got {jobs}.")
    if jobs > 1:
        setup = WorkerSetup(
            home=store.home, device=str(device), n_threads=torch.get_num_threads(),
            data_dir=data_dir, tracking_uri=tracking_uri, tracks=tracker is not None, force=force,
            deterministic=deterministic, plugins=registry.plugin_files(),
            log_level=log.getEffectiveLevel(), hides_warnings=hides_warnings(),
        )  # fmt: skip
        yield from _side_by_side(configs, store, on_start, jobs, setup)
        return
    for config in configs:
        before = None if force else cell_from_before(config, store)
        yield before or run_cell(
            config, store, device, tracker, data_dir, on_start(config), force, deterministic
        )


def _side_by_side(
    configs: Sequence[RunConfig], store: RunStore, on_start: OnStart, jobs: int, setup: WorkerSetup
) -> Generator[Cell, None, None]:
    with Workers(jobs, setup) as workers:
        for config in configs:
            # A cell that the grid names twice is not run twice at once.
            while not workers.has_room or config.fingerprint in workers.under_way:
                yield workers.next_ended()
            before = None if setup.force else cell_from_before(config, store)
            if before is None:
                workers.begin(config, on_start(config))
            else:
                yield before
        while workers.under_way:
            yield workers.next_ended()


def _silent(stage: str, done: int, total: int) -> None:
    pass


def load_plan(path: Path) -> SweepPlan:
    """Read a sweep file: YAML with the fields of `SweepPlan`.

    Raises:
        ConfigError: if a key is unknown or a value has the wrong shape.
    """
    content = read_yaml(path)
    known = list(SweepPlan.__dataclass_fields__)
    for key in content:
        if key not in known:
            raise ConfigError(f"sweep '{path}': unknown key {key!r}. {did_you_mean(key, known)}")
    for axis in ("selectors", "datasets", "noises"):
        if axis in content:
            content[axis] = tuple(_text_list(path, axis, content[axis]))
    if "seeds" in content:
        content["seeds"] = parse_seeds(str(content["seeds"]).strip("[]"))
    settings = content.get("settings", {})
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(f"sweep '{path}': 'settings' must hold key: value pairs, keys text.")
    for key, kind in (("recipe", str), ("trainer", str), ("epochs", int)):
        if key in content and not isinstance(content[key], kind):
            raise ConfigError(f"sweep '{path}': {key!r} must be one {kind.__name__}.")
    return SweepPlan(**content)


def _text_list(path: Path, axis: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value) or not value:
        raise ConfigError(f"sweep '{path}': '{axis}' must be a list of names, got {value!r}.")
    return value


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
        last = int(high) if dash else int(low)
        if last < int(low):
            raise ConfigError(f"seeds must go upwards, got {part!r}.")
        seeds += range(int(low), last + 1)
    return tuple(dict.fromkeys(seeds))
