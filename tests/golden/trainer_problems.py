"""Trainers on 64 small images for two epochs of four steps: so few that last bits stay last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from golden.answer_files import Answer
from golden.problem_data import case_name, normal, variations
from torch import Tensor
from training_tasks import bright_and_dark, keep_only, make_task

from nlbench.plugins.discovery import Component
from nlbench.plugins.registry import make_component
from nlbench.selector import Selection
from nlbench.training.task import TrainingTask

# Versions of torch and instruction sets move the last bits, and each step amplifies them. A count
# of samples or an accuracy may move by a sample or two for the same reason.
TOLERANCE = 2e-3
_A_FEW_SAMPLES = 0.05
TOLERANCES = {
    "test_accuracy": _A_FEW_SAMPLES,
    "noisy_val_accuracy": 0.15,  # of 16 samples
    "ensemble_test_accuracy": _A_FEW_SAMPLES,
    "absorbed": _A_FEW_SAMPLES,
    "relabelled": _A_FEW_SAMPLES,
    "logits": 1e-2,
}
_N = 64
_BASE = {"network": "small-cnn", "epochs": 2, "batch_size": 16, "augmentation": "shift", "lr": 0.05}
_SKIPPED = {
    "epochs": "two of them are trained in every case",
    "network": "each network has an answer in toolbox/training",
}
_TOGETHER: dict[str, list[dict[str, Any]]] = {
    "mixfix": [{"theta_r": 0.55, "theta_r2": 0.55, "milestones": [0.5, 1.5]}, {"theta_r": 1.0}],
}
_FOR_ALL = [
    {"augmentation": "crop-flip", "resized_crop": True},
    {"augmentation": "crop-flip", "resized_crop": True, "input_size": 6},
]


def answers(component: Component) -> Answer:
    cls = component.load()
    alone = [s for s in variations(cls, _SKIPPED) if "resized_crop" not in s]
    cases = [{}, *alone, *_FOR_ALL, *_TOGETHER.get(component.name, [])]
    out: Answer = {}
    for settings in cases:
        trainer = make_component("trainers", component.name, {**_BASE, **settings})
        out[case_name(settings)] = _trained(trainer, _task())
    trainer = make_component("trainers", component.name, _BASE)
    for name, change in _SELECTIONS.items():
        out[name] = _trained(trainer, replace(_task(), **change))
    out["what the network says after each epoch"] = _logits(trainer)
    return out


def _task() -> TrainingTask:
    images, labels = bright_and_dark(_N, seed=1)
    noisy = labels.clone()
    noisy[::5] = 1 - noisy[::5]
    return make_task(
        _N,
        images=images,
        noisy_labels=noisy,
        selection=keep_only(_N, [*list(range(0, _N, 2)), 1, 3, 5]),
    )


_KEPT = list(range(0, _N, 3))
_SELECTIONS: dict[str, dict[str, Any]] = {
    "corrected labels": {
        "selection": keep_only(_N, _KEPT, labels=(torch.arange(_N) // 2) % 2),
    },
    "weights": {"selection": keep_only(_N, _KEPT, weights=normal(_N, seed=6).abs() + 0.1)},
    "two networks": {"n_networks": 2},
}


def _trained(trainer: Any, task: TrainingTask) -> Answer:
    outcome = trainer.train(task)
    return {**outcome.curves, "steps": outcome.n_steps}


def _logits(trainer: Any) -> Answer:
    seen: Answer = {}
    task = _task()
    trainer.train(replace(task, reselect=_recorder(seen, task.selection)))
    return seen


def _recorder(seen: Answer, selection: Selection) -> Callable[..., Sequence[Selection]]:
    def reselect(
        epoch: int, losses: Sequence[Tensor], logits: Sequence[Tensor], looks: Any
    ) -> list[Selection]:
        seen[f"epoch {epoch}"] = {"logits": logits[0][:10], "losses": losses[0][:10]}
        return [selection]

    return reselect
