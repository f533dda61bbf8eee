"""Plain cross-entropy on the selected samples: SGD with momentum, cosine schedule.

The schedule is Loshchilov and Hutter's without restarts (ICLR 2017, arXiv 1608.03983), per step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from nlbench.seeds import derive_seed
from nlbench.training.augment import Augmentation, augment
from nlbench.training.loop import (
    BatchOrder,
    Trainer,
    TrainingOutcome,
    TrainingTask,
    as_input,
    run_epochs,
)
from nlbench.training.networks import make_network


@dataclass(frozen=True)
class CrossEntropy(Trainer):
    """Cross-entropy on the selection, the same number of steps for every selector.

    Attributes:
        epochs: Of N // batch_size steps each, N counting all training samples.
        batch_size: Samples per step.
        lr: Highest learning rate.
        momentum: Of SGD, Nesterov.
        weight_decay: L2.
        network: "small-cnn" or "timm:MODEL".
        augmentation: "none", "shift" or "crop-flip".
    """

    epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=2)] = 64
    lr: Annotated[float, Field(gt=0)] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    network: str = "small-cnn"
    augmentation: Augmentation = "shift"

    def train(self, task: TrainingTask) -> TrainingOutcome:
        """Train on the kept samples and evaluate after every epoch."""
        device, batch_size = task.device, min(self.batch_size, len(task.images))
        network = make_network(self.network, task.images.shape[1], task.n_classes, task.seed)
        network = network.to(device).to(memory_format=torch.channels_last)
        optimiser = torch.optim.SGD(
            network.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.momentum > 0,
        )
        n_steps = self.epochs * max(1, len(task.images) // batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda done: 0.5 * (1 + math.cos(math.pi * done / n_steps))
        )
        # Order and augmentation draw from (seed, network), never from the selector.
        order = torch.Generator().manual_seed(derive_seed("order", self.network, task.seed))
        views = torch.Generator().manual_seed(derive_seed("views", self.network, task.seed))
        autocast = device.type == "cuda"

        def step(images: Tensor, labels: Tensor) -> Tensor:
            batch = augment(as_input(images), self.augmentation, views)
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                loss = nn.functional.cross_entropy(network(batch), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            return loss.detach()

        return run_epochs(task, network, step, self.epochs, batch_size, BatchOrder(order), autocast)
