"""What an online selector sees of training over time, what it costs, and trainings in rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest
import torch
from torch import Tensor, nn
from training_tasks import make_task

import nlbench
from nlbench import Dynamics, Observation, OnlineSelector, PluginError, Selection, TrainingData
from nlbench.config.resolve import resolve
from nlbench.data.digits import Digits
from nlbench.results.store import RunStore
from nlbench.runner.inputs import prepare
from nlbench.runner.online_selection import OnlineSelection
from nlbench.runner.workplace import Workplace
from nlbench.training import evaluate
from nlbench.training.cross_entropy import CrossEntropy
from nlbench.training.networks import SmallCNN, make_network
from nlbench.training.observed import features, input_gradients
from nlbench.training.task import TrainingOutcome, TrainingTask

N, N_VAL, N_TEST, BATCH = 128, 16, 64, 32
N_EPOCHS = 4
EVERYTHING: tuple[Observation, ...] = get_args(Observation)
HISTORIES = ("loss_history", "prediction_history", "training_predictions", "margin_history")

Answer = Callable[[TrainingData, Dynamics], Selection]


def everything(data: TrainingData, dynamics: Dynamics, **parts: Any) -> Selection:
    keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
    return Selection(keep=keep, score=-dynamics.losses, **parts)


def restarting(n_epochs: int) -> Answer:
    """Return a selector's answer that starts anew after so many epochs of every round."""

    def answer(data: TrainingData, dynamics: Dynamics) -> Selection:
        return everything(data, dynamics, restart=dynamics.epoch == n_epochs)

    return answer


def selector_of(answer: Answer = everything, **declared: Any) -> OnlineSelector:
    """Return a selector with class variables as declared, which notes what it is shown."""

    @dataclass(frozen=True)
    class Noting(OnlineSelector):
        shown: list[Dynamics] = field(default_factory=list)

        def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
            self.shown.append(dynamics)
            return answer(data, dynamics)

    for name, value in declared.items():
        setattr(Noting, name, value)
    return Noting()


@dataclass(frozen=True)
class Recorded(CrossEntropy):
    """Notes every step: positions, (B, K) outputs, labels."""

    steps: list[tuple[int, Tensor, Tensor, Tensor]] = field(default_factory=list)

    def batch_loss(self, batch: Any, outputs: Tensor, labels: Tensor, state: Any) -> Tensor:
        self.steps.append((batch.epoch, batch.positions, outputs[0].detach().clone(), labels))
        return super().batch_loss(batch, outputs, labels, state)


def trained(
    selector: OnlineSelector,
    trainer: type[CrossEntropy] = CrossEntropy,
    equal_keep: float | None = None,
    **changes: Any,
) -> tuple[TrainingOutcome, Any, TrainingTask]:
    task = make_task(N, **changes)
    data = TrainingData.from_arrays(task.noisy_labels.clone(), task.n_classes)
    online = OnlineSelection(selector, data, N_EPOCHS, None, equal_keep)
    task = replace(
        task,
        selection=online.first(),
        reselect=online,
        observes=online.observes,
        extra_classes=online.extra_classes,
        n_networks=online.n_networks,
    )
    settings = trainer(epochs=N_EPOCHS, batch_size=BATCH, augmentation="none")
    return settings.train(task), settings, task


def shown_to(selector: OnlineSelector) -> list[Dynamics]:
    shown: list[Dynamics] = selector.shown  # type: ignore[attr-defined]
    return shown


# What is shown ------------------------------------------------------------------------------------


