"""Between the training loop and what it may not see: online selectors, and the truth."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nlbench.checkpoints import ResumeError, stateful_parts
from nlbench.errors import PluginError
from nlbench.runner.equal_keep import keep_top_share_after_warmup
from nlbench.runner.selection_curves import SelectionCurves
from nlbench.runner.selector_calls import SelectorCalls
from nlbench.selector import Dynamics, OnlineSelector, Selection, TrainingData, checked_answer
from nlbench.training.task import Looks

# What the latest epochs are kept of, beside the losses.
_HISTORIES = ("prediction history", "training predictions", "margin history")


class OnlineSelection:
    """Asks an online selector after every epoch and keeps the curves of its answers.

    Attributes:
        n_networks: Networks in training, each of which gets an answer of its own.
        rounds: Trainings, the last of which is measured.
        observes: What the selector looks at beyond losses and logits.
        extra_classes: Outputs of the network beyond the K classes.
        curves: ``kept_fraction`` and, where the clean labels are known, ``selection_f1``; one
            value per epoch, of the first network.
    """

    def __init__(
        self,
        selector: OnlineSelector,
        data: TrainingData,
        n_epochs: int,
        is_clean: Tensor | None,
        equal_keep: float | None = None,
        calls: SelectorCalls | None = None,
    ) -> None:
        self._selector = selector
        self._data = data
        self._n_epochs = n_epochs
        self._equal_keep = equal_keep
        self._calls = calls or SelectorCalls("")
        self.n_networks = max(1, selector.n_networks)
        self.rounds = max(1, selector.rounds_used())
        self.observes = selector.observes
        self.extra_classes = selector.extra_classes
        self._round = 1
        self._histories = [_History(selector) for _ in range(self.n_networks)]
        self._previous: list[Selection | None] = [None] * self.n_networks
        self._made_again: frozenset[str] = frozenset()
        self._curves = SelectionCurves(is_clean)
        self.curves = self._curves.curves

    def first(self) -> Selection:
        """Return what the first epoch trains on: before it there are no dynamics."""
        with self._calls.call():
            answer = self._selector.first(self._data)
        with self._calls.call(patches=False), suppress(Exception):  # `saved_state` says it
            self._made_again = stateful_parts(self._selector, "the selector")
        answer = checked_answer(answer, self._data, self.extra_classes)
        if answer.restart:
            raise PluginError(
                "a restart must be asked for after an epoch, got one before the first. Answer "
                "with it in `select`."
            )
        return answer

    def __call__(
        self,
        epoch: int,
        losses: Sequence[Tensor],
        logits: Sequence[Tensor],
        looks: Sequence[Looks] = (),
    ) -> list[Selection]:
        """Ask for what each network trains on next.

        Args:
            epoch: Epochs trained so far in this round.
            losses: (N,) of each network.
            logits: (N, K) of each network.
            looks: What the selector declared in `observes`, of each network.
        """
        views = []
        for i, (history, loss, logit) in enumerate(
            zip(self._histories, losses, logits, strict=True)
        ):
            observed = history.add(loss, logit, looks[i] if looks else {})
            views.append(
                Dynamics(
                    epoch, self._n_epochs, loss, logit, history.losses(), (),
                    self._round, self._previous[i], observed,
                )
            )  # fmt: skip
        answers = []
        for i, view in enumerate(views):
            dynamics = replace(view, peers=(*views[:i], *views[i + 1 :]))
            with self._calls.call(patches=False):
                answer = self._selector.select(self._data, dynamics)
            answers.append(checked_answer(answer, self._data, self._selector.extra_classes))
        self._previous = [replace(answer, restart=False) for answer in answers]
        # The answer that asks for the last round is what that round begins with.
        measured = self._round + any(answer.restart for answer in answers) >= self.rounds
        share = self._equal_keep if measured else None
        answers = [keep_top_share_after_warmup(a, self._data, share) for a in answers]
        self._curves.note(answers[0].keep)
        self._begin_round(answers)
        return answers

    def saved_state(self) -> Mapping[str, Any]:
        """Return what the next answer depends on, the selector's own state in it.

        Raises:
            ResumeError: if a network or optimiser of the selector would not be made again.
        """
        made = stateful_parts(self._selector, "the selector")
        if made - self._made_again:
            raise ResumeError(
                f"{min(made - self._made_again)} was made after the first epoch, and cannot be "
                "put back. Make it in `first`, or write `saved_state` and `restore_state`."
            )
        return {
            "selector": self._selector,
            "round": self._round,
            "histories": [history.rows for history in self._histories],
            "previous": self._previous,
            "curves": self.curves,
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there; `first` was called before."""
        self._round, self._previous = state["round"], state["previous"]
        for history, rows in zip(self._histories, state["histories"], strict=True):
            history.rows = rows
        self._curves.restore(state["curves"])

    def _begin_round(self, answers: Sequence[Selection]) -> None:
        asked = [answer.restart for answer in answers]
        if not any(asked):
            return
        if not all(asked):
            raise PluginError("a restart must be asked for all networks, got one for some of them.")
        if self._round >= self.rounds:
            raise PluginError(
                f"restart was asked for {self._round} times, and the selector declares "
                f"{self.rounds} rounds, the measured one included. Write "
                f"`rounds: ClassVar[int] = {self._round + 1}` or more into its class."
            )
        self._round += 1
        self._curves.clear()


