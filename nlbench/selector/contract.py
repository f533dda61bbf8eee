"""The contract of a selector: it chooses once, after every epoch, or inside every mini-batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from nlbench.checkpoints import Resumable
from nlbench.selector.dynamics import Batch, Dynamics, Observation
from nlbench.selector.selection import Selection
from nlbench.selector.training_data import Knowledge, TrainingData


class _Component(Resumable, ABC):  # its subclasses differ in what they answer
    """What all kinds of selector share. A concrete selector is a dataclass."""

    knowledge: ClassVar[tuple[Knowledge, ...]] = ()
    version: ClassVar[int] = 0  # where nobody keeps one, the source counts: plugins/versions.py
    conformance_exempt: ClassVar[Mapping[str, str]] = {}
    is_bound: ClassVar[bool] = False
    # The lower reference: what every method has to beat.
    is_reference: ClassVar[bool] = False
    # What differs from the paper's method, in a few words: boards say it beside the name.
    deviation: ClassVar[str] = ""
    # The trainer that belongs to the method; the protocol's where left empty.
    trainer: ClassVar[str] = ""

    def knowledge_used(self) -> tuple[Knowledge, ...]:
        """Return the knowledge that these hyper-parameters use; `knowledge` unless overridden."""
        return type(self).knowledge


class Selector(_Component):
    """Chooses once, before training.

    Subclass it as a dataclass whose fields are the hyper-parameters, in a module whose name is
    the selector's name and whose docstring names the paper and every deviation from it::

        @dataclass(frozen=True)
        class MyIdea(nlbench.Selector):
            '''Keep labels that the neighbours confirm.'''

            k: int = 10

            def select(self, data):
                p = nlbench.scoring.knn_probabilities(
                    data.embeddings("image"), data.noisy_labels, data.n_classes, k=self.k)
                score = nlbench.scoring.margin(p, data.noisy_labels)
                return nlbench.Selection(keep=score >= 0, score=score)
    """

    @abstractmethod
    def select(self, data: TrainingData) -> Selection:
        """Choose the clean samples."""


class ProbabilitySelector(Selector):
    """Chooses by class probabilities (N, K) alone, wherever these are from.

    Who has better ones, such as those of an own network, hands them to `decide`;
    `nlbench.clean` does, and names by them the class that a label should have been.
    """

    @abstractmethod
    def probabilities(self, data: TrainingData) -> Tensor:
        """Return (N, K), rows sum to 1, each out of sample: of a model that did not see the row."""

    @abstractmethod
    def decide(self, data: TrainingData, probabilities: Tensor) -> Selection:
        """Choose the clean samples by these (N, K)."""

    def select(self, data: TrainingData) -> Selection:
        """Choose the clean samples."""
        return self.decide(data, self.probabilities(data))


class OnlineSelector(_Component):
    """Chooses again after every epoch, from the losses and logits of the network in training.

    With `n_networks` above 1, so many networks are trained side by side, alike but for their
    initial weights and draws. `select` is asked once for each, and sees the others in
    `dynamics.peers`. Results are of the first network.

    A method that retrains from scratch says in `rounds` how many trainings it takes, the one that
    is measured included, and answers with `restart=True` at the end of the others. The last round
    has all epochs of the protocol; the rounds before it are the cost of the method.

    What it keeps from one epoch to the next as attributes goes into checkpoints (`saved_state`).

    Attributes:
        history_epochs: How many of the latest epochs the histories hold.
        n_networks: Networks in training.
        observes: What it looks at beyond losses and logits; computed only because it is declared.
        rounds: Trainings, the last of which is measured.
        extra_classes: Outputs of the network beyond the K classes, which `Selection.labels` may
            name before the last round, such as AUM's class of samples that are wrong by design.
    """

    history_epochs: ClassVar[int] = 1
    n_networks: ClassVar[int] = 1
    observes: ClassVar[tuple[Observation, ...]] = ()
    rounds: ClassVar[int] = 1
    extra_classes: ClassVar[int] = 0

    def rounds_used(self) -> int:
        """Return the trainings that these hyper-parameters take; `rounds` unless overridden."""
        return type(self).rounds

    def first(self, data: TrainingData) -> Selection:
        """Return what the first epoch trains on; everything unless overridden.

        There are no dynamics yet, and no score that could rank anything.
        """
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=torch.zeros_like(keep, dtype=torch.float32))

    @abstractmethod
    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        """Choose the samples that the network of `dynamics` trains on in the next epoch."""


class BatchSelector(_Component):
    """Chooses inside every mini-batch, from losses and logits in training mode.

    All `n_networks` networks see the same batches of all samples. What the record has as the
    decision comes from the last epoch: `keep` where the first network used a sample in at least
    half of its draws, `score` the share of those draws, equal shares ordered by the epoch before,
    and so on. Results are of the first network.
    """

    n_networks: ClassVar[int] = 1

    @abstractmethod
    def choose(self, data: TrainingData, batch: Batch, losses: Tensor, logits: Tensor) -> Tensor:
        """Return how much each sample's loss counts for each network.

        Args:
            data: All training data; ``data.noisy_labels[batch.positions]`` are the batch's labels.
            batch: Which samples, and where in the training.
            losses: (M, B) float32 of the M networks, by the trainer's loss: cross-entropy in nats
                unless the method has a trainer of its own.
            logits: (M, B, K) float32, training mode, augmented.

        Returns:
            (M, B) float weights >= 0; the loss of network m is sum(w[m] losses[m]) / sum(w[m]).
        """


class BoundSelector(_Component):
    """A bound, not a method: it is given the clean labels, shown as a bound and never ranked."""

    is_bound: ClassVar[bool] = True
    knowledge: ClassVar[tuple[Knowledge, ...]] = ("clean labels",)

    @abstractmethod
    def select_with_truth(self, data: TrainingData, clean_labels: Tensor) -> Selection:
        """Choose with the truth at hand."""


AnySelector = Selector | OnlineSelector | BatchSelector | BoundSelector
# What a class must derive from to be a selector, and from exactly one of them.
SELECTOR_KINDS = (Selector, OnlineSelector, BatchSelector, BoundSelector)
