"""The contract of training-time methods: what a loss sees, and what becomes of what it returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn
from training_tasks import keep_only, make_task

from nlbench import Batch, BatchSelector, LossTrainer, Selection, TrainingBatch, TrainingData
from nlbench.config.methods import check_pair, method_name
from nlbench.errors import ConfigError, PluginError
from nlbench.plugins.registry import make_component
from nlbench.runner.batch_selection import BatchSelection
from nlbench.training.cross_entropy import CrossEntropy
from nlbench.training.elr import Elr
from nlbench.training.label_smoothing import LabelSmoothing
from nlbench.training.mixup import Mixup
from nlbench.training.networks import make_network
from nlbench.training.task import TrainingTask

N, LR = 32, 0.1
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": N, "augmentation": "none", "lr": LR}
PLAIN_SGD: dict[str, Any] = {**QUICK, "momentum": 0, "weight_decay": 0}


def tensor_of(values: list[float], n: int = N) -> Tensor:
    return torch.tensor((values * n)[:n])


@dataclass(frozen=True)
class Observed(CrossEntropy):
    """Cross-entropy that keeps what it was given."""

    seen: ClassVar[list[TrainingBatch]] = []

    def batch_loss(self, batch: TrainingBatch, *rest: Any) -> Tensor:
        self.seen.append(batch)
        return super().batch_loss(batch, *rest)


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    Observed.seen.clear()


@dataclass(frozen=True)
class Weighing(BatchSelector):
    """Gives the weights that it is told."""

    weights: Tensor

    n_networks: ClassVar[int] = 2

    def choose(self, data: TrainingData, batch: Batch, losses: Tensor, logits: Tensor) -> Tensor:
        return self.weights[:, batch.positions]


def choosing(selector: BatchSelector, task: TrainingTask) -> TrainingTask:
    data = TrainingData.from_arrays(task.noisy_labels, task.n_classes)
    choice = BatchSelection(selector, data, None)
    return replace(task, choose=choice, selection=choice.first())


# What a loss sees --------------------------------------------------------------------------------


def test_a_batch_says_where_it_is() -> None:
    task = make_task(N)
    Observed(**{**QUICK, "epochs": 2, "batch_size": 10}).train(task)
    assert [(b.epoch, b.step) for b in Observed.seen] == [
        (epoch, step) for epoch in (1, 2) for step in (1, 2, 3)
    ]
    for batch in Observed.seen:
        assert (batch.n_epochs, batch.n_steps) == (2, 3)
        assert batch.positions.shape == (10,)
        assert torch.equal(batch.labels, task.noisy_labels[batch.positions])
        assert batch.images.shape == (10, 1, 8, 8)
        assert batch.images.is_floating_point()
        assert batch.selection is task.selection
        assert (batch.unlabelled, batch.loss_weights, batch.peers) == (None, None, ())
    drawn = torch.cat([batch.positions for batch in Observed.seen[:3]]).tolist()
    assert len(set(drawn)) == 30  # no sample twice in a pass


def test_several_views_are_images_augmented_independently() -> None:
    @dataclass(frozen=True)
    class TwoViews(Observed):
        n_views: ClassVar[int] = 2

        def batch_loss(self, batch: TrainingBatch, outputs: Tensor, *rest: Any) -> Tensor:
            assert outputs.shape == (2, 1, N, 2)
            for view, logits in zip(batch.images, outputs, strict=True):
                # Batch norm in training mode: the same images give the same logits.
                assert torch.allclose(batch.networks[0](view), logits[0], atol=1e-5)
            return super().batch_loss(batch, outputs[0], *rest)

    TwoViews(**{**QUICK, "augmentation": "shift"}).train(make_task(N))
    (batch,) = Observed.seen
    assert batch.images.shape == (2, N, 1, 8, 8)
    assert not torch.equal(batch.images[0], batch.images[1])


def test_networks_of_a_trainer_see_the_same_batches_and_differ() -> None:
    @dataclass(frozen=True)
    class Three(Observed):
        n_networks: ClassVar[int] = 3

    outcome = Three(**QUICK).train(make_task(N))
    (batch,) = Observed.seen
    assert len(batch.networks) == 3
    first = [next(iter(network.parameters())) for network in batch.networks]
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])
    assert "ensemble_test_accuracy" in outcome.curves
    alone = CrossEntropy(**QUICK).train(make_task(N))
    assert outcome.curves["test_accuracy"] == alone.curves["test_accuracy"]


def test_peers_learn_from_sets_of_their_own_and_are_in_evaluation_mode() -> None:
    modes: list[tuple[bool, bool]] = []

    @dataclass(frozen=True)
    class Modes(Observed):
        def batch_loss(self, batch: TrainingBatch, *rest: Any) -> Tensor:
            modes.append((batch.networks[0].training, batch.peers[0].training))
            return super().batch_loss(batch, *rest)

    sets = [keep_only(N, list(range(8))), keep_only(N, list(range(8, 32)))]
    task = make_task(N, n_networks=2, reselect=lambda *_: sets)
    Modes(**{**QUICK, "epochs": 2}).train(task)
    _, _, *second = Observed.seen
    assert [set(batch.positions.tolist()) for batch in second] == [
        set(range(8)),
        set(range(8, 32)),
    ]
    assert second[0].peers == second[1].networks
    assert second[1].peers == second[0].networks
    assert modes == [(True, False)] * 4


def test_unlabelled_batches_hold_dropped_samples_only() -> None:
    @dataclass(frozen=True)
    class WithTheRest(Observed):
        uses_unlabelled: ClassVar[bool] = True

    WithTheRest(**{**QUICK, "batch_size": 8}).train(make_task(N, selection=keep_only(N, [1, 2, 3])))
    for batch in Observed.seen:
        assert batch.unlabelled is not None
        assert set(batch.unlabelled.positions.tolist()) <= set(range(N)) - {1, 2, 3}
        assert batch.unlabelled.images.shape == batch.images.shape
    Observed.seen.clear()
    WithTheRest(**QUICK).train(make_task(N))
    assert [batch.unlabelled for batch in Observed.seen] == [None]


# What becomes of a loss --------------------------------------------------------------------------


def after_one_step(task: TrainingTask, trainer: LossTrainer, networks: int = 1) -> list[nn.Module]:
    """Return networks as they are after one step of plain SGD on the whole of a small task."""
    trainer.train(task)
    (batch,) = Observed.seen
    assert len(batch.networks) == networks
    return list(batch.networks)


def slow_step(
    task: TrainingTask, index: int, weights: Tensor, labels: Tensor, extra: float = 0.0
) -> nn.Module:
    """One step on sum(w l) / sum(w), summed sample by sample."""
    trainer = CrossEntropy(**PLAIN_SGD)
    network = trainer.network_of(task, trainer.peer_seed(task, index)).train()
    assert isinstance(task.images, Tensor)
    logs = network(task.images.float() / 127.5 - 1).log_softmax(dim=1)
    total = torch.zeros(())
    for i in range(N):
        target = labels[i] if labels.ndim == 2 else nn.functional.one_hot(labels[i], 2)
        total = total - weights[i] * (target * logs[i]).sum()
    (total / weights.sum()).backward()
    with torch.no_grad():
        for values in network.parameters():
            assert values.grad is not None
            values.sub_(LR * values.grad)
    return network


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def assert_other(one: nn.Module, other: nn.Module) -> None:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert any(float((a - b).detach().abs().max()) > 1e-4 for a, b in pairs)


def test_each_network_learns_by_its_own_weights() -> None:
    weights = torch.stack([tensor_of([0.0, 0.0, 1.0, 1.0]), tensor_of([3.0, 0.5, 0.0, 1.0, 2.0])])
    task = choosing(Weighing(weights), make_task(N))
    networks = after_one_step(task, Observed(**PLAIN_SGD), networks=2)
    for index, network in enumerate(networks):
        assert_same(network, slow_step(task, index, weights[index], task.noisy_labels))
        assert_other(network, slow_step(task, index, torch.ones(N), task.noisy_labels))


def test_nothing_is_learned_where_all_weights_are_zero() -> None:
    weights = torch.stack([torch.ones(N), torch.zeros(N)])
    task = choosing(Weighing(weights), make_task(N))
    trainer = Observed(**PLAIN_SGD)
    _, second = after_one_step(task, trainer, networks=2)
    assert_same(second, trainer.network_of(task, trainer.peer_seed(task, 1)))


def test_loss_weights_of_a_selection_count_without_a_batch_selector() -> None:
    weights = tensor_of([0.1, 2.0, 0.0, 1.0, 0.7])
    selection = keep_only(N, list(range(N)), loss_weights=weights)
    task = make_task(N, selection=selection)
    (network,) = after_one_step(task, Observed(**PLAIN_SGD))
    assert_same(network, slow_step(task, 0, weights, task.noisy_labels))


def test_weights_of_both_kinds_are_multiplied() -> None:
    mine, theirs = tensor_of([1.0, 2.0, 3.0]), tensor_of([1.0, 0.0, 0.5, 2.0])
    task = choosing(Weighing(torch.stack([theirs, theirs])), make_task(N))
    task = replace(task, selection=keep_only(N, list(range(N)), loss_weights=mine))
    first, _ = after_one_step(task, Observed(**PLAIN_SGD), networks=2)
    assert_same(first, slow_step(task, 0, mine * theirs, task.noisy_labels))


def test_soft_labels_are_the_targets() -> None:
    share = torch.linspace(0, 1, N)
    soft = torch.stack([share, 1 - share], dim=1)
    task = make_task(N, selection=keep_only(N, list(range(N)), soft_labels=soft))
    (network,) = after_one_step(task, Observed(**PLAIN_SGD))
    assert_same(network, slow_step(task, 0, torch.ones(N), soft))


def test_extra_parameters_are_learned_at_their_own_constant_rate() -> None:
    @dataclass(frozen=True)
    class Shifted(LossTrainer):
        """Each sample's loss is also a slope of 2 in a number of its own."""

        states: ClassVar[list[dict[str, Tensor]]] = []

        def make_state(self, n: int, k: int) -> dict[str, Tensor]:
            return {"fast": torch.zeros(n), "slow": torch.zeros(n), "fixed": torch.zeros(n)}

        def extra_parameters(self, state: dict[str, Tensor]) -> Iterable[dict[str, Any]]:
            self.states.append(state)
            return (
                {"params": [state["fast"]], "lr": 5.0},
                {"params": [state["slow"]], "lr": 0.5},
            )

        def batch_loss(
            self, batch: TrainingBatch, outputs: Tensor, labels: Tensor, state: Any
        ) -> Tensor:
            own = sum(state[name][batch.positions] for name in ("fast", "slow", "fixed"))
            return nn.functional.cross_entropy(outputs[0], labels, reduction="none")[None] + 2 * own

    # 8 steps of a board whose rate falls and whose weight decay is large.
    Shifted(**{**QUICK, "epochs": 8, "weight_decay": 0.5}).train(make_task(N))
    (state,) = Shifted.states
    step = 2 / N  # the gradient of a mean
    torch.testing.assert_close(state["fast"].detach(), torch.full((N,), -8 * 5.0 * step))
    torch.testing.assert_close(state["slow"].detach(), torch.full((N,), -8 * 0.5 * step))
    assert not bool(state["fixed"].any())


