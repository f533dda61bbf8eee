"""Every selector's verdict on every sample that can be judged, and their vote."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nlbench.config.methods import split_method
from nlbench.config.setting_text import inline_settings, parse_setting
from nlbench.errors import ConfigError, PluginError
from nlbench.plugins import registry
from nlbench.runner.selector_calls import SelectorCalls
from nlbench.selector import (
    BatchSelector,
    BoundSelector,
    OnlineSelector,
    ProbabilitySelector,
    Selection,
    Selector,
    TrainingData,
    checked_answer,
)

log = logging.getLogger("nlbench")

# Trains on the embeddings and returns the last answer of a selector that watches a training.
TrainWith = Callable[[str, OnlineSelector | BatchSelector, TrainingData], Selection]


@dataclass(frozen=True, eq=False)
class Verdict:
    """What one selector says of the M judged samples.

    Attributes:
        name: The selector with its settings, as it was asked for.
        keep: (M,) bool.
        score: (M,) float64, higher = cleaner.
        probabilities: (M, K) float32, out of sample; None where it does not work by such.
    """

    name: str
    keep: npt.NDArray[np.bool_]
    score: npt.NDArray[np.float64]
    probabilities: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Judge:
    """A selector that was asked for, ready to be asked.

    Attributes:
        name: As it was asked for, with what was added to it.
        plain_name: Its name alone.
    """

    name: str
    plain_name: str
    selector: Selector | OnlineSelector | BatchSelector

    @property
    def trains(self) -> bool:
        """Whether it watches a training."""
        return isinstance(self.selector, OnlineSelector | BatchSelector)


def judges(specs: Sequence[str]) -> list[Judge]:
    """Return the selectors of ``NAME`` or ``NAME:key=value,...``, each once.

    Nobody knows the noise rate here: selectors that take one estimate it.

    Raises:
        ConfigError: if a name or setting is wrong, a name is a loss, or it needs the truth.
    """
    made = [_judge(spec) for spec in specs]
    twice = {judge.name for judge in made if sum(other.name == judge.name for other in made) > 1}
    if twice:
        raise ConfigError(f"--selector must name each once, got {', '.join(sorted(twice))} twice.")
    return made


def _judge(spec: str) -> Judge:
    name = spec.partition(":")[0].strip()
    selector_name, trainer = split_method(name)
    if trainer or (selector_name == "none" and name != "none"):
        raise ConfigError(
            f"{name!r} is a loss or a pair with one, which says nothing of single labels. Name a "
            "selector: `nlbench list selectors`."
        )
    settings: dict[str, Any] = {}
    for key, values in inline_settings(spec).items():
        if len(values) > 1:
            raise ConfigError(f"{name!r} takes one value of {key!r}, got {', '.join(values)}.")
        settings[key] = parse_setting(f"{key}={values[0]}")[1]
    cls = registry.selector_class(name)
    with SelectorCalls(name).call(patches=False):
        selector = _with(name, settings)
    if "noise rate" in selector.knowledge_used():
        if "noise_rate" in settings or "noise_rate" not in {f.name for f in fields(cls)}:  # type: ignore[arg-type]
            raise ConfigError(
                f"{spec!r} needs the noise rate, which nobody knows here. Use another selector."
            )
        settings["noise_rate"] = "estimated"
        selector = _with(name, settings)
        spec = f"{spec}{',' if ':' in spec else ':'}noise_rate=estimated"
    return Judge(spec, name, selector)


def _with(name: str, settings: dict[str, Any]) -> Selector | OnlineSelector | BatchSelector:
    selector = registry.get_selector(name, **settings)
    if isinstance(selector, BoundSelector):
        raise ConfigError(f"{name!r} needs the true labels, which nobody knows here.")
    return selector


def verdict_of(
    judge: Judge, data: TrainingData, given: Tensor | None, train: TrainWith | None
) -> Verdict:
    """Ask a selector.

    Args:
        judge: The selector.
        data: The M judged samples.
        given: (M, K) probabilities of the user's own, or None.
        train: Trains for selectors that watch a training; None where that was not asked for.

    Raises:
        ConfigError: if it watches a training and none was asked for, or cannot use `given` alone.
        PluginError: if its answer breaks the contract.
    """
    selector, probabilities = judge.selector, None
    if isinstance(selector, OnlineSelector | BatchSelector):
        if train is None:
            raise ConfigError(
                f"{judge.name!r} watches a training. Add --train to have a head trained on the "
                "embeddings."
            )
        answer = train(judge.plain_name, selector, data)
    else:
        with SelectorCalls(judge.plain_name).call():
            if isinstance(selector, ProbabilitySelector):
                probabilities = selector.probabilities(data) if given is None else given
                selection = selector.decide(data, probabilities)
            else:
                selection = selector.select(data)
        answer = checked_answer(selection, data)
        if answer.restart:
            raise PluginError(f"selector {judge.name!r} asked for a restart before any training.")
    return Verdict(
        judge.name,
        answer.keep.cpu().numpy(),
        answer.score.detach().cpu().double().numpy(),
        None if probabilities is None else probabilities.detach().float().cpu(),
    )


def vote(
    verdicts: Sequence[Verdict],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Return (M,) whether more than half of the selectors keep a label, and (M,) their score.

    With several, the score is the mean of their ranks, from 0 for the most suspicious sample to 1:
    scores of different selectors have no common scale.
    """
    kept = np.mean([verdict.keep for verdict in verdicts], axis=0)
    if len(verdicts) == 1:
        return verdicts[0].keep, verdicts[0].score
    return kept > 0.5, np.mean([_rank_shares(verdict.score) for verdict in verdicts], axis=0)


def agreement(verdicts: Sequence[Verdict]) -> float | None:
    """Return the share of samples on which all selectors decide alike; None with fewer than two."""
    if len(verdicts) < 2:
        return None
    keeps = np.stack([verdict.keep for verdict in verdicts])
    return float((keeps.all(axis=0) | ~keeps.any(axis=0)).mean())


def _rank_shares(score: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.stats import rankdata

    ranks: npt.NDArray[np.float64] = rankdata(score)
    return (ranks - 1) / max(1, len(score) - 1)
