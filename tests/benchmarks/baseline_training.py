"""Training as scripts for noisy labels do it today: the baseline of the training benchmarks.

A DataLoader with workers opens every image with PIL and transforms it by itself; the loop trains in
float32 with contiguous tensors and reads the loss after every step. Network, optimiser, batch size
and schedule are those of nlbench's cross-entropy trainer, so that only the way differs.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from nlbench.training.networks import make_network


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images one by one, from an array through PIL, as torchvision's CIFAR10 gives them."""

    def __init__(self, images: Tensor, labels: Tensor, augmented: bool) -> None:
        self._pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        self._labels = labels.tolist()
        side = images.shape[-1]
        random = [transforms.RandomCrop(side, padding=side // 8), transforms.RandomHorizontalFlip()]
        to_input = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
        self._transform = transforms.Compose([*(random if augmented else []), *to_input])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._pixels[i])), self._labels[i]


@dataclass
class Baseline:
    """A script's settings and, after `train`, its seconds and test accuracy by epoch."""

    network: str
    epochs: int
    batch_size: int
    lr: float = 0.05
    seed: int = 0
    device: str = "cpu"
    n_workers: int = 4
    epoch_s: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)

    def train(self, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> None:
        """Train on (N, 3, H, W) uint8 images with labels and test after every epoch."""
        torch.manual_seed(self.seed)
        loader, test_loader = self._loader(train, True), self._loader(test, False)
        network = make_network(self.network, 3, int(train[1].max()) + 1, self.seed).to(self.device)
        optimiser = torch.optim.SGD(
            network.parameters(), lr=self.lr, momentum=0.9, weight_decay=5e-4, nesterov=True
        )
        n_steps = self.epochs * len(loader)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda done: 0.5 * (1 + math.cos(math.pi * done / n_steps))
        )
        for _ in range(self.epochs):
            started = time.perf_counter()
            network.train()
            losses = []
            for images, labels in loader:
                loss = nn.functional.cross_entropy(
                    network(images.to(self.device)), labels.to(self.device)
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                losses.append(loss.item())
            self.test_accuracy.append(self._test(network, test_loader))
            self.epoch_s.append(time.perf_counter() - started)

    def _loader(
        self, data: tuple[Tensor, Tensor], training: bool
    ) -> DataLoader[tuple[Tensor, int]]:
        # Workers that stay: starting them anew for every epoch would flatter nlbench.
        return DataLoader(
            PilImages(*data, augmented=training),
            batch_size=self.batch_size,
            shuffle=training,
            drop_last=training,
            num_workers=self.n_workers,
            persistent_workers=self.n_workers > 0,
            pin_memory=self.device != "cpu",
        )

    @torch.no_grad()
    def _test(self, network: nn.Module, loader: DataLoader[tuple[Tensor, int]]) -> float:
        network.eval()
        n_right = n = 0
        for images, labels in loader:
            predicted = network(images.to(self.device)).argmax(dim=1)
            n_right += int((predicted == labels.to(self.device)).sum())
            n += len(labels)
        return n_right / n
