"""What a trainer is given and what it returns; it contains no clean training labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from nlbench.checkpoints import Resumable
from nlbench.data.images import StoredImages
from nlbench.selector import Batch, Selection
from nlbench.training.precision import Precision

# By name, what an online selector may look at after an epoch; computed when it does.
Looks = Mapping[str, Callable[[], Tensor]]


class Reselect(Protocol):
    """Asks an online selector for the next epoch's training sets."""

    def __call__(
        self,
        epoch: int,
        losses: Sequence[Tensor],
        logits: Sequence[Tensor],
        looks: Sequence[Looks] = (),
        /,
    ) -> Sequence[Selection]:
        """Return what each network trains on next, from (N,) and (N, K) of each."""


class BatchChoice(Protocol):
    """Asks a batch selector, and keeps account of what it used."""

    n_networks: int
    seconds: float

    def __call__(self, batch: Batch, losses: Tensor, logits: Tensor, /) -> Tensor:
        """Return (M, B) weights for (M, B) losses and (M, B, K) logits."""

    def end_epoch(self) -> Selection:
        """Return what was used in the epoch that has ended."""


class Training(Protocol):
    """A training between two epochs, as checkpoints see it."""

    epoch: int
    outcome: TrainingOutcome

    def saved(self) -> Any:
        """Return all that the next epoch depends on, as plain data."""

    def restore(self, plain: Any, /) -> None:
        """Take over what `saved` returned."""


class Checkpoints(Protocol):
    """What a trainer tells of its way, so that it can go on after its process was killed."""

    def begin(self, training: Training, /) -> None:
        """Put back what an earlier process saved, where there is such a thing."""

    def reached(self, training: Training, n_epochs: int, /) -> None:
        """Save it where that is due; raises `PausedError` where the run is to end early."""


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """The input of a trainer.

    Attributes:
        images: (N, C, H, W) uint8 on the device, or in a file and read from there to the device.
        noisy_labels: (N,) int64.
        val_images, val_labels: Held-out part with *noisy* labels, empty if `val_fraction` is 0.
        test_images, test_labels: The clean test set; evaluated, never used to choose an epoch.
        selection: What to train on first.
        other_tests: Images of further test sets by name, predicted after the last epoch.
        reselect: For online selectors: (epoch, losses, logits) -> the next epoch's selections,
            one (N,), (N, K) and answer for each network.
        n_networks: Networks to train side by side, each on a set of its own; results are of the
            first.
        choose: For batch selectors: asked in every step; its networks share the batches.
        observes: What the online selector looks at beyond losses and logits.
        extra_classes: Outputs beyond the K classes; they are not predicted.
        on_labels: For trainers that enlarge or relabel the set that they train on: called
            with (epoch, (N,) bool kept, (N,) int64 labels) of what the first network gets next.
        seed: The run's seed.
        progress: Called with (epochs done, epochs).
        checkpoints: Told when training begins, and after every epoch that another one follows;
            `run_epochs` does it.
    """

    images: StoredImages
    noisy_labels: Tensor
    val_images: StoredImages
    val_labels: Tensor
    test_images: StoredImages
    test_labels: Tensor
    n_classes: int
    selection: Selection
    seed: int
    device: torch.device
    other_tests: Mapping[str, StoredImages] = field(default_factory=dict)
    reselect: Reselect | None = None
    n_networks: int = 1
    choose: BatchChoice | None = None
    observes: tuple[str, ...] = ()
    extra_classes: int = 0
    on_labels: Callable[[int, Tensor, Tensor], None] = lambda epoch, keep, labels: None
    progress: Callable[[int, int], None] = lambda done, total: None
    checkpoints: Checkpoints | None = None

    @property
    def n_outputs(self) -> int:
        """K and the extra classes: the width of the network's last layer."""
        return self.n_classes + self.extra_classes


@dataclass(frozen=True, eq=False)
class TrainingBatch(Batch):
    """A mini-batch in training.

    Attributes:
        images: (B, C, H, W) uint8 as they are stored; for `batch_loss` the augmented floats, with a
            leading dimension of views, (V, B, C, H, W), where there are several.
        labels: (B,) int64, or (B, K) float where the selection has soft labels.
        loss_weights: (B,) float, or None.
        unlabelled: As many dropped samples, labels as noisy as they are; None where nothing is
            dropped, or the trainer has no use for them.
        networks: The M networks that learn from this batch.
        peers: Networks in training that learn from sets of their own; in evaluation mode.
        draws: On the CPU; where random numbers of a loss come from.
        selection: What this epoch's batches are drawn from, for losses that use its score.
    """

    images: Tensor
    labels: Tensor
    loss_weights: Tensor | None = None
    unlabelled: TrainingBatch | None = None
    networks: tuple[nn.Module, ...] = ()
    peers: tuple[nn.Module, ...] = ()
    draws: torch.Generator | None = None
    selection: Selection | None = None


@dataclass(eq=False)
class TrainingOutcome:
    """The result of a training: curves with one value per epoch, and the last predictions.

    All of it is of the first network, except the curve ``ensemble_test_accuracy``: the mean of the
    probabilities of all networks, if there are several. Where a selector retrains from scratch, it
    is of the last round; `n_steps` counts all of them.
    """

    selection: Selection
    curves: dict[str, list[float | None]] = field(default_factory=dict)
    test_predictions: Tensor = field(default_factory=lambda: torch.empty(0))
    test_predictions_noisy_val: Tensor | None = None
    other_predictions: dict[str, Tensor] = field(default_factory=dict)
    reselect_s: float = 0.0
    n_steps: int = 0
    n_rounds: int = 1
    precision: Precision = "float32"


class Trainer(Resumable, ABC):
    """A way to train on a selection; a dataclass whose fields are its settings.

    Attributes:
        is_method: Whether training with it on everything is a method of its own, ranked under its
            name, such as a loss that is robust by itself.
    """

    is_method: ClassVar[bool] = False
    version: ClassVar[int] = 0  # where nobody keeps one, the source counts: plugins/versions.py
    conformance_exempt: ClassVar[Mapping[str, str]] = {}
    deviation: ClassVar[str] = ""

    @abstractmethod
    def train(self, task: TrainingTask) -> TrainingOutcome:
        """Train and evaluate after every epoch."""

    def check(self, image_size: int) -> None:
        """Refuse settings that do not fit images of this side, before anything is computed.

        Raises:
            ConfigError: naming the first of them.
        """
