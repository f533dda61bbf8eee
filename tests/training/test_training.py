"""Training: the same budget for everybody, and draws that depend on named seeds only."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_tasks import keep_only, make_task, seeded

from nlbench.errors import ConfigError
from nlbench.machine import PeakMemory, device_name, resolve_device
from nlbench.plugins.registry import make_selector
from nlbench.selector import Selection
from nlbench.training.augment import augment
from nlbench.training.cross_entropy import CrossEntropy
from nlbench.training.evaluate import as_input
from nlbench.training.loop import Learner, run_epochs
from nlbench.training.networks import make_network
from nlbench.training.order import BatchOrder
from nlbench.training.task import TrainingBatch, TrainingOutcome

CPU = torch.device("cpu")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kept", [[3], [0, 5, 9], list(range(10))])
def test_only_kept_samples_are_drawn_and_as_many_as_asked(kept: list[int], weighted: bool) -> None:
    weights = torch.ones(10) if weighted else None
    order = BatchOrder(seeded()).epoch(keep_only(10, kept, weights=weights), 64)
    assert len(order) == 64
    assert set(order.tolist()) == set(kept)


def test_every_pass_is_a_fresh_permutation() -> None:
    batches = BatchOrder(seeded())
    order = batches.epoch(keep_only(10, [1, 4, 6, 8]), 10)
    first, second = order[:4].tolist(), order[4:8].tolist()
    assert sorted(first) == sorted(second) == [1, 4, 6, 8]
    orders = {tuple(batches.epoch(keep_only(10, [1, 4, 6, 8]), 4).tolist()) for _ in range(40)}
    assert len(orders) > 10


def test_the_order_depends_on_the_generator_alone() -> None:
    selection = keep_only(50, list(range(0, 50, 2)))
    one, again, other = (BatchOrder(seeded(s)).epoch(selection, 60).tolist() for s in (1, 1, 2))
    assert one == again
    assert one != other


def test_weights_say_how_often_a_sample_is_drawn() -> None:
    weights = torch.tensor([1.0, 3.0, 0.0, 100.0])
    selection = keep_only(4, [0, 1, 2], weights=weights)
    order = BatchOrder(seeded()).epoch(selection, 20_000)
    counts = torch.bincount(order, minlength=4) / 20_000
    torch.testing.assert_close(counts, torch.tensor([0.25, 0.75, 0, 0]), atol=0.02, rtol=0)


def flat(network: nn.Module) -> Tensor:
    return torch.cat([value.flatten().double() for value in network.state_dict().values()])


@pytest.mark.parametrize("name", ["small-cnn", "timm:test_resnet"])
def test_initial_weights_depend_on_seed_and_name_only(name: str) -> None:
    torch.manual_seed(1)
    first = flat(make_network(name, 3, 4, seed=7))
    torch.manual_seed(2)
    torch.rand(13)
    assert torch.equal(flat(make_network(name, 3, 4, seed=7)), first)
    assert not torch.equal(flat(make_network(name, 3, 4, seed=8)), first)


@pytest.mark.parametrize("name", ["small-cnn", "timm:test_resnet"])
def test_making_a_network_leaves_the_global_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    make_network(name, 1, 10, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_making_a_network_leaves_the_gpus_generator_alone() -> None:
    torch.cuda.manual_seed(1)
    before = torch.cuda.get_rng_state()
    make_network("small-cnn", 1, 10, seed=0)
    assert torch.equal(torch.cuda.get_rng_state(), before)


@pytest.mark.parametrize(("name", "channels"), [("small-cnn", 1), ("timm:test_resnet", 3)])
def test_networks_give_a_logit_per_class(name: str, channels: int) -> None:
    network = make_network(name, channels, 7, seed=0)
    assert network(torch.zeros(2, channels, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smal-cnn", "unknown network 'smal-cnn'. Did you mean 'small-cnn'"),
        ("timm:resnet5O", "no model 'resnet5O'. Did you mean 'resnet50'"),
        ("resnet18", "'timm:MODEL'"),
    ],
)
def test_unknown_networks(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_network(name, 3, 10, seed=0)


def batch_of_floats(n: int = 20, channels: int = 2, side: int = 8) -> Tensor:
    return torch.rand(n, channels, side, side, generator=seeded(5)) + 0.5


@pytest.mark.parametrize("kind", ["none", "shift", "crop-flip"])
@pytest.mark.parametrize("side", [5, 8, 32])
def test_augmented_batches_keep_their_shape_and_are_repeatable(kind: Any, side: int) -> None:
    batch = batch_of_floats(side=side)
    before = batch.clone()
    one, again = (augment(batch, kind, seeded(3)) for _ in range(2))
    assert one.shape == batch.shape
    assert torch.equal(one, again)
    assert torch.equal(batch, before)
    assert torch.equal(one, batch) == (kind == "none")
    if kind != "none":
        assert not torch.equal(augment(batch, kind, seeded(4)), one)


def all_crops(image: Tensor, pad: int, mirrored: bool) -> list[Tensor]:
    """Every shift of one image, the obvious way."""
    _, height, width = image.shape
    crops = []
    for top in range(-pad, pad + 1):
        for left in range(-pad, pad + 1):
            crop = torch.zeros_like(image)
            for row in range(height):
                for column in range(width):
                    y, x = row + top, column + left
                    if 0 <= y < height and 0 <= x < width:
                        crop[:, row, column] = image[:, y, x]
            crops.append(crop)
    return crops + [crop.flip(2) for crop in crops if mirrored]


@pytest.mark.parametrize(("kind", "n_views"), [("shift", 9), ("crop-flip", 18)])
def test_every_augmented_image_is_a_crop_of_its_own_image(kind: Any, n_views: int) -> None:
    images = batch_of_floats(n=3)
    batch = images.repeat_interleave(100, dim=0)
    views = augment(batch, kind, seeded()).reshape(3, 100, *images.shape[1:])
    for image, of_image in zip(images, views, strict=True):
        crops = all_crops(image, pad=1, mirrored=kind == "crop-flip")
        assert len(crops) == n_views
        matches = [
            next(i for i, crop in enumerate(crops) if torch.equal(crop, view)) for view in of_image
        ]
        assert len(set(matches)) == n_views


def test_half_of_the_images_are_mirrored() -> None:
    ramp = torch.arange(32.0).repeat(1, 1, 32, 1).repeat(2000, 1, 1, 1) + 1
    views = augment(ramp, "crop-flip", seeded())
    mirrored = (views[:, 0, 16, 8] > views[:, 0, 16, 24]).float().mean()
    assert 0.45 < float(mirrored) < 0.55


def test_pixels_become_numbers_around_zero() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(as_input(pixels), torch.tensor([-1.0, -0.6, 1.0]))
    assert pixels.tolist() == [0, 51, 255]


SHORT = CrossEntropy(epochs=4, batch_size=16, augmentation="none")


def test_training_learns() -> None:
    outcome = SHORT.train(make_task())
    assert len(outcome.curves["test_accuracy"]) == 4
    assert outcome.curves["test_accuracy"][-1] > 0.9  # type: ignore[operator]
    losses = outcome.curves["train_loss"]
    assert losses[-1] < 0.5 * losses[0]  # type: ignore[operator]
    assert outcome.test_predictions.shape == (64,)
    right = (outcome.test_predictions == make_task().test_labels).double().mean()
    assert float(right) == outcome.curves["test_accuracy"][-1]


def test_training_is_repeatable_whatever_the_global_generator_does() -> None:
    trainer = CrossEntropy(epochs=2, batch_size=16, augmentation="crop-flip")
    torch.manual_seed(1)
    first = trainer.train(make_task())
    torch.manual_seed(2)
    second = trainer.train(make_task())
    assert first.curves == second.curves
    assert torch.equal(first.test_predictions, second.test_predictions)
    assert trainer.train(make_task(seed=1)).curves != first.curves


@pytest.mark.parametrize("kept", [1, 5, 64, 128])
def test_equal_steps_whatever_is_kept(kept: int) -> None:
    trainer = CrossEntropy(epochs=2, batch_size=30, augmentation="none")
    outcome = trainer.train(make_task(selection=keep_only(128, list(range(kept)))))
    assert outcome.n_steps == 2 * (128 // 30)
    assert all(math.isfinite(x) for x in outcome.curves["train_loss"])  # type: ignore[arg-type]


def test_a_batch_larger_than_the_data_is_the_data() -> None:
    outcome = CrossEntropy(epochs=3, batch_size=512, augmentation="none").train(make_task(n=20))
    assert outcome.n_steps == 3


def test_what_is_not_kept_is_not_learned_from() -> None:
    wrong = make_task().noisy_labels.clone()
    wrong[64:] = 1 - wrong[64:]
    everything = SHORT.train(make_task(noisy_labels=wrong))
    cleaned = SHORT.train(make_task(noisy_labels=wrong, selection=keep_only(128, list(range(64)))))
    assert cleaned.curves["test_accuracy"][-1] > 0.9  # type: ignore[operator]
    assert everything.curves["train_loss"][-1] > 0.3  # type: ignore[operator]


def test_corrected_labels_are_trained_on() -> None:
    truth = make_task().noisy_labels
    everything = list(range(128))
    corrected = keep_only(128, everything, labels=truth)
    outcome = SHORT.train(make_task(noisy_labels=1 - truth, selection=corrected))
    assert outcome.curves["test_accuracy"][-1] > 0.9  # type: ignore[operator]
    uncorrected = SHORT.train(make_task(noisy_labels=1 - truth))
    assert uncorrected.curves["test_accuracy"][-1] < 0.1  # type: ignore[operator]


def test_without_a_validation_part_there_is_no_validated_epoch() -> None:
    empty = make_task()
    outcome = SHORT.train(
        make_task(val_images=empty.val_images[:0], val_labels=empty.val_labels[:0])
    )
    assert outcome.curves["noisy_val_accuracy"] == [None] * 4
    assert outcome.test_predictions_noisy_val is None


class Scripted(nn.Module):
    """Answers with as many right validation and test samples as the script of the epoch says."""

    def __init__(self, val_right: list[int]) -> None:
        super().__init__()
        self.val_right, self.epoch, self.modes = val_right, -1, []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        n_right = self.val_right[self.epoch] if len(images) == 10 else 2 * self.epoch
        return nn.functional.one_hot((torch.arange(len(images)) < n_right).long(), 2).float()


def run_script(val_right: list[int], **changes: Any) -> tuple[TrainingOutcome, Scripted]:
    network = Scripted(val_right)
    task = make_task(
        n=12,
        val_images=torch.zeros(10, 1, 8, 8, dtype=torch.uint8),
        val_labels=torch.ones(10, dtype=torch.int64),
        test_labels=torch.ones(64, dtype=torch.int64),
        **changes,
    )

    def step(batch: TrainingBatch) -> Tensor:
        network.epoch += 1
        return torch.tensor(0.5)

    batches = BatchOrder(seeded())
    learner = Learner(network, step, batches)
    return run_epochs(task, [learner], len(val_right), 12), network


@pytest.mark.parametrize(
    ("val_right", "best"), [([3, 7, 5, 7, 7], 1), ([0, 0, 0], 0), ([1, 2, 3], 2), ([9, 1], 0)]
)
def test_the_noisy_validation_epoch_is_the_earliest_best(val_right: list[int], best: int) -> None:
    outcome, network = run_script(val_right)
    assert outcome.curves["noisy_val_accuracy"] == [n / 10 for n in val_right]
    assert outcome.test_predictions_noisy_val is not None
    assert int(outcome.test_predictions_noisy_val.sum()) == 2 * best
    assert int(outcome.test_predictions.sum()) == 2 * (len(val_right) - 1)
    assert outcome.curves["test_accuracy"] == [2 * e / 64 for e in range(len(val_right))]
    assert not any(network.modes), "evaluated in training mode"


def test_an_online_selection_takes_effect_in_the_next_epoch() -> None:
    seen: list[set[int]] = []
    asked: list[tuple[int, Tensor, Tensor]] = []
    base = make_task()
    marked = base.images.clone()
    marked[:, 0, 0, 0] = torch.arange(128).to(torch.uint8)  # an image knows its position

    def reselect(
        epoch: int, losses: list[Tensor], logits: list[Tensor], looks: Any
    ) -> list[Selection]:
        asked.append((epoch, losses[0], logits[0]))
        return [keep_only(128, [epoch])]

    def step(batch: TrainingBatch) -> Tensor:
        seen.append(set(batch.images[:, 0, 0, 0].tolist()))
        return torch.tensor(0.5)

    network = make_network("small-cnn", 1, 2, seed=0)
    done: list[tuple[int, int]] = []
    task = make_task(
        images=marked, reselect=reselect, progress=lambda *numbers: done.append(numbers)
    )
    outcome = run_epochs(task, [Learner(network, step, BatchOrder(seeded()))], 3, 128)
    assert seen == [set(range(128)), {1}, {2}]
    assert outcome.selection.keep.nonzero().flatten().tolist() == [3]
    assert [epoch for epoch, _, _ in asked] == [1, 2, 3]
    _, losses, logits = asked[-1]
    expected = nn.functional.cross_entropy(logits, task.noisy_labels, reduction="none")
    torch.testing.assert_close(losses, expected)
    assert logits.shape == (128, 2)
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_what_a_selector_is_given_can_be_computed_with() -> None:
    def reselect(
        epoch: int, losses: list[Tensor], logits: list[Tensor], looks: Any
    ) -> list[Selection]:
        weight = torch.ones(2, requires_grad=True)
        (logits[0] * weight).sum().backward()
        losses[0].mul_(2)
        return [keep_only(128, list(range(128)))]

    outcome = SHORT.train(make_task(reselect=reselect))
    assert outcome.n_steps == 32
    assert outcome.reselect_s > 0


# Two networks ------------------------------------------------------------------------------------


def test_a_peer_changes_nothing_for_the_first_network() -> None:
    alone, paired = (SHORT.train(make_task(n_networks=n)) for n in (1, 2))
    for name, curve in alone.curves.items():
        assert paired.curves[name] == curve, name
    assert torch.equal(alone.test_predictions, paired.test_predictions)
    assert alone.n_steps == paired.n_steps
    assert "ensemble_test_accuracy" not in alone.curves
    assert len(paired.curves["ensemble_test_accuracy"]) == SHORT.epochs


def test_each_network_trains_on_its_own_answer_and_starts_elsewhere() -> None:
    seen: list[set[int]] = [set(), set()]
    first_losses: list[Tensor] = []
    marked = make_task().images.clone()
    marked[:, 0, 0, 0] = torch.arange(128).to(torch.uint8)  # an image knows its position

    def reselect(
        epoch: int, losses: list[Tensor], logits: list[Tensor], looks: Any
    ) -> list[Selection]:
        first_losses.extend(losses if epoch == 1 else [])
        return [keep_only(128, [3]), keep_only(128, [5])]

    def step_of(index: int) -> Any:
        def step(batch: TrainingBatch) -> Tensor:
            seen[index] = set(batch.images[:, 0, 0, 0].tolist())
            return torch.tensor(0.5)

        return step

    learners = [
        Learner(make_network("small-cnn", 1, 2, seed=i), step_of(i), BatchOrder(seeded()))
        for i in (0, 1)
    ]
    task = make_task(images=marked, reselect=reselect, n_networks=2)
    outcome = run_epochs(task, learners, 2, 128)
    assert seen == [{3}, {5}]
    assert outcome.selection.keep.nonzero().flatten().tolist() == [3]
    assert not torch.allclose(*first_losses)


def test_two_networks_of_one_trainer_have_their_own_weights() -> None:
    reports: list[Tensor] = []

    def reselect(
        epoch: int, losses: list[Tensor], logits: list[Tensor], looks: Any
    ) -> list[Selection]:
        reports.extend(losses)
        return [keep_only(128, list(range(128)))] * 2

    SHORT.train(make_task(reselect=reselect, n_networks=2))
    assert not torch.allclose(reports[0], reports[1])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("lr", 0),
        ("momentum", 1),
        ("weight_decay", -1e-4),
        ("augmentation", "mixup"),
    ],
)
def test_settings_out_of_range(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"'cross-entropy'.*'{key}'.*got {value!r}"):
        make_selector(CrossEntropy, {key: value}, name="cross-entropy")  # type: ignore[arg-type]


def no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_auto_takes_the_best_device(monkeypatch: pytest.MonkeyPatch) -> None:
    no_device(monkeypatch)
    assert resolve_device("auto") == resolve_device() == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "no CUDA device here.*--device auto"),
        ("cuda:0", "no CUDA device here"),
        ("mps", "no Metal device here.*--device auto"),
    ],
)
def test_a_device_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    no_device(monkeypatch)
    with pytest.raises(ConfigError, match=message):
        resolve_device(name)


def test_a_cuda_device_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="cuda:2: there are 2 CUDA devices"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(
    "name", ["gpu", "tpu", "", "CUDA", "cuda:x", "cuda:-1", "cuda:", "cpu:1", "auto:0", "mps:1"]
)
@pytest.mark.parametrize("there", [False, True])
def test_an_unknown_device(monkeypatch: pytest.MonkeyPatch, name: str, there: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there)
    with pytest.raises(ConfigError, match="--device"):
        resolve_device(name)


def test_the_cpu_in_words() -> None:
    assert device_name(CPU) == f"cpu, {torch.get_num_threads()} threads"


def test_peak_memory_sees_an_allocation() -> None:
    def peak_with(n_mib: int) -> float:
        memory = PeakMemory(CPU)
        assert float(torch.ones(n_mib * 2**18)[0]) == 1
        return memory.mib()

    small = peak_with(1)
    assert peak_with(200) > small + 150
