"""Plain cross-entropy on the selected samples: SGD with momentum, cosine schedule.

The schedule is Loshchilov and Hutter's without restarts (ICLR 2017, arXiv 1608.03983), per step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nlbench.training.loss_trainer import LossTrainer, State
from nlbench.training.task import TrainingBatch


@dataclass(frozen=True)
class CrossEntropy(LossTrainer):
    """Cross-entropy on the selection, the same number of steps for every selector.

    Attributes:
        epochs: Of N // batch_size steps each, N counting all training samples.
        batch_size: Samples per step.
        lr: Highest learning rate.
        momentum: Of SGD, Nesterov.
        weight_decay: L2.
        network: "small-cnn", "preact-resnet18", "preact-resnet18-dividemix", "resnet34-cifar",
            "vgg19-bn-64", "vgg19-bn-clipcleaner", "timm:MODEL" or "timm-pretrained:MODEL".
        augmentation: "none", "shift", "crop-flip", or after crop and flip "autoaugment-cifar10",
            "autoaugment-imagenet" or "randaugment"; each of these three with "-clipcleaner" behind
            it is the version that CLIPCleaner's authors released.
        input_size: Side of what the network sees of larger images; None for all of an image.
        resized_crop: Whether training sees a random box of an image, scaled to this side.
    """

    version: ClassVar[int] = 1

    takes_soft_labels: ClassVar[bool] = True

    def batch_loss(
        self, batch: TrainingBatch, outputs: Tensor, labels: Tensor, state: State
    ) -> Tensor:
        """Return (M, B) cross-entropy in nats."""
        return torch.stack(
            [nn.functional.cross_entropy(each, labels, reduction="none") for each in outputs]
        )

    def mean_loss(
        self, batch: TrainingBatch, outputs: Tensor, labels: Tensor, state: State
    ) -> Tensor:
        """Return the same mean in one operation: plain training is what most runs do."""
        if len(outputs) > 1 or type(self).batch_loss is not CrossEntropy.batch_loss:
            return super().mean_loss(batch, outputs, labels, state)
        return nn.functional.cross_entropy(outputs.squeeze(0), labels)
