"""What trainers share, on fixed numbers: networks, augmentation, crops, order, schedule, mixup."""

from __future__ import annotations

from typing import Any, get_args

import torch
from golden.answer_files import Answer
from golden.problem_data import CPU, checksums, normal, pixels
from torch import Tensor, nn
from training_tasks import keep_only, seeded

from nlbench.plugins import registry
from nlbench.training import augment, crops, loop, mixup, networks, policies
from nlbench.training.class_balance import ClassBalancedOrder
from nlbench.training.image_operations import OPERATIONS, operate
from nlbench.training.order import BatchOrder
from nlbench.training.sgd import SgdTrainer

# Deep networks add up rounding; a few pixels may round either way (see `checksums`).
TOLERANCE = 5e-4
TOLERANCES = {"logits": 1e-3, "after a batch": 1e-3}
# 64 pixels, the least that some networks take.
_SIDES = {"small-cnn": 16}
_SIDE = 64


def answers() -> Answer:
    """Return an answer for each thing of each group, so that a further one is a new case."""
    groups = _groups()
    return {
        f"{group}: {name}": facts
        for group, things in groups.items()
        for name, facts in things.items()
    }


def _groups() -> dict[str, Answer]:
    return {
        "networks": {name: _network(name) for name in networks._OWN},
        "renormalised": _renormalised(),
        "augmentations": {kind: _augmented(kind) for kind in _choices(augment.Augmentation)},
        "operations": {name: _operated(name) for name in OPERATIONS},
        "policies": {name: _policy(name) for name in _choices(policies.Policy)},
        "crops": _crops(),
        "orders": _orders(),
        "schedules": _schedules(),
        "mixup": _mixup(),
        "prediction": _prediction(),
    }


def _choices(alias: Any) -> list[str]:
    return [c for part in get_args(alias) for c in (get_args(part) or [part])]


def _network(name: str) -> Answer:
    """Return the logits before and after a step by the weights' own draws."""
    side = _SIDES.get(name, _SIDE)
    network = networks.make_network(name, 3, 4, seed=3)
    images = normal(2, 3, side, side, seed=7)
    weights = sum(w.numel() for w in network.parameters())
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        fresh = network.eval()(images)
        torch.manual_seed(0)  # of dropout
        network.train()(images)
        return {"weights": weights, "logits": fresh, "after a batch": network.eval()(images)}


def _renormalised() -> Answer:
    network = networks.Renormalised(nn.Flatten(), [0.4, 0.5, 0.6], [0.2, 0.3, 0.25])
    batch = normal(1, 3, 2, 2, seed=8)
    return {"colour": network(batch)[0], "grey": network(batch[:, :1])[0]}


def _augmented(kind: Any) -> Answer:
    batch = pixels(6, side=16, seed=9)
    out = {"as large": checksums(augment.augmented_input(batch, kind, seeded(1)))}
    if kind != "none":
        out["a part"] = checksums(augment.augmented_input(batch, kind, seeded(2), side=12))
        out["a box"] = checksums(
            augment.augmented_input(batch, kind, seeded(3), side=12, resized=True)
        )
    return out


def _operated(name: str) -> Answer:
    amounts = torch.tensor([-1.0, -0.5, -0.1, 0.1, 0.5, 1.0])
    return {
        "colour": checksums(operate(name, pixels(6, side=12, seed=10), amounts)),
        "grey": checksums(operate(name, pixels(6, channels=1, side=12, seed=11), amounts)),
    }


def _policy(name: Any) -> Answer:
    drawn = policies.draw_operations(name, 12, seeded(4))
    return dict(zip(("operations", "amounts", "places"), drawn, strict=False))


def _crops() -> Answer:
    batch = pixels(4, side=12, seed=12)
    boxes = crops.draw_boxes(8, 30, seeded(5))
    small = crops.draw_boxes(4, 12, seeded(6))
    return {
        "parts": checksums(crops.random_crop(batch, 7, seeded(5))),
        "mirrored parts": checksums(crops.random_crop(batch, 7, seeded(5), mirror=True)),
        "boxes": boxes,
        "resized boxes": checksums(crops.resized_boxes(batch, small, 9)),
        "centre": checksums(crops.CentreCropped(nn.Identity(), 5)(batch.float() / 255)),
    }


def _orders() -> Answer:
    noisy = torch.tensor([0, 1, 1, 2, 0, 1, 1, 2, 1, 1])
    kept = [0, 1, 2, 3, 5, 6, 8]
    weights = normal(10, seed=13).abs()
    plain, weighted = keep_only(10, kept), keep_only(10, kept, weights=weights)
    orders = {
        "plain": lambda: BatchOrder(seeded(7)),
        "balanced": lambda: ClassBalancedOrder(seeded(7), noisy),
    }
    return {
        name: {"passes": make().epoch(plain, 20), "weighted": make().epoch(weighted, 20)}
        for name, make in orders.items()
    }


def _schedules() -> Answer:
    """Return every trainer's learning rates and momentum, as shares of the highest."""
    out: Answer = {}
    for name, component in registry.components("trainers").items():
        cls = component.load()
        if component.keeps_version and issubclass(cls, SgdTrainer):
            trainer = cls(epochs=12)
            factors = [trainer.lr_factor(done, 24) for done in range(25)]
            out[name] = {"factors": factors, "nesterov": trainer.nesterov}
    return out


def _mixup() -> Answer:
    share, partners = mixup.draw_mix(8, 0.4, seeded(8))
    loss = mixup.mixup_loss(
        nn.Flatten(), normal(6, 1, 1, 3, seed=14), torch.arange(6) % 3, 1.0, seeded(9)
    )
    return {"share": share, "partners": partners, "loss": loss}


class _Sums(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def _prediction() -> Answer:
    logits = loop.predict(_Sums(), pixels(5, side=6, seed=15).to(CPU), autocast=False)
    return {"logits": logits}
