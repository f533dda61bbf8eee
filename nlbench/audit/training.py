"""A head trained on the embeddings, for selectors that watch a training; only where asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nlbench.audit.judging import TrainWith
from nlbench.config.methods import own_trainer
from nlbench.plugins.registry import make_component, plugin_name
from nlbench.runner.batch_selection import BatchSelection
from nlbench.runner.online_selection import OnlineSelection
from nlbench.runner.selector_calls import SelectorCalls
from nlbench.selector import BatchSelector, OnlineSelector, Selection, TrainingData
from nlbench.surroundings import kept
from nlbench.training.task import TrainingOutcome, TrainingTask

# Those of the boards on frozen features (recipes features/cifar10*), so that what they measured
# holds here; smaller sets have smaller batches, for as many steps.
_TRAINER, _EPOCHS, _BATCH, _STEPS = "cross-entropy", 30, 256, 100
_PROBED = 1  # a test set is part of a training task; nothing is made of its accuracy


def trains_on(embeddings: Tensor, encoder: str, progress: Callable[[int, int], None]) -> TrainWith:
    """Return what trains a linear head on embeddings and asks a selector on the way.

    Args:
        embeddings: (M, d) unit-norm float32 of the judged samples.
        encoder: Its full name, which the network is named after.
        progress: Called with (epochs done, epochs).
    """

    def train(name: str, selector: OnlineSelector | BatchSelector, data: TrainingData) -> Selection:
        trainer_name = own_trainer(name) or _TRAINER
        batch = max(2, min(_BATCH, data.n_samples // _STEPS))
        settings = {
            "epochs": _EPOCHS, "batch_size": batch, "network": f"frozen:{encoder}",
            "augmentation": "none",
        }  # fmt: skip
        trainer = make_component("trainers", trainer_name, settings)
        task = _task(name, selector, data, embeddings[:, :, None, None], progress)
        with kept(plugin_name("trainers", trainer_name)):
            outcome: TrainingOutcome = trainer.train(task)
        return outcome.selection

    return train


def _task(
    name: str,
    selector: OnlineSelector | BatchSelector,
    data: TrainingData,
    images: Tensor,
    progress: Callable[[int, int], None],
) -> TrainingTask:
    calls = SelectorCalls(name)
    online, batches = None, None
    if isinstance(selector, OnlineSelector):
        online = OnlineSelection(selector, data, _EPOCHS, None, None, calls)
        first = online.first()
    else:
        batches = BatchSelection(selector, data, None, calls)
        first = batches.first()
    return TrainingTask(
        images=images,
        noisy_labels=data.noisy_labels,
        val_images=images[:0],
        val_labels=data.noisy_labels[:0],
        test_images=images[:_PROBED],
        test_labels=data.noisy_labels[:_PROBED],
        n_classes=data.n_classes,
        selection=first,
        reselect=online,
        n_networks=online.n_networks if online else 1,
        choose=batches,
        observes=online.observes if online else (),
        extra_classes=online.extra_classes if online else 0,
        seed=data.seed,
        device=torch.device(data.device),
        progress=progress,
    )