def test_a_trainer_may_choose_the_next_set_and_the_record_keeps_the_selectors() -> None:
    @dataclass(frozen=True)
    class Dropping(Observed):
        def end_epoch(
            self, epoch: int, logits: Tensor, labels: Tensor, state: Any
        ) -> Selection | None:
            assert logits.shape == (1, N, 2)
            assert labels.shape == (N,)
            return keep_only(N, [epoch]) if epoch < 3 else None

    task = make_task(N)
    outcome = Dropping(**{**QUICK, "epochs": 4}).train(task)
    drawn = [set(batch.positions.tolist()) for batch in Observed.seen]
    assert drawn == [set(range(N)), {1}, {2}, set(range(N))]
    assert outcome.selection is task.selection


def test_a_loss_for_a_notebook_is_the_mean_of_the_batch() -> None:
    network = nn.Linear(4, 3)
    batch, labels = torch.randn(6, 4), torch.arange(6) % 3
    with torch.no_grad():
        loss = CrossEntropy().loss(network, batch, labels, torch.Generator())
        expected = nn.functional.cross_entropy(network(batch), labels)
    assert float(loss) == pytest.approx(float(expected))


# What is refused ---------------------------------------------------------------------------------


def test_mixup_has_no_loss_of_a_sample_to_weigh() -> None:
    selector = make_component("selectors", "co-teaching", {})
    with pytest.raises(
        ConfigError, match=r"'co-teaching' does not go with trainer 'mixup'.*weighs"
    ):
        check_pair(selector, Mixup(), "co-teaching", "mixup")
    check_pair(selector, Elr(), "co-teaching", "elr")


