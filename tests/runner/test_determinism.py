"""The same seed gives the same bits: on a CPU, on a GPU with `--deterministic`."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from training_tasks import make_task
from typer.testing import CliRunner

from nlbench.cli import app
from nlbench.errors import ConfigError
from nlbench.machine import deterministic_algorithms
from nlbench.plugins.registry import find, make_selector
from nlbench.results.store import RunStore
from nlbench.selector import Selection
from nlbench.training import loop, sgd
from nlbench.training.cross_entropy import CrossEntropy
from nlbench.training.loop import Learner, run_epochs
from nlbench.training.precision import choose_precision
from nlbench.training.task import TrainingBatch, TrainingOutcome, TrainingTask

TRAINERS = ("cross-entropy", "label-smoothing", "mixup", "mixfix")
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def trained(task: TrainingTask, precision: str = "float32") -> TrainingOutcome:
    trainer = CrossEntropy(epochs=2, batch_size=32, augmentation="crop-flip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLBENCH_PRECISION", precision)
        return trainer.train(task)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_training_repeats_bit_by_bit_on_as_many_threads(n_threads: int, precision: str) -> None:
    large = make_task(
        images=torch.randint(0, 256, (128, 3, 32, 32), dtype=torch.uint8),
        test_images=torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8),
        val_images=torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        first, again = (trained(large, precision) for _ in "ab")
    finally:
        torch.set_num_threads(before)
    assert first.curves == again.curves
    assert torch.equal(first.test_predictions, again.test_predictions)
    assert first.precision == precision


# Which precision ----------------------------------------------------------------------------------


SMALL, LARGE = torch.nn.Linear(10, 10), torch.nn.Linear(1000, 1000)


@pytest.mark.parametrize(
    ("device", "network", "has_tiles", "expected"),
    [
        (GPU, SMALL, False, "bfloat16"),
        (CPU, SMALL, True, "float32"),
        (CPU, LARGE, True, "bfloat16"),
        (CPU, LARGE, False, "float32"),
        (torch.device("mps"), LARGE, True, "float32"),
    ],
)
def test_precision_follows_device_and_network_unless_it_is_given(
    device: torch.device,
    network: torch.nn.Module,
    has_tiles: bool,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nlbench.training.precision.has_bfloat16_tiles", lambda: has_tiles)
    monkeypatch.setenv("NLBENCH_PRECISION", "")
    assert choose_precision(device, network) == expected
    for given in ("float32", "bfloat16"):
        monkeypatch.setenv("NLBENCH_PRECISION", given)
        assert choose_precision(device, network) == given


def test_an_unknown_precision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLBENCH_PRECISION", "bf16")
    with pytest.raises(ConfigError, match="must be float32 or bfloat16, got 'bf16'"):
        CrossEntropy(epochs=1).train(make_task())


def test_bf16_learns_as_well() -> None:
    task = make_task()
    trainer = CrossEntropy(epochs=4, batch_size=16, augmentation="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLBENCH_PRECISION", "bfloat16")
        outcome = trainer.train(task)
    assert outcome.curves["test_accuracy"][-1] > 0.9  # type: ignore[operator]


# --deterministic ----------------------------------------------------------------------------------


def switches() -> tuple[bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.mark.parametrize(
    ("device", "enabled", "inside"), [("cuda", True, True), ("cuda", False, False), ("cpu", 1, 0)]
)
def test_the_switches_are_on_inside_and_as_before_afterwards(
    device: str, enabled: bool, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = switches()
    with (
        pytest.raises(ZeroDivisionError),
        deterministic_algorithms(torch.device(device), enabled),
    ):
        assert switches() == ((True, False, False) if inside else before)
        assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == inside
        raise ZeroDivisionError
    assert switches() == before
    # What the environment holds for cuBLAS stays; the fixture must not leave it to other tests.
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@pytest.mark.parametrize("command", ["run --selector none", "sweep --selector none --seeds 0"])
def test_the_record_says_whether_bits_repeat_and_how_it_was_trained(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def watched(device: torch.device, enabled: bool) -> object:
        asked.append((device.type, enabled))
        return deterministic_algorithms(device, enabled)

    monkeypatch.setattr("nlbench.runner.run.deterministic_algorithms", watched)
    words = [*command.split(), "--noise", "symmetric" if "run" in command else "symmetric:0.4"]
    words += ["--epochs", "1", "--device", "cpu", "--deterministic"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert asked == [("cpu", True)]
    (record,), _ = RunStore().records()
    assert record.environment["deterministic"] is True
    assert record.diagnostics["precision"] == "float32"


# On a GPU -----------------------------------------------------------------------------------------


def on_gpu(**changes: object) -> TrainingTask:
    here = {k: v.to(GPU) for k, v in vars(make_task()).items() if isinstance(v, torch.Tensor)}
    keep = torch.ones(128, dtype=torch.bool, device=GPU)
    selection = Selection(keep=keep, score=keep.float())
    return replace(make_task(**here), selection=selection, device=GPU, **changes)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.parametrize(
    "augmentation", ["none", "crop-flip", "autoaugment-cifar10", "randaugment"]
)
@pytest.mark.parametrize("name", TRAINERS)
def test_no_step_of_any_trainer_waits_for_the_gpu(
    name: str, augmentation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an epoch's first step to its last: the order of samples is on the device by then."""

    def watched(task: TrainingTask, learners: list[Learner], *rest: object) -> TrainingOutcome:
        def strict(batch: TrainingBatch) -> torch.Tensor:
            torch.cuda.set_sync_debug_mode("error")
            return learners[0].step(batch)

        return run_epochs(task, [replace(learners[0], step=strict)], *rest)  # type: ignore[arg-type]

    def released(*args: object) -> torch.Tensor:
        losses = _train_epoch(*args)  # type: ignore[arg-type]
        torch.cuda.set_sync_debug_mode("default")
        return losses

    settings = {
        "epochs": 2, "batch_size": 16, "network": "small-cnn", "augmentation": augmentation
    }  # fmt: skip
    trainer = make_selector(find("trainers", name).load(), settings, name=name, kind="trainers")
    _train_epoch = loop._train_epoch
    trainer.train(on_gpu())  # what is set up once may wait
    monkeypatch.setattr(sgd, "run_epochs", watched)
    monkeypatch.setattr(loop, "_train_epoch", released)
    try:
        assert trainer.train(on_gpu()).n_steps == 2 * 8
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_deterministic_runs_on_a_gpu_are_equal_bit_by_bit() -> None:
    trainer = CrossEntropy(epochs=2, batch_size=16, network="preact-resnet18")
    with deterministic_algorithms(GPU):
        first, again = (trainer.train(on_gpu()) for _ in "ab")
    assert first.curves == again.curves
