"""What learns from one order of batches; the loop that drives it is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nlbench.selector import Selection
from nlbench.training.observed import TrainingOutputs
from nlbench.training.order import BatchOrder
from nlbench.training.task import TrainingBatch

# (epochs done, the selector's selection, logits of all training samples by each of the learner's
# networks) -> what to train on next.
Refine = Callable[[int, Selection, Sequence[Tensor]], Selection]


@dataclass(eq=False)
class Learner:
    """What learns from one order of batches: mostly one network.

    Attributes:
        network: On the device.
        step: Takes a batch, updates the weights, returns the detached loss.
        batches: Where the order of samples comes from.
        refine: A trainer's own choice of the next training set, made from the selector's.
        partners: Networks that learn from the same batches.
        peers: Networks of the other learners.
        unlabelled: Where the order of dropped samples comes from, for trainers that use them.
        seen: Predictions and margins in training mode, where somebody looks at them.
        memory: What else `step` and `refine` change, by name: optimisers, schedules, generators,
            state. None where nobody says so: such a training cannot go on after a kill.
    """

    network: nn.Module
    step: Callable[[TrainingBatch], Tensor]
    batches: BatchOrder
    refine: Refine | None = None
    partners: tuple[nn.Module, ...] = ()
    peers: tuple[nn.Module, ...] = ()
    unlabelled: BatchOrder | None = None
    seen: TrainingOutputs | None = None
    memory: dict[str, Any] | None = None

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All networks that learn from its batches, the first one first."""
        return (self.network, *self.partners)