def test_two_networks_together_do_not_go_with_sets_of_their_own() -> None:
    jocor = make_component("trainers", "jocor", {})
    sieve, divider = (make_component("selectors", n, {}) for n in ("cores2", "dividemix"))
    with pytest.raises(ConfigError, match="chooses for 1 networks, and this trainer trains 2"):
        check_pair(sieve, jocor, "cores2", "jocor")
    with pytest.raises(ConfigError, match="trains 2 networks on the same"):
        check_pair(divider, jocor, "dividemix", "jocor")


@pytest.mark.parametrize("trainer", [Mixup, LabelSmoothing, Elr])
def test_soft_labels_need_a_trainer_that_takes_them(trainer: Any) -> None:
    soft = torch.full((N, 2), 0.5)
    task = make_task(N, selection=keep_only(N, list(range(N)), soft_labels=soft))
    message = f"trainer {trainer.__name__} takes no soft labels.*--trainer cross-entropy"
    with pytest.raises(PluginError, match=message):
        trainer(**QUICK).train(task)


def test_mixup_takes_no_loss_weights() -> None:
    selection = keep_only(N, list(range(N)), loss_weights=torch.ones(N))
    with pytest.raises(PluginError, match="trainer Mixup takes no loss weights"):
        Mixup(**QUICK).train(make_task(N, selection=selection))