class _History:
    """The latest epochs of one network, as far as the selector looks at them."""

    def __init__(self, selector: OnlineSelector) -> None:
        self._observes = selector.observes
        n = max(1, selector.history_epochs)
        self.rows: dict[str, deque[Tensor]] = {
            name: deque(maxlen=n) for name in ("losses", *_HISTORIES) if self._keeps(name)
        }

    def _keeps(self, name: str) -> bool:
        return name == "losses" or name in self._observes

    def add(self, losses: Tensor, logits: Tensor, looks: Looks) -> Looks:
        """Take note of an epoch; return what the selector may look at."""
        # A selector that writes into what it is given must not reach the next epoch's history.
        latest: dict[str, Callable[[], Tensor]] = {
            "losses": losses.clone,
            "prediction history": lambda: logits.argmax(dim=1),
            **looks,
        }
        for name, rows in self.rows.items():
            rows.append(latest[name]())
        stacked = {
            name: partial(_stacked, tuple(rows))
            for name, rows in self.rows.items()
            if name != "losses"
        }
        return {**looks, **stacked}

    def losses(self) -> Tensor:
        """Return (H, N)."""
        return _stacked(tuple(self.rows["losses"]))


def _stacked(rows: tuple[Tensor, ...]) -> Tensor:
    return torch.stack(rows)


class RelabelAccuracy:
    """Watches the labels that a trainer goes on with, and measures those it made up.

    Attributes:
        curves: ``relabel_accuracy``: of the samples in training whose label is not the noisy one,
            the share whose label is the clean one; None where there is no such sample. Empty for
            trainers that change no labels, and where the clean labels are not known.
    """

    def __init__(self, noisy_labels: Tensor, clean_labels: Tensor | None) -> None:
        self._noisy_labels = noisy_labels
        self._clean_labels = clean_labels
        self.curves: dict[str, list[float | None]] = {}

    def restore(self, curves: Mapping[str, list[float | None]]) -> None:
        """Go on with these."""
        self.curves.clear()
        self.curves.update(curves)

    def __call__(self, epoch: int, keep: Tensor, labels: Tensor) -> None:
        """Take note of the next epoch's samples and labels."""
        if self._clean_labels is None:  # nobody knows which label is right
            return
        changed = keep & (labels != self._noisy_labels)
        right = changed & (labels == self._clean_labels)
        n_changed = int(changed.sum())
        accuracy = int(right.sum()) / n_changed if n_changed else None
        self.curves.setdefault("relabel_accuracy", []).append(accuracy)