@pytest.mark.parametrize("history_epochs", [1, 3])
def test_histories_are_those_of_the_latest_epochs_over_a_restart(history_epochs: int) -> None:
    """Against lists filled step by step; half of the samples are not drawn after epoch 1."""
    selector = selector_of(
        lambda data, dynamics: replace(
            restarting(2)(data, dynamics) if dynamics.round == 1 else everything(data, dynamics),
            keep=torch.arange(N) % 4 < 2,
        ),
        observes=EVERYTHING,
        history_epochs=history_epochs,
        rounds=2,
    )
    kept: list[dict[str, Tensor]] = []
    select = type(selector).select

    def noting(self: Any, data: TrainingData, dynamics: Dynamics) -> Selection:
        kept.append({name: getattr(dynamics, name) for name in HISTORIES})
        kept[-1]["logits"] = dynamics.logits
        return select(self, data, dynamics)

    type(selector).select = noting  # type: ignore[method-assign]
    _, trainer, task = trained(selector, Recorded)
    expected = slow_histories(trainer.steps, kept, task)
    assert len(kept) == 2 + N_EPOCHS
    for i, looked in enumerate(kept):
        for name in HISTORIES:
            rows = torch.stack(expected[name][max(0, i + 1 - history_epochs) : i + 1])
            assert looked[name].allclose(rows, equal_nan=True, atol=1e-5), (i, name)
            assert looked[name].shape == (min(i + 1, history_epochs), N)
    assert kept[-1]["training_predictions"][-1].eq(-1).sum() == N // 2
    assert kept[-1]["margin_history"][-1].isnan().sum() == N // 2


def slow_histories(
    steps: list[tuple[int, Tensor, Tensor, Tensor]], kept: list[dict[str, Tensor]], task: Any
) -> dict[str, list[Tensor]]:
    per_epoch = N // BATCH
    out: dict[str, list[Tensor]] = {name: [] for name in HISTORIES}
    for i, looked in enumerate(kept):
        predictions, margins = [-1] * N, [float("nan")] * N
        for _, positions, outputs, labels in steps[i * per_epoch : (i + 1) * per_epoch]:
            for position, row, label in zip(positions.tolist(), outputs, labels, strict=True):
                others = [float(value) for k, value in enumerate(row) if k != int(label)]
                predictions[position] = max(range(len(row)), key=row.tolist().__getitem__)
                margins[position] = float(row[int(label)]) - max(others)
        losses = [
            -float(row.log_softmax(dim=0)[int(label)])
            for row, label in zip(looked["logits"], task.noisy_labels, strict=True)
        ]
        out["training_predictions"].append(torch.tensor(predictions))
        out["margin_history"].append(torch.tensor(margins))
        out["prediction_history"].append(looked["logits"].argmax(dim=1))
        out["loss_history"].append(torch.tensor(losses))
    return out


def network_of(task: TrainingTask, seed: int = 0) -> nn.Module:
    return make_network("small-cnn", task.images.shape[1], task.n_classes, seed)


def test_features_are_what_goes_into_the_last_layer() -> None:
    task = make_task(N)
    network = network_of(task)
    assert isinstance(network, SmallCNN)
    network.train()
    found = features(network, task.images, autocast=False)
    network.eval()
    with torch.no_grad():
        one_by_one = [network.features(evaluate.as_input(x[None])) for x in task.images]
    expected = torch.stack([one.flatten(2).mean(dim=2).squeeze(0) for one in one_by_one])
    assert found.shape == (N, 64)
    assert found.allclose(expected, atol=1e-5)
    assert network.head(found).allclose(evaluate.predict(network, task.images, False), atol=1e-5)


def test_features_of_a_network_from_timm() -> None:
    task = make_task(16)
    network: Any = make_network("timm:resnet10t", 1, 2, seed=0)
    found = features(network, task.images, autocast=False)
    network.eval()
    with torch.no_grad():
        inputs = evaluate.as_input(task.images)
        expected = network.forward_head(network.forward_features(inputs), pre_logits=True)
    assert found.shape == (16, network.num_features)
    assert found.allclose(expected, atol=1e-5)


def test_a_network_without_a_linear_layer_has_no_features() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten())
    with pytest.raises(PluginError, match=r"Sequential has none\. Use another `trainer\.network`"):
        features(network, make_task(4).images, autocast=False)


def test_input_gradients_are_autograds_of_each_sample() -> None:
    task = make_task(N)
    network = network_of(task)
    found = input_gradients(network, task.images, task.noisy_labels)
    assert all(p.grad is None for p in network.parameters())
    network.eval()
    for i in (0, 1, 77, N - 1):
        x = evaluate.as_input(task.images[i : i + 1]).requires_grad_()
        nn.functional.cross_entropy(network(x), task.noisy_labels[i : i + 1]).backward()
        assert x.grad is not None
        assert float(found[i]) == pytest.approx(float(x.grad.norm()), rel=1e-4)