@dataclass(frozen=True)
class Doubled(CrossEntropy):
    """Another loss of each sample, with nothing said of their mean."""

    def batch_loss(self, *args: Any) -> Tensor:
        return 2 * super().batch_loss(*args)


def test_an_own_loss_is_never_passed_over_for_the_mean_of_its_parent() -> None:
    plain, doubled = (cls(**QUICK) for cls in (CrossEntropy, Doubled))
    losses = [t.train(make_task(N)).curves["train_loss"][0] for t in (plain, doubled)]
    assert losses[1] > 1.2 * losses[0]


@dataclass(frozen=True)
class Mean(CrossEntropy):
    """A mean, where the contract asks for a loss of each sample."""

    def batch_loss(self, *args: Any) -> Tensor:
        return super().batch_loss(*args).mean(dim=1).sum()


def test_a_mean_goes_alone_but_cannot_be_weighed() -> None:
    alone, plain = Mean(**QUICK).train(make_task(N)), CrossEntropy(**QUICK).train(make_task(N))
    for name, curve in plain.curves.items():  # one operation or two: the last bit may differ
        assert alone.curves[name] == pytest.approx(curve, abs=1e-6), name
    selection = keep_only(N, list(range(N)), loss_weights=torch.ones(N))
    weighed = (
        make_task(N, selection=selection),
        choosing(Weighing(torch.ones(2, N)), make_task(N)),
    )
    for task in weighed:
        message = r"loss for each network and sample, \(\d, 32\).*got \(\).*Leave out its mean"
        with pytest.raises(PluginError, match=message):
            Mean(**QUICK).train(task)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(2, N, dtype=torch.bool), "float tensor .* got torch.bool"),
        (torch.ones(1, N), r"\(2, 32\) on cpu, got \(1, 32\)"),
        (-torch.ones(2, N), "finite weights >= 0"),
        (torch.full((2, N), torch.nan), "finite weights >= 0"),
    ],
)
def test_weights_that_are_not_as_the_contract_says(weights: Tensor, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        CrossEntropy(**QUICK).train(choosing(Weighing(weights), make_task(N)))


# Names -------------------------------------------------------------------------------------------


def test_a_trainer_alone_does_not_get_the_name_of_the_selector_that_brings_it() -> None:
    assert method_name("jocor", "jocor", "cross-entropy") == "jocor"
    assert method_name("none", "jocor", "cross-entropy") == "none+jocor"
    assert method_name("jocor", "cross-entropy", "cross-entropy") == "jocor+cross-entropy"
    assert method_name("none", "elr", "cross-entropy") == "elr"
    assert method_name("none", "cross-entropy", "cross-entropy") == "none"


@dataclass(frozen=True)
class ByAdam(CrossEntropy):
    """A method whose paper trains with Adam: a setting of this name decides."""

    optimiser: Literal["sgd", "adam"] = "adam"  # type: ignore[assignment]


def test_a_method_may_train_with_adam() -> None:
    settings = {**QUICK, "epochs": 1, "batch_size": N, "weight_decay": 0.0, "lr": 0.01}
    by_sgd, by_adam = (
        ByAdam(**settings, optimiser=name).train(make_task(N)) for name in ("sgd", "adam")
    )
    plain = CrossEntropy(**settings).train(make_task(N))
    assert by_sgd.curves == plain.curves
    assert by_adam.curves["train_loss"] == plain.curves["train_loss"]  # before the only step
    network = make_network("small-cnn", 1, 2, seed=0)
    optimiser = ByAdam(**settings).optimiser_of(network, autocast=False)
    assert isinstance(optimiser, torch.optim.Adam)
    before = network.head.weight.detach().clone()
    network.head.weight.grad = torch.full_like(before, 3.0)
    optimiser.step()
    # Adam's first step is the learning rate, whatever the size of the gradient.
    torch.testing.assert_close(network.head.weight.detach(), before - 0.01)
