"""Methods: pairs of a selector and a trainer, and their names.

A method that only selects has its selector's name: it trains with the data set's standard trainer.
One that is a loss trains on everything and has its trainer's name. Any other pair is written
``selector+trainer``. A selector may bring the trainer that its paper trains with
(`Selector.trainer`), and keeps its name then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from nlbench.errors import ConfigError, did_you_mean
from nlbench.plugins import registry
from nlbench.plugins.declarations import check_declarations, check_trainer_exists

EVERYTHING = "none"  # the selector that keeps all
# Steps, network and augmentation: what is the same for all methods of a board.
SHARED_SETTINGS = (
    "epochs", "batch_size", "network", "augmentation", "input_size", "resized_crop",
)  # fmt: skip


def split_method(name: str) -> tuple[str, str]:
    """Return selector and trainer of a method's name; no trainer where the selector decides it.

    Raises:
        ConfigError: if there is neither a selector nor a trainer of that name.
    """
    selectors, trainers = registry.components("selectors"), registry.components("trainers")
    selector, plus, trainer = name.partition("+")
    if plus:
        registry.find("selectors", selector)
        registry.find("trainers", trainer)
        return selector, trainer
    if name in selectors:
        return name, ""
    if name in trainers:
        return EVERYTHING, name
    usable = [n for n, c in {**selectors, **trainers}.items() if not c.problem]
    raise ConfigError(
        f"unknown selector {name!r}. {did_you_mean(name, usable)} "
        "See `nlbench list selectors` and `nlbench list trainers`."
    )


def method_name(selector: str, trainer: str, standard_trainer: str) -> str:
    """Return the name of a pair.

    Args:
        selector, trainer: Names.
        standard_trainer: The data set's.
    """
    if trainer == (own_trainer(selector) or standard_trainer):
        return selector
    # A trainer may share its name with the selector that brings it, and that pair has the name.
    alone = selector == EVERYTHING and trainer not in registry.components("selectors")
    return trainer if alone else f"{selector}+{trainer}"


def own_trainer(selector: str) -> str:
    """Return the trainer that a selector brings, or nothing.

    Raises:
        PluginError: if there is no trainer of that name.
    """
    trainer = registry.selector_class(selector).trainer
    check_trainer_exists(selector, trainer)
    return trainer


def with_trainer(section: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a recipe's trainer section for another trainer.

    Steps, network and augmentation stay the recipe's, so that the run stays on its board; so does
    what else the two have in common, unless the other trainer's own class sets it, as a learning
    rate that belongs to its method.
    """
    if name == section.get("name"):
        return dict(section)
    cls = registry.find("trainers", name).load()
    names = {f.name for f in fields(cls)}
    own = _declared(cls) - set(SHARED_SETTINGS)
    kept = {k: v for k, v in section.items() if k in names and k not in own}
    return {**kept, "name": name}


def _declared(cls: type) -> set[str]:
    """Return what a class itself, not one that it derives from, annotates."""
    return set(vars(cls).get("__annotations__", {}))


def check_pair(selector: Any, trainer: Any, selector_name: str, trainer_name: str) -> None:
    """Refuse a selector and a trainer that cannot work together, before anything is computed.

    Raises:
        ConfigError: naming a trainer that goes with the selector.
        PluginError: if the selector declares what there is not, such as an unknown observation.
    """
    from nlbench.selector import BatchSelector, OnlineSelector
    from nlbench.training.loss_trainer import LossTrainer
    from nlbench.training.observed import IN_TRAINING

    check_declarations(selector, selector_name)
    is_loss = isinstance(trainer, LossTrainer)
    together = trainer.n_networks if is_loss else 1
    other = "Train with one that does, such as --trainer cross-entropy."
    pair = f"selector {selector_name!r} does not go with trainer {trainer_name!r}"
    if isinstance(selector, BatchSelector):
        if not is_loss:
            raise ConfigError(
                f"{pair}: it weighs every sample's loss in a batch, and this trainer has one loss "
                f"for all of them. {other}"
            )
        if together not in (1, selector.n_networks):
            raise ConfigError(
                f"{pair}: it chooses for {selector.n_networks} networks, and this trainer trains "
                f"{together} together. {other}"
            )
    if isinstance(selector, OnlineSelector):
        if selector.n_networks > 1 and together > 1:
            raise ConfigError(
                f"{pair}: it gives each of its {selector.n_networks} networks samples of its own, "
                f"and this trainer trains {together} networks on the same. {other}"
            )
        wanted = [name for name in selector.observes if name in IN_TRAINING]
        if wanted and not is_loss:
            raise ConfigError(
                f"{pair}: it looks at {' and '.join(wanted)}, which this trainer does not show. "
                f"{other}"
            )


def refuse_equal_keep(selector: Any, name: str, share: float | None) -> None:
    """Refuse an equal kept share for a selector that ranks nothing before it trains.

    Raises:
        ConfigError: if `share` is not None and the selector chooses inside mini-batches.
    """
    from nlbench.selector import BatchSelector

    if share is not None and isinstance(selector, BatchSelector):
        raise ConfigError(
            f"setting 'protocol.equal_keep' must be left out for {name!r}, got {share:g}: it "
            "chooses inside mini-batches and ranks no whole training set to cut from."
        )
