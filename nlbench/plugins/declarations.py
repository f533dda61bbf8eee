"""What a selector declares about its training, held to what the runner can give."""

from __future__ import annotations

from typing import Any, get_args

from nlbench.errors import PluginError, did_you_mean
from nlbench.plugins.registry import components

_COUNTED = {
    "history_epochs": (1, "1 shows the latest epoch only"),
    "n_networks": (1, "1 is the network that is measured"),
    "rounds": (1, "the training that is measured counts, so a method without restarts has 1"),
    "extra_classes": (0, "it counts outputs beyond the K classes"),
}


def check_declarations(selector: Any, name: str) -> None:
    """Refuse a selector that declares what there is not.

    Args:
        selector: An instance.
        name: What it is called in messages.

    Raises:
        PluginError: if a count is too small, `observes` names an unknown observation or `trainer`
            an unknown trainer.
    """
    from nlbench.selector import BatchSelector, OnlineSelector

    if isinstance(selector, OnlineSelector):
        for attribute in _COUNTED:
            _require_count(name, attribute, attribute, getattr(selector, attribute))
        _require_count(name, "rounds", "rounds_used()", selector.rounds_used())
        _require_observations(name, selector.observes)
    if isinstance(selector, BatchSelector):
        _require_count(name, "n_networks", "n_networks", selector.n_networks)
    check_trainer_exists(name, selector.trainer)


def check_trainer_exists(name: str, trainer: Any) -> None:
    """Refuse a trainer that a selector brings and nobody has.

    Args:
        name: What the selector is called in messages.
        trainer: The trainer's name; empty for the protocol's.

    Raises:
        PluginError: if there is no such trainer.
    """
    known = components("trainers")
    if trainer != "" and trainer not in known:
        raise PluginError(
            f"`trainer` of selector {name!r} must be the name of a trainer, got {trainer!r}. "
            f"{did_you_mean(str(trainer), known)} See `nlbench list trainers`, or leave it out for "
            "the protocol's."
        )


def _require_count(name: str, attribute: str, shown: str, value: Any) -> None:
    least, meaning = _COUNTED[attribute]
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PluginError(
            f"`{shown}` of selector {name!r} must be a whole number of at least {least}, got "
            f"{value!r}: {meaning}. Leave it out for the default."
        )


def _require_observations(name: str, observes: Any) -> None:
    from nlbench.selector.dynamics import Observation

    known = get_args(Observation)
    if not isinstance(observes, tuple):
        raise PluginError(
            f"`observes` of selector {name!r} must be a tuple of observations, got {observes!r}. "
            f"Write `observes = ({str(known[0])!r},)`, with a comma behind a single one."
        )
    for each in observes:
        if each not in known:
            raise PluginError(
                f"`observes` of selector {name!r} must name what a training can show, got "
                f"{each!r}. {did_you_mean(str(each), known)}"
            )
