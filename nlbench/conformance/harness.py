"""How the checks run a selector, change its data and compare its answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlbench.conformance.planted import Plan, planted_clean_labels, planted_data
from nlbench.conformance.planted_batches import TakeUp, planted_batches, same_selector
from nlbench.conformance.planted_features import with_planted_model
from nlbench.conformance.planted_training import PlantedDynamics, Shown, planted_training
from nlbench.errors import PluginError
from nlbench.seeds import derive_seed
from nlbench.selector import (
    AnySelector,
    BatchSelector,
    BoundSelector,
    Dynamics,
    OnlineSelector,
    Selection,
    Selector,
    TrainingData,
    checked_answer,
    without_gradients,
)

MIN_AGREEMENT = 0.98


class ConformanceFailure(PluginError):  # noqa: N818 - a verdict; the base class says it is an error
    """A selector breaks the contract: the rule, what was given instead, how to fix it."""


@dataclass(frozen=True)
class Case:
    """Data for a selector and the way to its truth.

    The clean labels are drawn anew where they are needed, so that nothing holds them while a
    selector runs.
    """

    data: TrainingData
    truth: Callable[[], Tensor] = field(repr=False)
    # What the planted networks see, where it is not to count as the selector's look at `data`.
    inputs: Tensor | None = field(default=None, repr=False)

    def permuted(self, order: Tensor) -> Case:
        """Return the same samples in another order, ids along."""
        data = _rebuilt(
            self.data,
            noisy_labels=self.data.noisy_labels[order],
            embeddings=self.data.embeddings()[order],
            images=self.data.images(order),
            sample_ids=self.data.sample_ids[order],
        )
        return Case(data, lambda: self.truth()[order])

    def relabelled(self, new_ids: Tensor) -> Case:
        """Return the same data with class k called `new_ids[k]`, names and texts along."""
        old_ids = torch.argsort(new_ids).tolist()
        texts, names = self.data.text_embeddings(), self.data.class_names or ()
        data = _rebuilt(
            self.data,
            noisy_labels=new_ids[self.data.noisy_labels],
            class_names=[names[k] for k in old_ids],
            text_embeddings=[texts[k] for k in old_ids],
        )
        return Case(data, lambda: new_ids[self.truth()])

    def on(self, device: str) -> Case:
        """Return the same data on another device."""
        data = _rebuilt(
            self.data,
            noisy_labels=self.data.noisy_labels.to(device),
            embeddings=self.data.embeddings().to(device),
            text_embeddings=[texts.to(device) for texts in self.data.text_embeddings()],
            sample_ids=self.data.sample_ids.to(device),
        )
        return Case(data, lambda: self.truth().to(device))


def case_for(selector_class: type[AnySelector], plan: Plan | None = None) -> Case:
    """Plant the data of a plan, with the noise rate only for selectors that declare it."""
    plan = plan or Plan()
    sees_rate = "noise rate" in selector_class.knowledge
    return Case(planted_data(plan, give_noise_rate=sees_rate), lambda: planted_clean_labels(plan))


def select(
    selector_class: type[AnySelector],
    case: Case,
    dynamics: Iterator[Dynamics] | None = None,
    take_up: TakeUp = same_selector,
) -> Selection:
    """Run a fresh instance with its defaults; online selectors over a whole training.

    After every epoch `take_up` may return another instance to go on with.
    """
    selector: Any = selector_class()
    if isinstance(selector, BoundSelector):
        return selector.select_with_truth(case.data, case.truth())
    if isinstance(selector, Selector):
        return selector.select(case.data)
    if isinstance(selector, BatchSelector):
        return planted_batches(selector, case.data, case.inputs, take_up)
    answers = planted_answers(selector_class, case.data, take_up, dynamics)
    latest: Any = deque(answers, maxlen=1).pop()
    return latest


def planted_answers(
    selector_class: type[AnySelector],
    data: TrainingData,
    take_up: TakeUp = same_selector,
    dynamics: Iterator[Dynamics] | None = None,
) -> Iterator[Any]:
    """Yield a fresh online selector's answers to a whole training, as `select` asks for them."""
    selector: Any = selector_class()
    for epoch in dynamics or dynamics_for(selector_class, data):
        selection = selector.select(data, epoch)
        if isinstance(epoch, PlantedDynamics) and isinstance(selection, Selection):
            checked_answer(selection, data, selector.extra_classes)
            epoch.tell(selection)
        yield selection
        selector = take_up(selector, data)


