"""A fixed training in rounds, for online selectors that look at more than the last losses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from golden.problem_data import normal, rng
from torch import Tensor

from nlbench import Dynamics, OnlineSelector, Selection, TrainingData

N_EPOCHS = 12
_NEVER_DRAWN = 0.05


def played(
    selector: OnlineSelector, data: TrainingData, clean: Tensor, nudge: float
) -> Iterator[tuple[str, Selection]]:
    """Yield the answers that count: the first, those that ask for a restart, and the last one."""
    answer = selector.first(data)
    yield "at first", answer
    previous: Selection | None = None
    networks = [_Network(selector, data, clean, i, nudge) for i in range(selector.n_networks)]
    for number in range(1, selector.rounds_used() + 1):
        labels = answer.training_labels(data.noisy_labels)
        for epoch in range(1, N_EPOCHS + 1):
            seen = [each.epoch(number, epoch, answer.keep, labels, previous) for each in networks]
            answer = selector.select(data, replace(seen[0], peers=tuple(seen[1:])))
            previous = replace(answer, restart=False)
            if answer.restart:
                yield f"round {number}, epoch {epoch}", answer
                break
        else:
            yield "at last", answer
            return


class _Network:
    """Losses, logits and all else of one network, made of seeded numbers."""

    def __init__(
        self, selector: OnlineSelector, data: TrainingData, clean: Tensor, index: int, nudge: float
    ) -> None:
        self._data, self._clean, self._nudge = data, clean, nudge
        self._seed, self._n_extra = 100_000 * (index + 1), selector.extra_classes
        names = ("losses", "prediction history", "training predictions", "margin history")
        size = max(1, selector.history_epochs)
        self._rows: dict[str, deque[Tensor]] = {name: deque(maxlen=size) for name in names}

    def epoch(
        self, number: int, epoch: int, keep: Tensor, labels: Tensor, previous: Selection | None
    ) -> Dynamics:
        seed = self._seed + 1000 * number + epoch
        logits = self._logits(seed, epoch, self._clean)[:, : self._data.n_classes]
        losses = torch.nn.functional.cross_entropy(
            logits, self._data.noisy_labels, reduction="none"
        )
        self._note(seed, epoch, keep, labels, losses, logits)
        stacked = {name: torch.stack(list(rows)) for name, rows in self._rows.items()}
        looks: dict[str, Tensor] = {
            **stacked,
            "features": logits + 0.5 * normal(*logits.shape, seed=seed + 1),
            "input gradients": normal(len(losses), seed=seed + 2).abs() * losses,
            "held-out logits": logits[::7],
            "held-out labels": self._data.noisy_labels[::7],
        }
        observed: dict[str, Any] = {name: value.clone for name, value in looks.items()}
        history = stacked["losses"]
        return Dynamics(epoch, N_EPOCHS, losses, logits, history, (), number, previous, observed)

    def _note(
        self,
        seed: int,
        epoch: int,
        keep: Tensor,
        labels: Tensor,
        losses: Tensor,
        logits: Tensor,
    ) -> None:
        labels = labels if labels.ndim == 1 else labels.argmax(dim=1)
        # What has a class of its own by design is learned as one that is hard to tell.
        trained = self._logits(
            seed + 3, epoch, torch.where(labels < logits.shape[1], self._clean, labels)
        )
        drawn = keep & torch.from_numpy(rng(seed).random(len(labels)) >= _NEVER_DRAWN)
        own = trained.gather(1, labels[:, None]).squeeze(1)
        others = trained.scatter(1, labels[:, None], -torch.inf).max(dim=1).values
        self._rows["losses"].append(losses)
        self._rows["prediction history"].append(logits.argmax(dim=1))
        self._rows["training predictions"].append(torch.where(drawn, trained.argmax(dim=1), -1))
        self._rows["margin history"].append(torch.where(drawn, own - others, torch.nan))

    def _logits(self, seed: int, epoch: int, led: Tensor) -> Tensor:
        n, k = len(led), self._data.n_classes + self._n_extra
        logits = normal(n, k, seed=seed) + self._nudge * normal(n, k, seed=seed + 500)
        lead = 1 + 4 * epoch / (epoch + 5)
        logits[torch.arange(n), led] += torch.where(led < self._data.n_classes, lead, lead / 2)
        return logits
