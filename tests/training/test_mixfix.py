"""MixFix: what it absorbs and relabels, how it draws, and what the record says about it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mlflow_records import make_record
from torch import Tensor
from training_tasks import keep_only, make_task, seeded
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.config.resolve import resolve
from nlbench.plugins.registry import find, make_selector
from nlbench.results.store import RunStore
from nlbench.runner.online_selection import RelabelAccuracy
from nlbench.selector import Selection
from nlbench.tracking.schema import curve_points
from nlbench.training.class_balance import ClassBalancedOrder
from nlbench.training.mixfix import MixFix, absorb_and_relabel

SMALL = {"trainer.network": "small-cnn", "trainer.augmentation": "none"}


def short(**changes: Any) -> MixFix:
    quick = {"epochs": 4, "batch_size": 16, "network": "small-cnn", "augmentation": "none"}
    return MixFix(**{**quick, "lr": 0.05, **changes})


# Absorb and relabel ------------------------------------------------------------------------------


def slow_step(
    keep: list[bool],
    own: list[int] | None,
    noisy: list[int],
    logits: list[list[float]],
    theta_r: float,
    theta_r2: float,
) -> tuple[list[int], list[int], list[int]]:
    """One sample at a time, as the paper tells it: labels, absorbed, relabelled."""
    labels, absorbed, relabelled = [], [], []
    for i, row in enumerate(logits):
        parts = [math.exp(x - max(row)) for x in row]
        confidence, predicted = max(parts) / sum(parts), row.index(max(row))
        label = own[i] if own is not None and keep[i] else noisy[i]
        if predicted == noisy[i]:
            if theta_r < 1 and confidence >= theta_r and not keep[i]:
                absorbed.append(i)
        elif theta_r2 < 1 and confidence >= theta_r2:
            relabelled.append(i)
            label = predicted
        labels.append(label)
    return labels, absorbed, relabelled


@given(
    rows=st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 2),
            st.integers(0, 2),
            st.lists(st.integers(-6, 6), min_size=3, max_size=3),
        ),
        min_size=1,
        max_size=20,
    ),
    theta_r=st.sampled_from([0.0, 0.5, 0.81, 0.95, 1.0]),
    theta_r2=st.sampled_from([0.0, 0.5, 0.81, 0.95, 1.0]),
    corrects=st.booleans(),
)
def test_the_step_is_the_papers(
    rows: list[Any], theta_r: float, theta_r2: float, corrects: bool
) -> None:
    keep, own, noisy, logits = map(list, zip(*rows, strict=True))
    selection = Selection(
        keep=torch.tensor(keep),
        score=torch.zeros(len(keep)),
        labels=torch.tensor(own) if corrects else None,
    )
    labels, absorbed, relabelled = absorb_and_relabel(
        selection, torch.tensor(noisy), torch.tensor(logits).float(), theta_r, theta_r2
    )
    expected = slow_step(keep, own if corrects else None, noisy, logits, theta_r, theta_r2)
    assert labels.tolist() == expected[0]
    assert absorbed.nonzero().flatten().tolist() == expected[1]
    assert relabelled.nonzero().flatten().tolist() == expected[2]


def test_a_threshold_of_one_is_never_reached() -> None:
    nothing = keep_only(4, [0])
    sure = 1000.0 * torch.eye(2)[[0, 1, 0, 1]]
    labels, absorbed, relabelled = absorb_and_relabel(
        nothing, torch.tensor([0, 1, 1, 0]), sure, 1.0, 1.0
    )
    assert labels.tolist() == [0, 1, 1, 0]
    assert not bool((absorbed | relabelled).any())


# Class balance -----------------------------------------------------------------------------------


def test_every_class_is_repeated_up_to_the_largest() -> None:
    labels = torch.tensor([0] * 7 + [1] * 3 + [2] * 1 + [3] * 5)
    selection = keep_only(16, list(range(11)))
    order = ClassBalancedOrder(seeded(), labels).epoch(selection, 2 * 21)
    for one_pass in order.split(21):
        counts = Counter(labels[one_pass].tolist())
        assert counts == {0: 7, 1: 7, 2: 7}
        times = Counter(one_pass.tolist())
        assert all(times[i] == 1 for i in range(7))
        assert sorted(times[i] for i in (7, 8, 9)) == [2, 2, 3]
        assert times[10] == 7


@pytest.mark.parametrize("n_draws", [1, 5, 20, 21, 64])
@pytest.mark.parametrize("weighted", [False, True])
def test_as_many_as_asked_and_kept_ones_only(n_draws: int, weighted: bool) -> None:
    labels = torch.arange(30) % 4
    weights = torch.rand(30, generator=seeded()) + 0.1 if weighted else None
    selection = keep_only(30, [0, 1, 5, 9, 13], weights=weights)
    order = ClassBalancedOrder(seeded(1), labels).epoch(selection, n_draws)
    assert len(order) == n_draws
    assert set(order.tolist()) <= {0, 1, 5, 9, 13}


def test_the_labels_in_training_make_the_classes() -> None:
    noisy = torch.zeros(8, dtype=torch.int64)
    selection = keep_only(8, list(range(8)), labels=torch.tensor([0] * 7 + [1]))
    order = ClassBalancedOrder(seeded(), noisy).epoch(selection, 14)
    assert Counter(order.tolist())[7] == 7


def test_weights_count_within_a_class() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    weights = torch.tensor([1.0, 3.0, 5.0, 5.0, 0.0, 0.0])
    selection = keep_only(6, list(range(6)), weights=weights)
    order = ClassBalancedOrder(seeded(), labels).epoch(selection, 40_000)
    shares = torch.bincount(order, minlength=6) / 40_000
    expected = torch.tensor([0.125, 0.375, 0.25, 0.25, 0.0, 0.0])
    torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)


# The schedule ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "milestones", "falls"),
    [
        (300, None, [200, 250]),
        (30, None, [20, 25]),
        (300, [200, 250], [200, 250]),
        (150, [80.0, 120.0], [80, 120]),
        (10, [0.5], [5]),
        (10, [], []),
        (10, [200, 250], []),
    ],
)
def test_the_rate_falls_to_a_tenth_at_the_milestones(
    epochs: int, milestones: list[float] | None, falls: list[int]
) -> None:
    settings = {"epochs": epochs} | ({} if milestones is None else {"milestones": milestones})
    trainer: Any = make_selector(MixFix, settings, kind="trainers")  # type: ignore[arg-type]
    steps = 7
    rates = [trainer.lr_factor(done, epochs * steps) for done in range(epochs * steps)]
    changes = [i for i in range(1, len(rates)) if rates[i] != rates[i - 1]]
    assert changes == [steps * epoch for epoch in falls]
    assert rates[0] == 1
    assert rates[-1] == pytest.approx(0.1 ** len(falls))


def test_the_defaults_are_the_papers() -> None:
    trainer = MixFix()
    assert (trainer.epochs, trainer.batch_size, trainer.lr) == (300, 128, 0.02)
    assert (trainer.momentum, trainer.nesterov, trainer.weight_decay) == (0.9, False, 5e-4)
    assert (trainer.theta_r, trainer.theta_r2, trainer.beta) == (0.8, 0.8, 1.0)
    assert (trainer.network, trainer.augmentation) == ("preact-resnet18", "autoaugment-cifar10")


# Training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [2, 40, 128])
def test_equal_steps_whatever_is_kept_or_joins(kept: int) -> None:
    outcome = short(batch_size=30, theta_r=0.5, theta_r2=0.5).train(
        make_task(selection=keep_only(128, list(range(kept))))
    )
    assert outcome.n_steps == 4 * (128 // 30)
    assert {len(curve) for curve in outcome.curves.values()} == {4}


def test_what_joins_is_trained_on_and_the_selection_stays_the_selectors() -> None:
    truth = make_task().noisy_labels
    noisy = truth.clone()
    noisy[64:96] = 1 - noisy[64:96]
    told: list[tuple[int, Tensor, Tensor]] = []
    task = make_task(
        noisy_labels=noisy,
        selection=keep_only(128, list(range(48))),
        on_labels=lambda *news: told.append(news),
    )
    outcome = short(epochs=8).train(task)
    assert outcome.selection is task.selection
    assert [epoch for epoch, _, _ in told] == list(range(1, 9))
    _, keep, labels = told[-1]
    assert bool(keep[:48].all())
    assert int(keep.sum()) > 100
    assert bool((labels[keep] == truth[keep]).all())
    changed = int((keep & (labels != noisy)).sum())
    assert changed == outcome.curves["relabelled"][-1] > 20
    assert int(keep.sum()) == 48 + changed + outcome.curves["absorbed"][-1]  # type: ignore[operator]


def test_what_joined_can_leave_again() -> None:
    """Every epoch starts from the selection: with no certainty there is nothing else."""
    told: list[Tensor] = []
    task = make_task(
        selection=keep_only(128, list(range(30))), on_labels=lambda _, keep, __: told.append(keep)
    )
    outcome = short(theta_r=1, theta_r2=1).train(task)
    assert all(torch.equal(keep, task.selection.keep) for keep in told)
    assert outcome.curves["absorbed"] == outcome.curves["relabelled"] == [0.0] * 4


def test_an_online_selector_replaces_the_selection() -> None:
    told: list[list[int]] = []

    def reselect(
        epoch: int, losses: list[Tensor], logits: list[Tensor], looks: Any
    ) -> list[Selection]:
        for each in logits:
            each.zero_()
        return [keep_only(128, [epoch, 127 - epoch], weights=torch.ones(128))] * len(logits)

    task = make_task(
        reselect=reselect,
        on_labels=lambda _, keep, __: told.append(keep.nonzero().flatten().tolist()),
    )
    outcome = short(theta_r=1, theta_r2=1).train(task)
    assert told == [[epoch, 127 - epoch] for epoch in (1, 2, 3, 4)]
    assert outcome.selection.keep.nonzero().flatten().tolist() == [4, 123]
    told.clear()
    joined = short(theta_r=0.6).train(task)
    assert joined.curves["absorbed"][-1] > 0  # type: ignore[operator]
    paired = short(theta_r=0.6).train(replace(task, n_networks=2))
    assert paired.curves["absorbed"] == joined.curves["absorbed"]
    assert len(told) == 2 * 4


# Through the runner ------------------------------------------------------------------------------


def trained(selector: str, trainer: str, home: Path, **options: Any) -> nlbench.RunRecord:
    settings = {**SMALL, **options.pop("settings", {})}
    return nlbench.run(
        selector, noise="symmetric", noise_rate=0.4, trainer=trainer, track=False, home=home,
        settings=settings, **options,
    )  # fmt: skip


def test_clean_samples_and_mixfix_beat_everything_and_cross_entropy(tmp_path: Path) -> None:
    plain = trained("none", "cross-entropy", tmp_path, epochs=25)
    fixed = trained("oracle", "mixfix", tmp_path, epochs=25)
    assert plain.metrics is not None
    assert fixed.metrics is not None
    assert fixed.metrics.test.accuracy_last > plain.metrics.test.accuracy_last + 0.15
    assert fixed.metrics.selection.kept_fraction == pytest.approx(0.6, abs=0.02)
    assert fixed.curves["relabel_accuracy"][-1] > 0.95  # type: ignore[operator]
    # The oracle keeps every clean sample: what is left can only be relabelled.
    assert set(fixed.curves["absorbed"]) == {0.0}
    assert fixed.curves["relabelled"][-1] > 300  # type: ignore[operator]
    assert "relabel_accuracy" not in plain.curves


@pytest.mark.parametrize("selector", ["clipcleaner", "small-loss"])
def test_the_same_seed_gives_the_same_run(selector: str, tmp_path: Path) -> None:
    augmented = {"trainer.augmentation": "autoaugment-cifar10"}
    one, again = (
        trained(selector, "mixfix", tmp_path / part, epochs=2, settings=augmented) for part in "ab"
    )
    assert one.curves == again.curves
    assert one.metrics == again.metrics
    assert {len(curve) for curve in one.curves.values()} == {2}


def test_the_command_line_takes_it(tmp_path: Path) -> None:
    words = "run --trainer mixfix --set trainer.network=small-cnn --set trainer.augmentation=shift"
    result = CliRunner().invoke(app, [*words.split(), "--epochs", "10", "--selector", "none"])
    assert result.exit_code == 0, result.output
    (record,), _ = RunStore().records()
    assert record.status == "finished"
    assert (record.method, record.trainer.name) == ("mixfix", "mixfix")
    assert len(record.curves["relabelled"]) == 10
    assert "--selector mixfix" in record.command


def test_milestones_are_part_of_the_fingerprint() -> None:
    def of(*milestones: float) -> str:
        own = {"trainer.milestones": list(milestones)} if milestones else {}
        return resolve(trainer="mixfix", settings=own).fingerprint

    assert of() == of(2 / 3, 5 / 6)
    assert of(200, 250) == of(200.0, 250.0) != of()


def test_relabelled_samples_are_measured_against_the_truth() -> None:
    noisy, clean = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0, 0, 0, 0, 0])
    watch = RelabelAccuracy(noisy, clean)
    assert watch.curves == {}
    watch(1, torch.ones(5, dtype=torch.bool), noisy)
    # One put right, one put wrong; the fourth is wrong as well, but not in training.
    watch(2, torch.tensor([1, 1, 1, 0, 1]).bool(), torch.tensor([0, 0, 1, 2, 1]))
    assert watch.curves == {"relabel_accuracy": [None, 0.5]}


def test_counts_stay_counts_in_mlflow() -> None:
    curves = {"absorbed": [0.0, 12.0], "relabelled": [3.0], "relabel_accuracy": [None, 0.5]}
    points, dropped = curve_points(make_record(curves=curves))
    assert not dropped
    assert [(p.key, p.step, p.value) for p in points] == [
        ("train/absorbed", 1, 0.0),
        ("train/absorbed", 2, 12.0),
        ("train/relabelled", 1, 3.0),
        ("train/relabel_acc", 2, 50.0),
    ]


def test_it_is_listed_with_the_other_trainers() -> None:
    assert find("trainers", "mixfix").summary.startswith("Mixup on the selection")