def dynamics_for(selector_class: type[AnySelector], data: TrainingData) -> Iterator[Dynamics]:
    """Return what an online selector would see in training; nothing for other selectors."""
    if issubclass(selector_class, OnlineSelector):
        selector = selector_class()
        yield from planted_training(data, Shown.to(selector), selector.first(data))


def require_answer(selection: Any, data: TrainingData) -> Selection:
    """Return the selection if it answers for all samples of `data`, with finite numbers."""
    if not isinstance(selection, Selection):
        raise ConformanceFailure(
            f"select must return an nlbench.Selection, got {type(selection).__name__}: "
            "`return Selection(keep=keep, score=score)`."
        )
    for name in ("keep", "score", "labels", "weights"):
        value = getattr(selection, name)
        if value is None and name in ("labels", "weights"):
            continue
        if tuple(value.shape) != (data.n_samples,):
            raise ConformanceFailure(
                f"Selection.{name} must have shape ({data.n_samples},), one value per sample, "
                f"got {tuple(value.shape)}."
            )
        if value.device.type != data.device.type:
            raise ConformanceFailure(
                f"Selection.{name} must be on the data's device, {data.device}, got "
                f"{value.device}: `{name}.to(data.device)`."
            )
    _require_values(selection, data)
    return without_gradients(selection)


def require_same(first: Selection, second: Selection, change: str, hint: str) -> None:
    """Require that two answers agree up to the tolerance that iterative solvers need."""
    agreement = float((first.keep == second.keep).double().mean())
    if agreement < MIN_AGREEMENT:
        raise ConformanceFailure(
            f"keep must be the same for at least {MIN_AGREEMENT:.0%} of the samples when "
            f"{change}, got {agreement:.1%}. {hint}"
        )
    correlation = _rank_correlation(first.score, second.score)
    if correlation < MIN_AGREEMENT:
        raise ConformanceFailure(
            f"score must rank the samples alike when {change} (Spearman correlation at least "
            f"{MIN_AGREEMENT}), got {correlation:.3f}. {hint}"
        )


def random_order(n: int, stream: str) -> Tensor:
    """Return a seeded permutation of n things that leaves not all in place."""
    order = np.random.default_rng(derive_seed("conformance", stream)).permutation(n)
    if np.array_equal(order, np.arange(n)):
        order = np.roll(order, 1)
    return torch.from_numpy(order)


def _rebuilt(data: TrainingData, **changes: Any) -> TrainingData:
    arrays: dict[str, Any] = {
        "noisy_labels": data.noisy_labels,
        "class_names": data.class_names,
        "embeddings": data.embeddings(),
        "text_embeddings": data.text_embeddings(),
        "images": data.images(torch.arange(data.n_samples)),
        "sample_ids": data.sample_ids,
    }
    rebuilt = TrainingData.from_arrays(
        n_classes=data.n_classes,
        seed=data.seed,
        noise_rate=data._noise_rate,
        **{**arrays, **changes},
    )
    return with_planted_model(rebuilt)


def _require_values(selection: Selection, data: TrainingData) -> None:
    # Selection looks at its tensors when it is made; they can be written into afterwards.
    for name in ("score", "weights"):
        value = getattr(selection, name)
        if value is not None and not bool(torch.isfinite(value).all()):
            raise ConformanceFailure(
                f"Selection.{name} must be finite for every sample, got "
                f"{int((~torch.isfinite(value)).sum())} NaN or infinite ones: rank the samples "
                "that were ruled out below the others, not at -inf."
            )
    labels = selection.labels
    if labels is not None and not bool(((labels >= 0) & (labels < data.n_classes)).all()):
        raise ConformanceFailure(
            f"Selection.labels must lie in [0, {data.n_classes}), got values from "
            f"{int(labels.min())} to {int(labels.max())}."
        )


def _rank_correlation(first: Tensor, second: Tensor) -> float:
    from scipy.stats import rankdata

    a, b = (t.double().cpu().numpy() for t in (first, second))
    # Scores that saturate (posteriors at 1) differ by rounding only, which ranks would blow up.
    if np.abs(a - b).max() <= 1e-4 * np.ptp(a) + 1e-9:
        return 1.0
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
