"""What trainers with SGD share: network, optimiser, streams of draws; only the loss differs."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nlbench.encoders.frozen_names import frozen_encoder
from nlbench.errors import ConfigError, PluginError
from nlbench.seeds import derive_seed
from nlbench.training.augment import Augmentation, augmented_input
from nlbench.training.crops import CentreCropped
from nlbench.training.learner import Learner, Refine
from nlbench.training.loop import run_epochs
from nlbench.training.networks import make_network
from nlbench.training.order import BatchOrder
from nlbench.training.precision import choose_precision
from nlbench.training.task import Trainer, TrainingBatch, TrainingOutcome, TrainingTask


@dataclass(frozen=True)
class SgdTrainer(Trainer):
    """SGD with momentum, the same number of steps for every selector.

    Attributes:
        epochs: Of N // batch_size steps each, N counting all training samples.
        batch_size: Samples per step.
        lr: Highest learning rate.
        momentum: Of SGD, Nesterov where `nesterov` says so.
        weight_decay: L2.
        network: "small-cnn", "preact-resnet18", "preact-resnet18-dividemix", "resnet34-cifar",
            "vgg19-bn-64", "vgg19-bn-clipcleaner", "timm:MODEL", "timm-pretrained:MODEL", or a head
            on a frozen encoder, "frozen:ENCODER".
        augmentation: "none", "shift", "crop-flip", or after crop and flip "autoaugment-cifar10",
            "autoaugment-imagenet" or "randaugment"; each of these three with "-clipcleaner" behind
            it is the version that CLIPCleaner's authors released.
        input_size: Side of what the network sees of larger images: a part of them at random in
            training, the centre in evaluation; None for all of an image.
        resized_crop: Whether that part is a random box scaled to this side, as in ImageNet's
            protocols; with an augmentation that crops and flips.
    """

    epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=2)] = 64
    lr: Annotated[float, Field(gt=0)] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    network: str = "small-cnn"
    augmentation: Augmentation = "shift"
    input_size: Annotated[int, Field(ge=1)] | None = None
    resized_crop: bool = False

    @abstractmethod
    def loss(
        self, network: nn.Module, batch: Tensor, labels: Tensor, draws: torch.Generator
    ) -> Tensor:
        """Return the loss of an augmented batch; random numbers come from `draws`, on the CPU."""

    def check(self, image_size: int) -> None:
        """Refuse crops that cannot be made of the images, and one that would do nothing."""
        self._check_frozen()
        if self.input_size is not None and self.input_size > image_size:
            raise ConfigError(
                f"setting 'trainer.input_size' must be at most protocol.image_size = {image_size}, "
                f"got {self.input_size}. Set --set protocol.image_size={self.input_size} or more."
            )
        if self.resized_crop and self.augmentation in ("none", "shift"):
            raise ConfigError(
                "setting 'trainer.resized_crop' needs an augmentation that crops and flips, got "
                f"{self.augmentation!r}. Set --set trainer.augmentation=crop-flip."
            )

    def _check_frozen(self) -> None:
        """Refuse augmentations of what are no pixels any more."""
        if frozen_encoder(self.network) and self.augmentation != "none":
            raise ConfigError(
                "setting 'trainer.augmentation' must be 'none' where the network is a head on a "
                f"frozen encoder, whose embeddings are made once, got {self.augmentation!r}. Set "
                "--set trainer.augmentation=none."
            )
        if frozen_encoder(self.network) and self.input_size is not None:
            raise ConfigError(
                "setting 'trainer.input_size' must be left out where the network is a head on a "
                f"frozen encoder, got {self.input_size}. The side is the encoder's: see "
                "`nlbench list encoders`."
            )

    def lr_factor(self, done: int, n_steps: int) -> float:
        """Return the share of `lr` after `done` of `n_steps` steps: half a cosine."""
        return 0.5 * (1 + math.cos(math.pi * done / n_steps))

    @property
    def nesterov(self) -> bool:
        """Whether momentum looks ahead."""
        return self.momentum > 0

    @property
    def optimiser(self) -> Literal["sgd", "adam"]:
        """What updates the weights; a trainer may override it, or have a setting of this name."""
        return "sgd"

    def train(self, task: TrainingTask) -> TrainingOutcome:
        """Train on the kept samples and evaluate after every epoch."""
        return self.fit(task)

    def stream(self, name: str, seed: int) -> torch.Generator:
        """Return the generator of one kind of draws, by (seed, network), never by the selector."""
        return torch.Generator().manual_seed(derive_seed(name, self.network, seed))

    def order(self, task: TrainingTask, draws: torch.Generator) -> BatchOrder:
        """Return the order in which samples are drawn."""
        return BatchOrder(draws)

    def fit(
        self,
        task: TrainingTask,
        refine_of: Callable[[int], Refine | None] | None = None,
        memory: dict[str, Any] | None = None,
    ) -> TrainingOutcome:
        """Set up the networks and run the epochs.

        Args:
            task: Data and selection.
            refine_of: For the index of each network, the trainer's own choice of its next set.
            memory: What such choices keep from epoch to epoch, by name; it goes into checkpoints.
                Empty where they keep nothing; without it a run with such choices has none.
        """
        batch_size = min(self.batch_size, len(task.images))
        choice_of = refine_of or (lambda index: None)

        def build() -> list[Learner]:
            learners = [self._learner(task, i, choice_of(i)) for i in range(task.n_networks)]
            for learner in learners:
                others = (other for other in learners if other is not learner)
                learner.peers = tuple(n for other in others for n in other.networks)
                if refine_of is not None and memory is None:
                    learner.memory = None
            return learners

        learners = build()
        precision = choose_precision(task.device, learners[0].network)
        with _seeded_layers(task.device, derive_seed("layers", self.network, task.seed)):
            return run_epochs(
                task,
                learners,
                self.epochs,
                batch_size,
                precision,
                build,
                {"trainer": self, **(memory or {})},
            )

    def peer_seed(self, task: TrainingTask, index: int) -> int:
        """Return the seed of a network: the first is the same whether or not it has peers."""
        return derive_seed("peer", index, task.seed) if index else task.seed

    def network_of(self, task: TrainingTask, seed: int) -> nn.Module:
        """Return a freshly initialised network on the device."""
        network = make_network(self.network, task.images.shape[1], task.n_outputs, seed)
        if self.input_size is not None:
            network = CentreCropped(network, self.input_size)
        return network.to(task.device).to(memory_format=torch.channels_last)

    def optimiser_of(self, network: nn.Module, autocast: bool) -> torch.optim.Optimizer:
        """Return what updates a network's weights."""
        # Not fused beside float32, where it would gain nothing and change the last bits.
        if self.optimiser == "adam":
            return torch.optim.Adam(
                network.parameters(), lr=self.lr, weight_decay=self.weight_decay, fused=autocast
            )
        return torch.optim.SGD(
            network.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            fused=autocast,
        )

    def schedule_of(
        self, optimiser: torch.optim.Optimizer, task: TrainingTask
    ) -> torch.optim.lr_scheduler.LambdaLR:
        """Return the schedule of the learning rate, step by step."""
        n = len(task.images)
        n_steps = self.epochs * max(1, n // min(self.batch_size, n))
        return torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda done: self.lr_factor(done, n_steps)
        )

    def _learner(self, task: TrainingTask, index: int, refine: Refine | None) -> Learner:
        """Set up network, optimiser and schedule."""
        seed, device = self.peer_seed(task, index), task.device
        network = self.network_of(task, seed)
        autocast = choose_precision(device, network) == "bfloat16"
        optimiser = self.optimiser_of(network, autocast)
        schedule = self.schedule_of(optimiser, task)
        views, draws = self.stream("views", seed), self.stream("loss", seed)

        def step(batch: TrainingBatch) -> Tensor:
            self._refuse_weighed(batch)
            images = augmented_input(
                batch.images, self.augmentation, views, self.input_size, self.resized_crop
            )
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                loss = self.loss(network, images, batch.labels, draws)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            return loss.detach()

        learner = Learner(network, step, self.order(task, self.stream("order", seed)), refine)
        learner.memory = {"steps": [optimiser, schedule], "draws": [views, draws]}
        return learner

    def _refuse_weighed(self, batch: TrainingBatch) -> None:
        """Refuse what a loss of its own for the whole batch cannot take."""
        for name, given in (
            ("soft labels", batch.labels.ndim == 2),
            ("loss weights", batch.loss_weights is not None),
        ):
            if given:
                raise PluginError(
                    f"trainer {type(self).__name__} takes no {name}, and the selector gives some. "
                    "Train with one that does, such as --trainer cross-entropy."
                )


@contextmanager
def _seeded_layers(device: torch.device, seed: int) -> Iterator[None]:
    """Seed what dropout draws from, torch's own generators on CPU and CUDA, and put them back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