def test_held_out_logits_are_the_networks_and_its_labels_the_noisy_ones() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def answer(data: TrainingData, dynamics: Dynamics) -> Selection:
        seen.append((dynamics.held_out_logits, dynamics.held_out_labels))
        return everything(data, dynamics)

    wrong = 1 - make_task(N).val_labels
    outcome, _, _ = trained(
        selector_of(answer, observes=("held-out logits",)), Recorded, val_labels=wrong
    )
    assert [logits.shape for logits, _ in seen] == [(N_VAL, 2)] * N_EPOCHS
    for (logits, labels), accuracy in zip(seen, outcome.curves["noisy_val_accuracy"], strict=True):
        assert torch.equal(labels, wrong)
        assert float((logits.argmax(dim=1) == wrong).double().mean()) == accuracy


PLUGIN = '''"""Looks at all there is."""
from dataclasses import dataclass
from typing import ClassVar, get_args
import torch
from nlbench import Observation, OnlineSelector, Selection
from nlbench.conformance import path_to_labels
from nlbench.data.digits import Digits

@dataclass(frozen=True)
class Looking(OnlineSelector):
    """Puts what it finds into its diagnostics."""

    observes: ClassVar = get_args(Observation)

    def select(self, data, dynamics):
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        names = ("features", "input_gradients", "training_predictions", "margin_history")
        shapes = {name: list(getattr(dynamics, name).shape) for name in names}
        digits = Digits().load(None)
        clean = {i: int(k) for i, k in zip(digits.train_ids, digits.train_labels)}
        from nlbench.selector import opaque_ids
        keys = dict(zip(opaque_ids(clean).tolist(), clean.values()))
        truth = torch.tensor([keys[i] for i in data.sample_ids.tolist()])
        found = path_to_labels((data, dynamics), truth, data.noisy_labels)
        held_out = dynamics.held_out_labels.tolist()
        told = {"shapes": shapes, "path": found, "held_out": held_out}
        return Selection(keep=keep, score=keep.double(), diagnostics=told)
'''


def test_in_a_run_held_out_labels_are_noisy_and_no_look_leads_to_clean_ones(
    tmp_path: Path,
) -> None:
    path = tmp_path / "looking.py"
    path.write_text(PLUGIN)
    record = quick("looking", plugins=[path], epochs=1)
    told, n = record.diagnostics, record.dataset.n_train
    n_fit = told["shapes"]["features"][0]
    n_val = len(told["held_out"])
    assert told["path"] is None
    assert n_fit + n_val == n
    assert told["shapes"]["training_predictions"] == [1, n_fit]
    noisy_share = expected_held_out(told["held_out"])
    assert 0.3 < noisy_share < 0.5


def expected_held_out(labels: list[int]) -> float:
    """Return the share of held-out labels that differ from the clean ones."""
    config = resolve(selector="none", recipe="quick/digits")
    inputs = prepare(config, Workplace(RunStore(), torch.device("cpu")))
    assert labels == inputs.noisy_labels(inputs.val).tolist()
    clean = torch.from_numpy(Digits().load(None).train_labels)[inputs.val]
    return float((torch.tensor(labels) != clean).double().mean())


def quick(selector: str, **options: Any) -> nlbench.RunRecord:
    given = {"recipe": "quick/digits", "epochs": 2, "track": False, "device": "cpu", **options}
    return nlbench.run(selector, **given)


