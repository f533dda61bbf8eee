"""Checks that a selector goes on after a kill: its state is all that its answers depend on."""

from __future__ import annotations

import io
from typing import Any

import torch

from nlbench.checkpoints import ResumeError, restored, saved, stateful_parts
from nlbench.conformance.harness import (
    ConformanceFailure,
    case_for,
    planted_answers,
    require_answer,
    select,
)
from nlbench.selector import AnySelector, BatchSelector, OnlineSelector, Selection, TrainingData


def check_resumed_in_mid_training(selector_class: type[AnySelector]) -> None:
    """Taken up anew after every epoch, it gives the same answers bit by bit.

    A run of hours goes on from a checkpoint where its process was killed, in another process.
    """
    if not issubclass(selector_class, OnlineSelector | BatchSelector):
        return
    case = case_for(selector_class)
    if issubclass(selector_class, OnlineSelector):
        first = list(planted_answers(selector_class, case.data))
        second = list(planted_answers(selector_class, case.data, taken_up))
    else:
        first = [select(selector_class, case)]
        second = [select(selector_class, case, take_up=taken_up)]
    require_answer(first[-1], case.data)
    for epoch, (one, two) in enumerate(zip(first, second, strict=False), start=1):
        what = _what_differs(one, two)
        if what:
            raise ConformanceFailure(
                f"a selector that is taken up in another process must answer as before, got "
                f"another {what} in answer {epoch}. Keep what you remember in attributes, not "
                "in a module or a closure, or write `saved_state` and `restore_state`."
            )


def taken_up(selector: Any, data: TrainingData) -> Any:
    """Return a new selector of the same kind with the state of the old one, through bytes.

    Raises:
        ConformanceFailure: if the state cannot be saved or put back.
    """
    again = type(selector)()
    if isinstance(again, OnlineSelector):
        again.first(data)
    try:
        plain, made_again = saved(selector, "the selector"), stateful_parts(again, "the selector")
        missing = stateful_parts(selector, "the selector") - made_again
        if missing:
            raise ResumeError(
                f"{min(missing)} must be made in `first` or before, got it later. What has a state "
                "of its own is put back in place."
            )
        stream = io.BytesIO()
        torch.save(plain, stream)
        stream.seek(0)
        restored(torch.load(stream, weights_only=True), again)
    except ResumeError as error:
        raise ConformanceFailure(f"its state must be saved and put back, got: {error}") from None
    return again


def _what_differs(one: Selection, two: Selection) -> str:
    if one.restart != two.restart:
        return "restart"
    for name in ("keep", "score", "labels", "weights", "soft_labels", "loss_weights"):
        a, b = getattr(one, name), getattr(two, name)
        if (a is None) != (b is None) or (a is not None and not torch.equal(a, b)):
            return name
    return ""
