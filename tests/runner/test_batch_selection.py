"""What the record has as the decision of a selector that chooses inside mini-batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import nlbench
from nlbench import Batch, BatchSelector, PluginError, TrainingBatch, TrainingData
from nlbench.runner.batch_selection import BatchSelection

N = 6


@dataclass(frozen=True)
class Listed(BatchSelector):
    """Gives one list of weights after another, the second network the opposite."""

    weights: list[list[float]]
    seen: list[Batch] = field(default_factory=list)

    n_networks: ClassVar[int] = 2

    def choose(self, data: TrainingData, batch: Batch, losses: Tensor, logits: Tensor) -> Tensor:
        self.seen.append(batch)
        first = torch.tensor(self.weights[len(self.seen) - 1])
        return torch.stack([first, (first == 0).float()])


def ask(choice: BatchSelection, positions: list[int], epoch: int = 1) -> Tensor:
    where = torch.tensor(positions)
    batch = TrainingBatch(where, epoch, 1, 9, 2, torch.zeros(len(where)), where % 2)
    return choice(batch, torch.zeros(2, len(where)), torch.zeros(2, len(where), 2))


def choice_of(weights: list[list[float]], is_clean: Tensor | None = None) -> BatchSelection:
    data = TrainingData.from_arrays(torch.arange(N) % 2, n_classes=2)
    return BatchSelection(Listed(weights), data, is_clean)


def test_kept_is_what_the_first_network_used_in_half_of_its_draws() -> None:
    choice = choice_of([[1, 0, 0.5, 0], [0, 1, 1, 0]])
    assert choice.n_networks == 2
    ask(choice, [0, 1, 2, 3])
    ask(choice, [0, 2, 4, 5])  # a second draw of 0 and 2
    selection = choice.end_epoch()
    #      used in 1 of 2, 0 of 1, 2 of 2, 0 of 1, 1 of 1, 0 of 1 draws
    shares = [0.5, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert selection.keep.tolist() == [share >= 0.5 for share in shares]
    assert selection.score.tolist() == [(1 + share) / 2 for share in shares]


def test_the_last_epoch_ranks_and_those_before_it_order_what_is_equal() -> None:
    rows = [[1, 0, 1, 0, 1, 0], [1, 1, 0, 0, 1, 0], [1, 1, 1, 0, 0, 0]]
    choice = choice_of([[float(x) for x in row] for row in rows])
    for epoch in range(1, len(rows) + 1):
        ask(choice, list(range(N)), epoch)
        selection = choice.end_epoch()
    assert selection.keep.tolist() == [bool(x) for x in rows[-1]]
    history = [tuple(row[i] for row in reversed(rows)) for i in range(N)]
    score = selection.score.tolist()
    for i in range(N):
        for j in range(N):
            assert (score[i] > score[j]) == (history[i] > history[j])


def test_a_sample_that_was_not_drawn_keeps_its_decision() -> None:
    choice = choice_of([[1, 0, 1, 0, 1, 0], [0, 1]])
    ask(choice, list(range(N)))
    choice.end_epoch()
    ask(choice, [0, 1], epoch=2)
    assert choice.end_epoch().keep.tolist() == [False, True, True, False, True, False]


def test_an_epoch_that_used_nothing_is_refused() -> None:
    choice = choice_of([[0.0] * N])
    ask(choice, list(range(N)))
    with pytest.raises(PluginError, match="a weight > 0 in at least half of its draws"):
        choice.end_epoch()


def test_curves_are_of_the_first_network_and_need_the_truth_for_f1() -> None:
    is_clean = torch.tensor([True, True, True, False, False, False])
    weights = [[1.0, 1.0, 0.0, 1.0, 0.0, 0.0]]
    known, unknown = choice_of(weights, is_clean), choice_of(weights)
    for choice in (known, unknown):
        ask(choice, list(range(N)))
        choice.end_epoch()
    assert known.curves == {"selection_f1": [pytest.approx(2 / 3)], "kept_fraction": [0.5]}
    assert unknown.curves == {"kept_fraction": [0.5]}


def test_the_selector_sees_the_place_of_the_batch_and_nothing_of_the_training() -> None:
    selector = Listed([[1.0] * N])
    data = TrainingData.from_arrays(torch.arange(N) % 2, n_classes=2)
    choice: Any = BatchSelection(selector, data, None)
    ask(choice, list(range(N)), epoch=4)
    (batch,) = selector.seen
    assert type(batch) is Batch
    assert (batch.epoch, batch.step, batch.n_epochs, batch.n_steps) == (4, 1, 9, 2)
    assert choice.seconds > 0
    assert bool(choice.first().keep.all())


@pytest.mark.parametrize("selector", ["co-teaching", "small-loss:divider=rate"])
def test_the_record_has_the_rate_that_was_estimated(selector: str, tmp_path: Path) -> None:
    record = nlbench.run(
        selector,
        noise="symmetric",
        noise_rate=0.4,
        epochs=1,
        settings={"selector.noise_rate": "estimated"},
        track=False,
        home=tmp_path,
    )
    assert record.diagnostics["estimated_noise_rate"] == pytest.approx(0.4, abs=0.05)
    assert "estimated noise rate" in record.selector.knowledge
    assert "noise rate" not in record.selector.knowledge
    assert "scoring" in record.versions  # HOC's numbers are the toolbox's
