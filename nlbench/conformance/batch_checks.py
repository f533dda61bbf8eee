"""Checks of what a batch selector does inside one mini-batch."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nlbench.conformance.harness import ConformanceFailure, case_for, random_order
from nlbench.conformance.planted import Plan
from nlbench.conformance.planted_batches import BatchView, first_batch
from nlbench.errors import PluginError
from nlbench.runner.batch_selection import checked_weights
from nlbench.selector import BatchSelector, TrainingData

_CLOSE = 1e-5


def check_batch_permutation(selector_class: type[BatchSelector]) -> None:
    """Samples of a batch in another order get the same weights, each its own.

    Batches are drawn in another order by every seed: a choice by place is a choice by chance.
    """
    data, view = _planted(selector_class)
    first = _weights(selector_class, data, view)
    order = random_order(len(view.batch.positions), "batch")
    second = _weights(selector_class, data, _part(view, order))
    n_other = int(((first[:, order] - second).abs() > _CLOSE).any(dim=0).sum())
    if n_other:
        raise ConformanceFailure(
            "choose must weigh the samples of a batch alike in any order, got other weights for "
            f"{n_other} of {len(order)} samples after a permutation. Use no position in the batch: "
            "rank by `losses`, and break ties by `data.uniform()[batch.positions]`."
        )


def check_batch_same_answer(selector_class: type[BatchSelector]) -> None:
    """Two fresh instances weigh the same batch bit by bit alike.

    A run that cannot be repeated cannot be verified by anyone.
    """
    data, view = _planted(selector_class)
    first, second = (_weights(selector_class, data, view) for _ in range(2))
    if not torch.equal(first, second):
        raise ConformanceFailure(
            "choose must give bit-identical weights for the same batch, got two different answers. "
            "Draw only from `data.generator(f'{batch.epoch}-{batch.step}')` or `data.uniform()`."
        )


def check_batch_absent_class(selector_class: type[BatchSelector]) -> None:
    """A class may have no sample in a batch.

    With many classes most batches lack some of them.
    """
    data, view = _planted(selector_class)
    labels = data.noisy_labels[view.batch.positions]
    _weights(selector_class, data, _part(view, (labels != labels[0]).nonzero().flatten()))


def check_batch_of_one_class(selector_class: type[BatchSelector]) -> None:
    """All samples of a batch may have the same label.

    It happens with rare classes and small batches, in the middle of a long run.
    """
    data, view = _planted(selector_class)
    labels = data.noisy_labels[view.batch.positions]
    _weights(selector_class, data, _part(view, (labels == labels[0]).nonzero().flatten()))


def check_batch_of_equal_losses(selector_class: type[BatchSelector]) -> None:
    """All samples of a batch may have the same loss and the same logits, and one may be alone.

    The first steps of a network look like that, and the last batch may be short.
    """
    data, view = _planted(selector_class)
    flat = replace(view, losses=torch.ones_like(view.losses), logits=torch.zeros_like(view.logits))
    _weights(selector_class, data, flat)
    _weights(selector_class, data, _part(view, torch.tensor([0], device=data.device)))


def check_batch_inputs_untouched(selector_class: type[BatchSelector]) -> None:
    """Losses and logits are the same after the call as before.

    The trainer goes on with the same losses.
    """
    data, view = _planted(selector_class)
    before = view.losses.clone(), view.logits.clone(), data.noisy_labels.clone()
    selector_class().choose(data, view.batch, view.losses, view.logits)
    after = view.losses, view.logits, data.noisy_labels
    names = ("losses", "logits", "data.noisy_labels")
    written = [n for n, a, b in zip(names, before, after, strict=True) if not torch.equal(a, b)]
    if written:
        raise ConformanceFailure(
            f"choose must leave its inputs as they are, but wrote into {', '.join(written)}. Work "
            "on a `.clone()`, without in-place operations."
        )


BATCH_CHECKS = (
    check_batch_permutation,
    check_batch_same_answer,
    check_batch_absent_class,
    check_batch_of_one_class,
    check_batch_of_equal_losses,
    check_batch_inputs_untouched,
)


def _planted(selector_class: type[BatchSelector]) -> tuple[TrainingData, BatchView]:
    data = case_for(selector_class, Plan()).data
    return data, first_batch(data, max(1, selector_class.n_networks))


def _part(view: BatchView, members: Tensor) -> BatchView:
    batch = replace(view.batch, positions=view.batch.positions[members])
    return BatchView(batch, view.losses[:, members], view.logits[:, members])


def _weights(selector_class: type[BatchSelector], data: TrainingData, view: BatchView) -> Tensor:
    weights = selector_class().choose(data, view.batch, view.losses.clone(), view.logits.clone())
    try:
        checked_weights(weights, view.losses)
    except PluginError as error:
        raise ConformanceFailure(str(error)) from None
    return weights
