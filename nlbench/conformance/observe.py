"""One watched run of a selector: its answer, and what it did on the way."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from nlbench import surroundings
from nlbench.conformance.harness import (
    Case,
    ConformanceFailure,
    case_for,
    dynamics_for,
    require_answer,
    select,
)
from nlbench.selector import (
    AnySelector,
    Dynamics,
    Knowledge,
    PromptModel,
    PromptSet,
    Selection,
    TrainingData,
    ViewKind,
)


@dataclass(frozen=True)
class Observation:
    """A run on well-separated planted data.

    Attributes:
        data: The data, as the selector left it.
        selection: The answer, as it came.
        written: Names of the inputs that were written into.
        random_states: Names of the global random states that changed.
        surroundings: What else of torch, NumPy and the process changed.
        knowledge: What the features asked for stand on.
        encoders: The encoders asked for, by the names that were used.
    """

    data: TrainingData
    selection: Selection
    written: tuple[str, ...]
    random_states: tuple[str, ...]
    surroundings: tuple[str, ...]
    knowledge: frozenset[Knowledge]
    encoders: frozenset[str]

    def answer(self) -> Selection:
        """Return the answer if it is one for all samples."""
        return require_answer(self.selection, self.data)


# Half of the checks look at the same run. One entry: they come selector by selector.
@lru_cache(maxsize=1)
def observe(selector_class: type[AnySelector]) -> Observation:
    """Run a selector on planted data and watch it."""
    case = case_for(selector_class)
    features = _RecordingFeatures(case.data)
    written: set[str] = set()
    before = _copies(_tensors_of(case.data))
    dynamics = _watched(dynamics_for(selector_class, case.data), written)
    watched = Case(features.watched(), case.truth, case.data.embeddings())
    with lent_random_states(), surroundings.watched() as left_behind:
        states = random_states()
        selection = select(selector_class, watched, dynamics)
        # Before `watched` puts them back.
        changed = [name for name, state in random_states().items() if state != states[name]]
    written.update(_differing(before, _tensors_of(case.data)))
    return Observation(
        data=case.data,
        selection=selection,
        written=tuple(sorted(written)),
        random_states=tuple(changed),
        surroundings=tuple(left_behind),
        knowledge=frozenset({*features.used, *watched.data.estimates_used}),
        encoders=frozenset(features.encoders),
    )


@dataclass
class _RecordingFeatures:
    data: TrainingData
    used: set[Knowledge] = field(default_factory=set)
    encoders: set[str] = field(default_factory=set)

    def watched(self) -> TrainingData:
        return replace(self.data, _features=self)

    def embeddings(self, encoder: str) -> Tensor:
        self._note(encoder)
        return self.data.embeddings(encoder)

    def text_embeddings(
        self, prompts: PromptSet | Sequence[Sequence[str]], encoder: str
    ) -> list[Tensor]:
        self._note(encoder)
        self.used.add("class names")
        return self.data.text_embeddings(prompts, encoder)

    def logit_scale(self, encoder: str) -> tuple[float, float]:
        self._note(encoder)
        return self.data.logit_scale(encoder)

    def prompt_model(self, encoder: str) -> PromptModel:
        self._note(encoder)
        self.used.add("class names")
        return self.data.prompt_model(encoder)

    def view_embeddings(self, encoder: str, kind: ViewKind, draws: Tensor) -> Tensor:
        self._note(encoder)
        return self.data._features.view_embeddings(encoder, kind, draws)

    def _note(self, encoder: str) -> None:
        self.encoders.add(encoder)
        image_only = encoder == "image" or encoder.startswith("timm:")
        self.used.add("image pre-training" if image_only else "image-text pre-training")


def _watched(dynamics: Iterator[Dynamics], written: set[str]) -> Iterator[Dynamics]:
    for epoch in dynamics:
        handed_out = _HandedOut()
        peers = (handed_out.watch(p, f"dynamics.peers[{i}]") for i, p in enumerate(epoch.peers))
        yield replace(handed_out.watch(epoch, "dynamics"), peers=tuple(peers))
        written.update(handed_out.written())


class _HandedOut:
    """Tensors that a selector got of an epoch, each with a copy from before it had them.

    A look may be computed anew whenever it is asked for, and only the tensor that the selector got
    shows what was written into it. So looks are noted when they are made.
    """

    def __init__(self) -> None:
        self._noted: list[tuple[str, Tensor, Tensor]] = []

    def watch(self, dynamics: Dynamics, name: str) -> Dynamics:
        """Return dynamics all of whose tensors are noted."""
        for each in ("losses", "logits", "loss_history"):
            self._note(f"{name}.{each}", getattr(dynamics, each))
        looks = {
            what: partial(self._look, f"{name}.{what.replace(' ', '_').replace('-', '_')}", look)
            for what, look in dynamics._observed.items()
        }
        return replace(dynamics, _observed=looks)

    def written(self) -> set[str]:
        """Return the names of what is no longer as it was handed out."""
        return {name for name, now, before in self._noted if _differ(before, now)}

    def _look(self, name: str, look: Callable[[], Tensor]) -> Tensor:
        value = look()
        self._note(name, value)
        return value

    def _note(self, name: str, value: Tensor) -> None:
        self._noted.append((name, value, value.clone()))


def _tensors_of(data: TrainingData) -> dict[str, Tensor]:
    texts = data.text_embeddings()
    return {
        "data.noisy_labels": data.noisy_labels,
        "data.sample_ids": data.sample_ids,
        "data.embeddings()": data.embeddings(),
        **{f"data.text_embeddings()[{k}]": rows for k, rows in enumerate(texts)},
        "data.images()": data.images(torch.arange(data.n_samples)),
    }


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}


def _differing(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> list[str]:
    return [name for name, value in before.items() if _differ(value, now[name])]


def _differ(before: Tensor, now: Tensor) -> bool:
    # A margin history has NaN where a sample was not drawn.
    same = before.shape == now.shape and ((before == now) | (before.isnan() & now.isnan())).all()
    return not bool(same)


def require_kept_surroundings(changed: Sequence[str], who: str) -> None:
    """Refuse a component that left something behind.

    Raises:
        ConformanceFailure: naming what.
    """
    if changed:
        raise ConformanceFailure(
            f"{who} must leave torch, NumPy and the process as they were, but changed "
            f"{', '.join(changed)}. Change a switch inside a `with`, such as `torch.no_grad()` or "
            "`torch.backends.mkldnn.flags(enabled=False)`, and replace no function of others."
        )


def random_states() -> dict[str, bytes]:
    """Return the state of every global source of random numbers."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": pickle.dumps(np.random.get_state()),
        "random": pickle.dumps(random.getstate()),
    }


@contextmanager
def lent_random_states() -> Iterator[None]:
    """Put the global random states where no seeding leads, and back at the end."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        torch.rand(1), np.random.random(), random.random()  # noqa: S311 - only to move on
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
