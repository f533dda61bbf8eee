"""One epoch of CIFAR size, tested at its end: nlbench's trainer and a DataLoader with PIL."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from baseline_training import Baseline
from torch import Tensor

from nlbench.selector import Selection
from nlbench.training.cross_entropy import CrossEntropy
from nlbench.training.task import TrainingTask

pytestmark = pytest.mark.bench

BATCH = 64
# Samples: enough for a dozen steps of the small network and for four of the large one.
SIZES = {"small-cnn": 768, "preact-resnet18": 256}
CPU = torch.device("cpu")


def random_images(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return images, torch.arange(n) % 10


def task_of(n: int) -> TrainingTask:
    (images, labels), (test_images, test_labels) = random_images(n, 0), random_images(n // 5, 1)
    keep = torch.ones(n, dtype=torch.bool)
    return TrainingTask(
        images=images,
        noisy_labels=labels,
        val_images=images[:0],
        val_labels=labels[:0],
        test_images=test_images,
        test_labels=test_labels,
        n_classes=10,
        selection=Selection(keep=keep, score=keep.double()),
        seed=0,
        device=CPU,
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("network", SIZES)
def test_epoch_of_nlbench(
    benchmark: Any, network: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLBENCH_PRECISION", precision)
    task = task_of(SIZES[network])
    trainer = CrossEntropy(epochs=1, batch_size=BATCH, network=network, augmentation="crop-flip")
    outcome = benchmark.pedantic(trainer.train, args=(task,), rounds=3, warmup_rounds=1)
    assert outcome.n_steps == SIZES[network] // BATCH


# torch warns of more workers than cores, which is what scripts set all the same.
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("network", SIZES)
def test_epoch_of_a_script(benchmark: Any, network: str) -> None:
    n = SIZES[network]

    def epoch() -> Baseline:
        baseline = Baseline(network, epochs=1, batch_size=BATCH)
        baseline.train(random_images(n, 0), random_images(n // 5, 1))
        return baseline

    baseline = benchmark.pedantic(epoch, rounds=3, warmup_rounds=1)
    assert len(baseline.test_accuracy) == 1