# What is not declared -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "declare"),
    [
        ("features", "features"),
        ("training_predictions", "training predictions"),
        ("prediction_history", "prediction history"),
        ("margin_history", "margin history"),
        ("held_out_logits", "held-out logits"),
        ("held_out_labels", "held-out logits"),
        ("input_gradients", "input gradients"),
    ],
)
def test_what_is_not_declared_is_refused_with_the_way_to_declare_it(
    name: str, declare: str
) -> None:
    def answer(data: TrainingData, dynamics: Dynamics) -> Selection:
        getattr(dynamics, name)
        return everything(data, dynamics)

    with pytest.raises(PluginError, match=rf"observes = \('{declare}',\)` into the class"):
        trained(selector_of(answer))
    trained(selector_of(answer, observes=(declare,)))


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Count forward passes of the network in training and in evaluation mode."""
    counted = {"train": 0, "eval": 0}
    forward = SmallCNN.forward

    def counting(self: SmallCNN, images: Tensor) -> Tensor:
        counted["train" if self.training else "eval"] += 1
        return forward(self, images)

    monkeypatch.setattr(SmallCNN, "forward", counting)
    return counted


def test_without_a_selector_in_training_nothing_more_is_computed(
    forwards: dict[str, int],
) -> None:
    task = make_task(N)
    CrossEntropy(epochs=N_EPOCHS, batch_size=BATCH, augmentation="none").train(task)
    # All but training fits into one batch: the test set and the held-out part.
    assert forwards == {"train": N_EPOCHS * N // BATCH, "eval": 2 * N_EPOCHS}


@pytest.mark.parametrize(
    ("observes", "looked_at", "more"),
    [
        ((), None, 1),
        (EVERYTHING, None, 1),
        (("prediction history", "training predictions", "margin history"), "margin_history", 1),
        (EVERYTHING, "features", 2),
        (EVERYTHING, "held_out_logits", 2),
        (EVERYTHING, "input_gradients", 2),
    ],
)
def test_only_what_is_looked_at_is_computed(
    observes: tuple[Observation, ...], looked_at: str | None, more: int, forwards: dict[str, int]
) -> None:
    def answer(data: TrainingData, dynamics: Dynamics) -> Selection:
        if looked_at is not None:
            getattr(dynamics, looked_at)
        return everything(data, dynamics)

    trained(selector_of(answer, observes=observes))
    assert forwards == {"train": N_EPOCHS * N // BATCH, "eval": (2 + more) * N_EPOCHS}


def test_looking_changes_no_bit_of_the_training() -> None:
    def answer(data: TrainingData, dynamics: Dynamics) -> Selection:
        for name in ("features", "held_out_logits", "input_gradients", "margin_history"):
            getattr(dynamics, name)
        return everything(data, dynamics)

    blind, _, _ = trained(selector_of())
    looking, _, _ = trained(selector_of(answer, observes=EVERYTHING))
    assert blind.curves == looking.curves
    assert torch.equal(blind.test_predictions, looking.test_predictions)


# Rounds -------------------------------------------------------------------------------------------


def test_a_restart_begins_from_the_same_weights_and_draws() -> None:
    selector = selector_of(restarting(2), rounds=3)
    with pytest.raises(PluginError, match="restart was asked for 3 times"):
        trained(selector)
    shown = shown_to(selector)
    assert [(d.round, d.epoch) for d in shown] == [(r, e) for r in (1, 2, 3) for e in (1, 2)]
    for first, again in ((shown[0], shown[2]), (shown[1], shown[5])):
        assert torch.equal(first.losses, again.losses)
    assert not torch.equal(shown[0].losses, shown[1].losses)


def test_the_last_round_is_what_a_training_without_rounds_would_be() -> None:
    def answer(data: TrainingData, dynamics: Dynamics) -> Selection:
        ends = dynamics.round < 3 and dynamics.epoch == dynamics.round
        return everything(data, dynamics, restart=ends)

    in_rounds, trainer, _ = trained(selector_of(answer, rounds=3), Recorded)
    plain, _, _ = trained(selector_of(), Recorded)
    assert in_rounds.n_rounds == 3
    assert in_rounds.n_steps == len(trainer.steps) == (1 + 2 + N_EPOCHS) * (N // BATCH)
    assert in_rounds.curves == plain.curves
    assert {len(curve) for curve in in_rounds.curves.values()} == {N_EPOCHS}
    assert torch.equal(in_rounds.test_predictions, plain.test_predictions)


def test_the_next_round_trains_on_the_answer_that_asked_for_it() -> None:
    kept = torch.arange(N) % 2 == 0
    selector = selector_of(
        lambda data, dynamics: replace(
            everything(data, dynamics, restart=dynamics.round == 1), keep=kept
        ),
        rounds=2,
    )
    _, trainer, _ = trained(selector, Recorded)
    drawn = [set(positions.tolist()) for _, positions, _, _ in trainer.steps]
    n_before = N // BATCH
    assert set().union(*drawn[:n_before]) == set(range(N))
    assert set().union(*drawn[n_before:]) == set(range(0, N, 2))


def test_an_equal_share_holds_from_the_first_epoch_of_the_measured_round() -> None:
    kept = torch.arange(N) % 4 == 0
    selector = selector_of(
        lambda data, dynamics: replace(
            everything(data, dynamics, restart=dynamics.round < 3), keep=kept
        ),
        rounds=3,
    )
    _, trainer, _ = trained(selector, Recorded, equal_keep=0.5)
    per_epoch = N // BATCH
    drawn = [
        len(
            {
                i
                for _, positions, _, _ in trainer.steps[start : start + per_epoch]
                for i in positions.tolist()
            }
        )
        for start in range(0, len(trainer.steps), per_epoch)
    ]
    assert drawn == [N, N // 4] + [N // 2] * N_EPOCHS


def test_the_answer_before_is_given_back() -> None:
    selector = selector_of(restarting(N_EPOCHS), rounds=2)
    with pytest.raises(PluginError, match=r"rounds: ClassVar\[int\] = 3` or more"):
        trained(selector)
    shown = shown_to(selector)
    assert shown[0].previous is None
    for before, now in pairwise(shown):
        assert now.previous is not None
        assert torch.equal(now.previous.score, -before.losses)
        assert not now.previous.restart


def test_the_first_epoch_trains_on_what_the_selector_says() -> None:
    class Half(type(selector_of())):  # type: ignore[misc]
        def first(self, data: TrainingData) -> Selection:
            keep = data.noisy_labels == 1
            return Selection(keep=keep, score=keep.float())

    _, trainer, task = trained(Half(), Recorded)
    for epoch, positions, _, _ in trainer.steps:
        assert bool((task.noisy_labels[positions] == 1).all()) == (epoch == 1)


def test_a_restart_before_the_first_epoch_is_refused() -> None:
    class Hasty(type(selector_of())):  # type: ignore[misc]
        def first(self, data: TrainingData) -> Selection:
            return replace(super().first(data), restart=True)

    with pytest.raises(PluginError, match="must be asked for after an epoch"):
        trained(Hasty())


def test_fewer_rounds_are_measured_in_their_own_last_one() -> None:
    class Short(type(selector_of(restarting(1)))):  # type: ignore[misc]
        rounds: ClassVar[int] = 3

        def rounds_used(self) -> int:
            return 2

    with pytest.raises(PluginError, match="declares 2 rounds"):
        trained(Short())


def test_the_record_tells_of_the_rounds() -> None:
    record = quick("aum")
    n_steps = record.diagnostics["n_steps"]
    assert record.diagnostics["n_rounds"] == 3
    assert {len(curve) for curve in record.curves.values()} == {2}
    assert n_steps == 2 * quick("none").diagnostics["n_steps"]  # two rounds of half the epochs
    assert "n_rounds" not in quick("none").diagnostics


# Extra classes ------------------------------------------------------------------------------------


def extra(data: TrainingData, dynamics: Dynamics) -> Selection:
    labels = torch.full_like(data.noisy_labels, data.n_classes)
    return everything(data, dynamics, labels=labels)


def test_an_extra_class_is_learned_and_never_predicted() -> None:
    selector = selector_of(extra, extra_classes=1, observes=EVERYTHING)
    outcome, trainer, task = trained(selector, Recorded)
    _, _, outputs, labels = trainer.steps[-1]
    assert outputs.shape == (BATCH, 3)
    assert set(labels.tolist()) == {2}
    assert bool((outputs.argmax(dim=1) == 2).all())
    assert bool((outcome.test_predictions < 2).all())
    right = float((outcome.test_predictions == task.test_labels).double().mean())
    assert outcome.curves["test_accuracy"][-1] == right
    last = shown_to(selector)[-1]
    assert last.logits.shape == (N, 2)
    assert last.held_out_logits.shape == (N_VAL, 2)
    assert bool((last.prediction_history < 2).all())
    assert bool((last.training_predictions == 2).all())


def test_an_extra_class_has_to_be_declared() -> None:
    with pytest.raises(PluginError, match=r"labels must lie in \[0, 2\), got 2 to 2"):
        trained(selector_of(extra))
