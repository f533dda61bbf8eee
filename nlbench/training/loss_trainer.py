"""Trainers that are a loss: what an author of one writes, and how a step is made of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlbench.errors import PluginError
from nlbench.selector import Selection
from nlbench.training.augment import augmented_input
from nlbench.training.divergence import diverged
from nlbench.training.learner import Learner, Refine
from nlbench.training.observed import IN_TRAINING, TrainingOutputs
from nlbench.training.precision import choose_precision
from nlbench.training.sgd import SgdTrainer
from nlbench.training.task import BatchChoice, TrainingBatch, TrainingTask

State = dict[str, Tensor]


@dataclass(frozen=True)
class LossTrainer(SgdTrainer):
    """A training method that is a loss, with or without a memory of its own for each sample.

    Subclass it as a dataclass in a module whose name is the trainer's. Steps, network and
    augmentation are the protocol's::

        @dataclass(frozen=True)
        class Bootstrap(nlbench.LossTrainer):
            '''Soft bootstrapping.'''

            is_method: ClassVar[bool] = True
            beta: float = 0.95

            def batch_loss(self, batch, outputs, labels, state):
                log_p = outputs.log_softmax(dim=-1)
                target = self.beta * one_hot(labels, log_p.shape[-1])
                target = target + (1 - self.beta) * log_p.exp().detach()
                return -(target * log_p).sum(dim=-1)

    Attributes:
        n_networks: M, networks that learn from the same batches.
        n_views: V, augmented copies of each image.
        uses_unlabelled: Whether batches come with as many dropped samples, `batch.unlabelled`.
        takes_soft_labels: Whether labels may be (B, K) probabilities.
    """

    n_networks: ClassVar[int] = 1
    n_views: ClassVar[int] = 1
    uses_unlabelled: ClassVar[bool] = False
    takes_soft_labels: ClassVar[bool] = False

    @abstractmethod
    def batch_loss(
        self, batch: TrainingBatch, outputs: Tensor, labels: Tensor, state: State
    ) -> Tensor:
        """Return the loss of each sample for each network.

        Args:
            batch: Positions, epoch, step, augmented images, networks, and `draws` for randomness.
            outputs: (M, B, K) logits of all networks; (V, M, B, K) with several views.
            labels: (B,) int64; (B, K) float for trainers that take soft labels.
            state: What `make_state` returned, on the device; write into it at `batch.positions`.

        Returns:
            (M, B), which selectors may weigh; or a scalar where a loss is not a mean over samples,
            the sum over the networks: such a trainer goes with no batch selector.
        """

    def mean_loss(
        self, batch: TrainingBatch, outputs: Tensor, labels: Tensor, state: State
    ) -> Tensor:
        """Return the sum over networks of the batch's mean loss, where nothing weighs samples.

        Override it only where the mean is cheaper than its parts; it must be theirs.
        """
        losses = self.batch_loss(batch, outputs, labels, state)
        if losses.ndim == 0:
            return losses
        logits = outputs if self.n_views == 1 else outputs[0]
        _require_each(losses, logits)
        return losses.mean(dim=1).sum()

    def make_state(self, n: int, k: int) -> State:
        """Return tensors that the loss remembers between steps; row i belongs to sample i.

        Args:
            n: N, training samples.
            k: K, outputs of the network.
        """
        return {}

    def extra_parameters(self, state: State) -> Iterable[dict[str, Any]]:
        """Return groups for `torch.optim.SGD` of state that is learned, each with its own ``lr``.

        No momentum, no weight decay and a constant rate, unless a group says otherwise.
        """
        return ()

    def end_epoch(
        self, epoch: int, logits: Tensor, labels: Tensor, state: State
    ) -> Selection | None:
        """Look at all training samples after an epoch; called only where it is overridden.

        Args:
            epoch: Epochs done, from 1.
            logits: (M, N, K) in eval mode, without augmentation.
            labels: (N,) noisy labels.
            state: As in `batch_loss`.

        Returns:
            What to train on next instead of the selector's choice, or None to leave it.
        """
        return None

    def outputs(self, batch: TrainingBatch) -> Tensor:
        """Return the logits that `batch_loss` gets; override it to train on other images."""
        if self.n_views == 1:
            if len(batch.networks) == 1:  # the usual case, without a copy
                return batch.networks[0](batch.images).unsqueeze(0)
            return torch.stack([network(batch.images) for network in batch.networks])
        return torch.stack(
            [
                torch.stack([network(view) for network in batch.networks])
                for view in batch.images.unbind()
            ]
        )

    def loss(
        self, network: nn.Module, batch: Tensor, labels: Tensor, draws: torch.Generator
    ) -> Tensor:
        """Return the mean loss of one network on one batch without a state, for a notebook."""
        positions = torch.arange(len(batch), device=batch.device)
        step = TrainingBatch(positions, 1, 1, 1, 1, batch, labels, networks=(network,), draws=draws)
        outputs = self.outputs(step)
        state = self.make_state(len(batch), outputs.shape[-1])
        return self.mean_loss(step, outputs, labels, state)

    def _learner(self, task: TrainingTask, index: int, refine: Refine | None) -> Learner:
        """Set up networks, optimisers, schedules and state of one group of networks."""
        size = max(self.n_networks, task.choose.n_networks if task.choose else 1)
        seeds = [self.peer_seed(task, index + i) for i in range(size)]
        networks = [self.network_of(task, seed) for seed in seeds]
        autocast = choose_precision(task.device, networks[0]) == "bfloat16"
        optimisers = [self.optimiser_of(network, autocast) for network in networks]
        schedules = [self.schedule_of(optimiser, task) for optimiser in optimisers]
        made = self.make_state(len(task.images), task.n_outputs)
        state = {name: values.to(task.device) for name, values in made.items()}
        groups = [dict(group) for group in self.extra_parameters(state)]
        if groups:
            optimisers.append(torch.optim.SGD(_learned(groups), lr=1.0))
        views, draws = (self.stream(name, seeds[0]) for name in ("views", "loss"))
        observed = set(task.observes) & set(IN_TRAINING)
        seen = TrainingOutputs(len(task.images), task.device) if observed else None

        def step(batch: TrainingBatch) -> Tensor:
            batch = self._augmented(batch, views, draws)
            with torch.autocast(task.device.type, torch.bfloat16, enabled=autocast):
                loss = self._objective(batch, state, task.choose, seen)
            for optimiser in optimisers:
                optimiser.zero_grad(set_to_none=True)
            loss.backward()
            for optimiser in optimisers:
                optimiser.step()
            for schedule in schedules:
                schedule.step()
            return loss.detach() / size

        learner = Learner(networks[0], step, self.order(task, self.stream("order", seeds[0])))
        learner.partners, learner.seen = tuple(networks[1:]), seen
        steps = [*optimisers, *schedules]
        learner.memory = {"steps": steps, "draws": [views, draws], "state": state}
        learner.refine = refine or self._refine(task, state)
        if self.uses_unlabelled:
            learner.unlabelled = self.order(task, self.stream("unlabelled", seeds[0]))
        return learner

    def _augmented(
        self, batch: TrainingBatch, views: torch.Generator, draws: torch.Generator
    ) -> TrainingBatch:
        """Return the batch with what the networks see instead of the stored pixels."""

        def seen(images: Tensor) -> Tensor:
            made = [
                augmented_input(
                    images, self.augmentation, views, self.input_size, self.resized_crop
                )
                for _ in range(self.n_views)
            ]
            return made[0] if self.n_views == 1 else torch.stack(made)

        rest = batch.unlabelled
        return replace(
            batch,
            images=seen(batch.images),
            unlabelled=None if rest is None else replace(rest, images=seen(rest.images)),
            draws=draws,
        )

    def _objective(
        self,
        batch: TrainingBatch,
        state: State,
        choose: BatchChoice | None,
        seen: TrainingOutputs | None,
    ) -> Tensor:
        """Return the loss of all networks: sum(w l) / sum(w) of each."""
        if batch.labels.ndim == 2 and not self.takes_soft_labels:
            raise PluginError(
                f"trainer {type(self).__name__} takes no soft labels, and the selector gives some. "
                "Train with one that does, such as --trainer cross-entropy."
            )
        outputs = self.outputs(batch)
        logits = outputs if self.n_views == 1 else outputs[0]
        if seen is not None:
            seen.note(batch.positions, logits[0], batch.labels)
        weights = batch.loss_weights
        if choose is None and weights is None:
            return self.mean_loss(batch, outputs, batch.labels, state)
        losses = self.batch_loss(batch, outputs, batch.labels, state)
        _require_each(losses, logits)
        chosen = torch.ones_like(losses)
        if choose is not None:
            shown = losses.detach().float()
            try:
                chosen = choose(batch, shown.clone(), logits.detach().float().clone())
            except Exception as error:
                if bool(torch.isfinite(shown).all()):
                    raise
                raise diverged(batch.epoch, "training loss") from error
        weights = chosen.to(losses.dtype) if weights is None else chosen * weights
        total = weights.sum(dim=1).clamp_min(torch.finfo(losses.dtype).tiny)
        return ((weights * losses).sum(dim=1) / total).sum()

    def _refine(self, task: TrainingTask, state: State) -> Refine | None:
        if type(self).end_epoch is LossTrainer.end_epoch:
            return None

        def refine(epoch: int, selection: Selection, logits: Sequence[Tensor]) -> Selection:
            noisy_labels = task.noisy_labels.clone()
            own = self.end_epoch(epoch, torch.stack(list(logits)), noisy_labels, state)
            return selection if own is None else own

        return refine


def _learned(groups: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    for group in groups:
        for values in group["params"]:
            values.requires_grad_(True)
    return groups


def _require_each(losses: Tensor, logits: Tensor) -> None:
    if losses.shape != logits.shape[:2]:
        raise PluginError(
            "batch_loss must return a loss for each network and sample, "
            f"{tuple(logits.shape[:2])}, where something weighs them, got {tuple(losses.shape)}. "
            "Leave out its mean over the batch: nlbench takes it."
        )
