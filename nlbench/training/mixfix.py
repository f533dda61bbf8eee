"""MixFix, CLIPCleaner's trainer: mixup on the selection, which grows by what the network finds.

Paper: Feng, Tzimiropoulos, Patras, "CLIPCleaner", ACM MM 2024 (arXiv 2408.10012), section 3.3.

After every epoch the network predicts all training images without augmentation. One that it
gives its noisy label with confidence theta_r joins (absorb); one that it gives another label
with confidence theta_r2 joins with that label, or trades its label where it was selected already
(relabel). The next epoch trains on the selector's samples and on these. Nothing is carried over:
every epoch starts again from the selection.

Choices where the paper is silent: a threshold of 1 switches its step off, since a softmax that
is rounded to 1 is no certainty; samples that a selector weighs count in proportion within their
class, absorbed and relabelled ones as the mean of the selected; the last learning rates come
after 2/3 and 5/6 of the epochs (200 and 250 of 300).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from nlbench.selector import Selection
from nlbench.training.augment import Augmentation
from nlbench.training.class_balance import ClassBalancedOrder
from nlbench.training.learner import Refine
from nlbench.training.mixup import mixup_loss
from nlbench.training.order import BatchOrder
from nlbench.training.sgd import SgdTrainer
from nlbench.training.task import TrainingOutcome, TrainingTask


def absorb_and_relabel(
    selection: Selection, noisy_labels: Tensor, logits: Tensor, theta_r: float, theta_r2: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the next training set: initial selection + absorbed + relabelled.

    Args:
        selection: The selector's; its corrected labels count for its own samples.
        noisy_labels: (N,) int64.
        logits: (N, K) of all training samples.
        theta_r: Lowest confidence at which a sample is absorbed, 1 for never.
        theta_r2: Lowest confidence at which a sample is relabelled, 1 for never.

    Returns:
        (N,) int64 labels, and two (N,) bool masks: absorbed (samples beside the selection) and
        relabelled (samples of the selection among them).

    >>> import torch
    >>> keep = torch.tensor([True, False, False, False])
    >>> logits = 9.0 * torch.tensor([[1, 0], [0, 1], [1, 0], [0, 0]])
    >>> labels, absorbed, relabelled = absorb_and_relabel(
    ...     Selection(keep, keep.float()), torch.tensor([0, 1, 1, 1]), logits, 0.8, 0.8)
    >>> labels.tolist(), absorbed.tolist(), relabelled.tolist()
    ([0, 1, 0, 1], [False, True, False, False], [False, False, True, False])
    """
    confidence, predicted = logits.float().softmax(dim=1).max(dim=1)
    agrees = predicted == noisy_labels
    absorbed = agrees & (confidence >= theta_r) & ~selection.keep
    relabelled = ~agrees & (confidence >= theta_r2)
    if theta_r >= 1:
        absorbed = torch.zeros_like(absorbed)
    if theta_r2 >= 1:
        relabelled = torch.zeros_like(relabelled)
    labels = noisy_labels
    if selection.labels is not None:
        labels = torch.where(selection.keep, selection.labels, noisy_labels)
    return torch.where(relabelled, predicted, labels), absorbed, relabelled


@dataclass(frozen=True)
class MixFix(SgdTrainer):
    """Mixup on the selection and on what the network absorbs and relabels, classes balanced.

    Attributes:
        epochs: Of N // batch_size steps each, N counting all training samples.
        batch_size: Samples per step.
        lr: Learning rate before the first milestone.
        momentum: Of SGD, not Nesterov.
        weight_decay: L2.
        network: "small-cnn", "preact-resnet18", "preact-resnet18-dividemix", "resnet34-cifar",
            "vgg19-bn-64", "vgg19-bn-clipcleaner", "timm:MODEL" or "timm-pretrained:MODEL".
        augmentation: "none", "shift", "crop-flip", or after crop and flip "autoaugment-cifar10",
            "autoaugment-imagenet" or "randaugment"; each of these three with "-clipcleaner" behind
            it is the version that CLIPCleaner's authors released.
        input_size: Side of what the network sees of larger images; None for all of an image.
        resized_crop: Whether training sees a random box of an image, scaled to this side.
        milestones: When the learning rate falls to a tenth: epochs done, or shares of all epochs
            where below 1.
        beta: Both parameters of lambda's Beta distribution.
        theta_r: Lowest confidence at which a sample joins with its label; 1 for never.
        theta_r2: Lowest confidence at which a sample is relabelled; 1 for never.
    """

    version: ClassVar[int] = 1

    epochs: Annotated[int, Field(ge=1)] = 300
    batch_size: Annotated[int, Field(ge=2)] = 128
    lr: Annotated[float, Field(gt=0)] = 0.02
    network: str = "preact-resnet18"
    augmentation: Augmentation = "autoaugment-cifar10"
    milestones: list[Annotated[float, Field(gt=0)]] = field(default_factory=lambda: [2 / 3, 5 / 6])
    beta: Annotated[float, Field(gt=0)] = 1.0
    theta_r: Annotated[float, Field(ge=0, le=1)] = 0.8
    theta_r2: Annotated[float, Field(ge=0, le=1)] = 0.8

    @property
    def nesterov(self) -> bool:
        """Plain momentum."""
        return False

    def lr_factor(self, done: int, n_steps: int) -> float:
        """Return a tenth for every milestone passed."""
        # Whole epochs, so that 2/3 of 300 is 200 and not 199.99...
        epochs = [round(m * self.epochs) if m < 1 else m for m in self.milestones]
        return float(0.1 ** sum(done * self.epochs >= epoch * n_steps for epoch in epochs))

    def order(self, task: TrainingTask, draws: torch.Generator) -> BatchOrder:
        """Draw every class as often as the largest."""
        return ClassBalancedOrder(draws, task.noisy_labels)

    def loss(
        self, network: nn.Module, batch: Tensor, labels: Tensor, draws: torch.Generator
    ) -> Tensor:
        """Return the mean cross-entropy of mixed pairs in nats."""
        return mixup_loss(network, batch, labels, self.beta, draws)

    def train(self, task: TrainingTask) -> TrainingOutcome:
        """Train, and after every epoch choose what to train on next.

        The outcome has the curves ``absorbed`` and ``relabelled``, counts of samples; its
        selection stays the selector's.
        """
        counts: dict[str, list[float | None]] = {"absorbed": [], "relabelled": []}

        def refine_of(index: int) -> Refine:
            def refine(epoch: int, selection: Selection, logits: Sequence[Tensor]) -> Selection:
                labels, absorbed, relabelled = absorb_and_relabel(
                    selection, task.noisy_labels, logits[0], self.theta_r, self.theta_r2
                )
                if index == 0 and epoch == 1:  # also after a restart
                    counts["absorbed"].clear()
                    counts["relabelled"].clear()
                if index == 0:
                    counts["absorbed"].append(float(absorbed.sum()))
                    counts["relabelled"].append(float(relabelled.sum()))
                return _enlarged(selection, absorbed | relabelled, labels)

            return refine

        outcome = self.fit(task, refine_of, {"counts": counts})
        outcome.curves |= counts
        return outcome


def _enlarged(selection: Selection, joined: Tensor, labels: Tensor) -> Selection:
    weights = selection.weights
    if weights is not None:
        weights = torch.where(selection.keep, weights, weights[selection.keep].mean())
    return Selection(
        keep=selection.keep | joined, score=selection.score, labels=labels, weights=weights
    )
