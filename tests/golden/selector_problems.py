"""Selectors on planted features, losses and logits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from golden.answer_files import Answer
from golden.observed_training import played
from golden.problem_data import case_name, normal, rng, unit, variations
from torch import Tensor

from nlbench import (
    Batch,
    BatchSelector,
    BoundSelector,
    Dynamics,
    OnlineSelector,
    Selection,
    Selector,
    TrainingData,
)
from nlbench.plugins.discovery import Component
from nlbench.plugins.registry import make_component

TOLERANCE = 1e-5
# scikit-learn's solver stops at a gradient of 1e-4: where it stops depends on the last bits.
TOLERANCES = {"faithful=True": 1e-3, "faithful=True, theta_gmm=0.99, theta_cons=1.0": 1e-3}
# So does the probe's, less: these stand on it.
OF_COMPONENT = dict.fromkeys(
    ("confident-learning", "imagenet-baseline", "neural-relation-graph", "turn"), 5e-4
)
_N, _DIMENSIONS = 72, 6
# (epoch, epochs in all): in the warm-up, after it, and after half of a short training.
_MOMENTS = ((1, 24), (12, 24), (5, 8))
_EPOCHS_SEEN = 5

# Branches that take more than one setting to get into.
TOGETHER: dict[str, list[dict[str, Any]]] = {
    "clipcleaner": [
        {"faithful": True, "theta_gmm": 0.99, "theta_cons": 1.0},
        {"theta_gmm": 1.0, "theta_cons": 1.0},
    ],
    "imagenet-baseline": [{"criterion": "knn", "k": 3}, {"folds": 0}],
    "simifeat": [{"method": "vote", "k": 3}],
    "small-loss": [
        {"divider": "rate", "noise_rate": "estimated"},
        {"divider": "rate", "noise_rate": 0.2},
        {"divider": "rate", "ramp_epochs": 20},
        {"divider": "rate", "warmup_epochs": 0},
    ],
    "co-teaching-epoch": [{"noise_rate": 0.2, "ramp_epochs": 20}],
    "co-teaching": [{"noise_rate": 0.2, "ramp_epochs": 20}],
    "ssr-knn": [{"theta_r": 0.5, "k": 3}, {"theta_r": 0.5, "probe_c": 10.0}],
    "early-cutting": [
        {"learned_share": 0.3, "candidate_share": 0.9, "cut_share": 0.7},
        {"learned_share": 0.3, "candidate_share": 0.9, "cut_share": 0.7, "early_rate": 3.0},
    ],
    "dividemix": [{"warmup_epochs": 0, "average_epochs": 5}],
}


@dataclass(frozen=True)
class Features:
    """Planted features that differ by encoder and by prompts; `nudge` moves all by so much."""

    labels: Tensor
    n_classes: int
    nudge: float = 0.0

    def embeddings(self, encoder: str) -> Tensor:
        # Another encoder sees less of the class.
        noise = {"image-text": 0.45, "image": 0.4}.get(encoder, 0.6)
        centres = unit(normal(self.n_classes, _DIMENSIONS, seed=1))
        spread = normal(len(self.labels), _DIMENSIONS, seed=2)
        moved = self.nudge * normal(len(self.labels), _DIMENSIONS, seed=9)
        return unit(centres[self.labels] + noise * spread + moved)

    def text_embeddings(self, prompts: Any, encoder: str) -> list[Tensor]:
        centres = unit(normal(self.n_classes, _DIMENSIONS, seed=1))
        seed = 3 if prompts == "templates" else 4
        spread = normal(self.n_classes, 3, _DIMENSIONS, seed=seed)
        # As many prompts as the class's number says, so that mean and sum differ.
        return [
            unit(centre + 0.3 * part)[: 1 + k % 3]
            for k, (centre, part) in enumerate(zip(centres, spread, strict=True))
        ]

    def logit_scale(self, encoder: str) -> tuple[float, float]:
        return 30.0, -1.0


def planted(n_classes: int, absent: bool, nudge: float = 0.0) -> tuple[TrainingData, Tensor]:
    """Return data with a third of the labels wrong, and the clean labels.

    Args:
        n_classes: K.
        absent: Whether the last class has no label and the one before it only three.
        nudge: How far features are moved.
    """
    draws = rng(0)
    clean = torch.arange(_N) % (n_classes - 2 if absent else n_classes)
    noisy = clean.clone()
    wrong = torch.from_numpy(draws.random(_N) < 1 / 3)
    shift = torch.from_numpy(draws.integers(1, 3, _N))
    noisy[wrong] = ((clean + shift) % int(clean.max() + 1))[wrong]
    if absent:
        noisy[[3, 30, 50]] = n_classes - 2
        clean[[3, 30, 50]] = n_classes - 2
    data = TrainingData.from_arrays(
        noisy, n_classes, seed=5, sample_ids=100 + torch.arange(_N), noise_rate=0.3
    )
    return replace(data, _features=Features(clean, n_classes, nudge)), clean


def dynamics(
    noisy: Tensor, clean: Tensor, n_classes: int, epoch: int, n_epochs: int, seed: int, nudge: float
) -> Dynamics:
    """Return losses and logits in which the true class leads more from epoch to epoch."""
    history = []
    for past in range(max(1, epoch - _EPOCHS_SEEN + 1), epoch + 1):
        logits = normal(len(clean), n_classes, seed=seed + past)
        logits += nudge * normal(len(clean), n_classes, seed=seed + past + 500)
        lead = 1 + 4 * past / (past + 5)
        logits[torch.arange(len(clean)), clean] += lead
        history.append(torch.nn.functional.cross_entropy(logits, noisy, reduction="none"))
    return Dynamics(epoch, n_epochs, history[-1], logits, torch.stack(history))


def answers(component: Component, nudge: float = 0.0) -> Answer:
    cls = component.load()
    cases = [{}, *variations(cls, {}), *TOGETHER.get(component.name, [])]
    out: Answer = {}
    for settings in cases:
        selector = make_component("selectors", component.name, settings)
        out[case_name(settings)] = _answer(selector, *planted(4, absent=False, nudge=nudge), nudge)
    selector = make_component("selectors", component.name, {})
    out["an absent and a rare class"] = _answer(
        selector, *planted(6, absent=True, nudge=nudge), nudge
    )
    return {name: _shorter(case, out["defaults"]) for name, case in out.items()}


def _shorter(case: Answer, defaults: Answer) -> Answer:
    """Return a case without the scores that it shares with the defaults, bit by bit."""
    if case is defaults:
        return case
    if "weights" in case and "keep" not in case:
        return case
    if "score" not in case:
        return {moment: _shorter(facts, defaults.get(moment, {})) for moment, facts in case.items()}
    score, usual = case["score"], defaults.get("score")
    same = usual is not None and torch.equal(score, usual)
    return {**case, "score": "as with the defaults"} if same else case


def _answer(selector: Any, data: TrainingData, clean: Tensor, nudge: float) -> Answer:
    if isinstance(selector, BoundSelector):
        return _facts(selector.select_with_truth(data, clean))
    if isinstance(selector, Selector):
        return _facts(selector.select(data))
    if isinstance(selector, BatchSelector):
        return {
            f"epoch {epoch} of {n_epochs}": _weights(selector, data, clean, epoch, n_epochs, nudge)
            for epoch, n_epochs in _MOMENTS
        }
    assert isinstance(selector, OnlineSelector)
    if selector.observes or selector.rounds > 1:
        return {at: _facts(one) for at, one in played(selector, data, clean, nudge)}
    return {
        f"epoch {epoch} of {n_epochs}": _facts(
            selector.select(data, _with_peers(selector, data, clean, epoch, n_epochs, nudge))
        )
        for epoch, n_epochs in _MOMENTS
    }


def _weights(
    selector: BatchSelector,
    data: TrainingData,
    clean: Tensor,
    epoch: int,
    n_epochs: int,
    nudge: float,
) -> Answer:
    """Return the weights of every third sample, as one mini-batch."""
    positions = torch.arange(0, data.n_samples, 3)
    seen = [
        dynamics(data.noisy_labels, clean, data.n_classes, epoch, n_epochs, 100 * (i + 1), nudge)
        for i in range(selector.n_networks)
    ]
    losses = torch.stack([each.losses[positions] for each in seen])
    logits = torch.stack([each.logits[positions] for each in seen])
    batch = Batch(positions, epoch, 1, n_epochs, 3)
    return {"weights": selector.choose(data, batch, losses, logits)}


def _with_peers(
    selector: OnlineSelector,
    data: TrainingData,
    clean: Tensor,
    epoch: int,
    n_epochs: int,
    nudge: float,
) -> Dynamics:
    seen = [
        dynamics(data.noisy_labels, clean, data.n_classes, epoch, n_epochs, 100 * (i + 1), nudge)
        for i in range(selector.n_networks)
    ]
    seen = [replace(d, loss_history=d.loss_history[-selector.history_epochs :]) for d in seen]
    return replace(seen[0], peers=tuple(seen[1:]))


def _facts(selection: Selection) -> Answer:
    facts: Answer = {"keep": selection.keep, "score": selection.score}
    for name in ("labels", "weights"):
        if getattr(selection, name) is not None:
            facts[name] = getattr(selection, name)
    if selection.diagnostics:
        facts["diagnostics"] = dict(selection.diagnostics)
    return facts
