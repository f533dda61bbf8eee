"""A plugin does not change its neighbours: what it changes around itself is put back, and said."""

from __future__ import annotations

import decimal
import gc
import logging
import math
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nlbench
from nlbench.conformance import check_trainer
from nlbench.encoders.base import Encoder
from nlbench.plugins import registry
from nlbench.results import metrics
from nlbench.surroundings import (
    PROCESS,
    SWITCHES,
    keep_switches,
    kept,
    noting,
    switches_before,
)
from nlbench.surroundings.process import _environment, _set_environment
from nlbench.training.cross_entropy import CrossEntropy

backends: Any = torch.backends


def sets(owner: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


modes: list[Any] = []


def leaves_inference_mode() -> None:
    modes.append(torch.inference_mode())
    modes[-1].__enter__()


def clears_filters() -> None:
    warnings.simplefilter("ignore")


# (what it is called in the message, or "" where it is put back without a word; what is done)
CHANGES: list[tuple[str, Callable[[], object]]] = [
    ("torch's gradient mode", lambda: torch.set_grad_enabled(False)),
    ("torch's inference mode", leaves_inference_mode),
    ("torch's default dtype", lambda: torch.set_default_dtype(torch.float64)),
    ("torch's default device", lambda: torch.set_default_device("meta")),
    ("torch's number of threads", lambda: torch.set_num_threads(torch.get_num_threads() + 1)),
    ("torch's deterministic mode", lambda: torch.use_deterministic_algorithms(True)),
    ("torch.backends.mkldnn.enabled", sets(backends.mkldnn, "enabled", False)),
    ("torch.backends.cudnn.benchmark", sets(backends.cudnn, "benchmark", True)),
    ("torch's precision of float32 products", lambda: torch.set_float32_matmul_precision("medium")),
    ("torch's flushing of denormals", lambda: torch.set_flush_denormal(True)),
    ("torch's anomaly mode", lambda: torch.set_anomaly_enabled(True)),
    ("torch's autocast", lambda: torch.set_autocast_enabled("cpu", True)),
    ("NumPy's error state", lambda: np.seterr(all="raise")),
    ("the working directory", lambda: os.chdir("/")),
    ("the environment variables (NOISY)", lambda: os.environ.__setitem__("NOISY", "1")),
    ("the environment variables (HOME)", lambda: os.environ.pop("HOME")),
    ("sys.path", lambda: sys.path.insert(0, "/nowhere")),
    ("the recursion limit", lambda: sys.setrecursionlimit(5000)),
    ("the rules of decimal numbers", lambda: decimal.getcontext().__setattr__("prec", 3)),
    ("the signal handlers", lambda: signal.signal(signal.SIGINT, lambda *_: None)),
    ("the alarm clock", lambda: signal.alarm(1000)),
    ("garbage collection", gc.disable),
    ("sys.stdout", sets(sys, "stdout", None)),
    ("torch.nn.functional.softmax", sets(torch.nn.functional, "softmax", print)),
    ("torch.Tensor.argmax", sets(torch.Tensor, "argmax", print)),
    ("numpy.argsort", sets(np, "argsort", print)),
    ("math.exp", sets(math, "exp", print)),
    ("nlbench.results.metrics.evaluate_selection", sets(metrics, "evaluate_selection", print)),
    ("nlbench.encoders.base.Encoder.encode_images", sets(Encoder, "encode_images", print)),
    ("", lambda: torch.manual_seed(1)),
    ("", lambda: np.random.seed(1)),
    ("", lambda: random.seed(1)),
    ("", clears_filters),
    ("", lambda: np.set_printoptions(precision=1)),
    ("", lambda: logging.disable(logging.CRITICAL)),
]


def surroundings() -> list[Any]:
    return [setting.read() for setting in (*SWITCHES, *PROCESS)]


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=[str(i) for i in range(len(CHANGES))])
def test_what_a_plugin_changes_is_put_back_and_said(
    name: str, change: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    before, functions = surroundings(), dict(vars(torch.nn.functional))
    with noting() as notes, kept("selector 'x'"):
        change()
    assert surroundings() == before
    assert dict(vars(torch.nn.functional)) == functions
    assert [record.getMessage() for record in caplog.records] == notes
    assert len(notes) == bool(name)
    if name:
        assert notes[0].startswith(f"selector 'x' changed {name}")
        assert notes[0].endswith("put back, so that no other run feels it.")


def test_it_is_put_back_after_an_error_too() -> None:
    with pytest.raises(ValueError, match="no idea"), kept("selector 'x'"):
        torch.set_grad_enabled(False)
        raise ValueError("no idea")
    assert torch.is_grad_enabled()


def test_a_call_that_changes_nothing_is_not_spoken_of() -> None:
    with noting() as notes, kept("selector 'x'"):
        torch.ones(2).softmax(dim=0)
    assert notes == []


def test_switches_are_put_back_in_every_step() -> None:
    before = switches_before()
    torch.set_grad_enabled(False)
    with noting() as notes:
        keep_switches("selector 'x'", before)
    assert torch.is_grad_enabled()
    assert len(notes) == 1


# In runs

ONCE = """
@dataclass(frozen=True)
class Rude(nlbench.Selector):
    def select(self, data):
        spoil()
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return nlbench.Selection(keep=keep, score=data.uniform())
"""
ONLINE = """
@dataclass(frozen=True)
class Rude(nlbench.OnlineSelector):
    def select(self, data, dynamics):
        spoil()
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return nlbench.Selection(keep=keep, score=-dynamics.losses)
"""
IN_BATCHES = """
@dataclass(frozen=True)
class Rude(nlbench.BatchSelector):
    def choose(self, data, batch, losses, logits):
        spoil()
        return torch.ones_like(losses)
"""
HEAD = '''"""Changes its surroundings."""
from dataclasses import dataclass
import os
import torch
import nlbench



def spoil():
    torch.backends.mkldnn.enabled = False
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)


'''


def plugin(folder: Path, body: str, head: str = HEAD) -> Path:
    path = folder / "rude.py"
    path.write_text(head + body.lstrip())
    return path


@pytest.mark.parametrize("body", [ONCE, ONLINE, IN_BATCHES], ids=["once", "online", "in batches"])
def test_a_run_of_a_plugin_leaves_the_next_run_as_it_is(tmp_path: Path, body: str) -> None:
    """The answer is that of `none`, and so must be the accuracy: training felt nothing of it."""
    alone = nlbench.run("none", noise_rate=0.4, epochs=1, track=False)
    before = surroundings()
    rude = nlbench.run(
        "rude", noise_rate=0.4, epochs=1, track=False, plugins=[plugin(tmp_path, body)]
    )
    assert surroundings() == before
    assert rude.metrics is not None
    assert alone.metrics is not None
    assert rude.metrics.test == alone.metrics.test
    (said,) = rude.warnings
    assert "selector 'rude' changed torch's default dtype" in said
    assert "torch.backends.mkldnn.enabled" in said
    assert alone.warnings == []


def test_an_import_leaves_everything_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.add_plugin_file(plugin(tmp_path, ONCE + "\n\nspoil()\n"))
    before = surroundings()
    registry.selector_class("rude")
    assert surroundings() == before
    assert "the import of" in caplog.text


@dataclass(frozen=True)
class TurnsOffGradients(CrossEntropy):
    def train(self, task: Any) -> Any:
        outcome = super().train(task)
        torch.set_grad_enabled(False)
        return outcome


def test_a_trainer_is_checked_for_it() -> None:
    (result,) = check_trainer(TurnsOffGradients, only=["check_trainer_surroundings"])
    assert result.status == "failed"
    assert "changed torch's gradient mode" in result.message
    assert torch.is_grad_enabled()


def test_what_a_library_sets_when_it_is_loaded_is_nobodys_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TOKENIZERS_PARALLELISM", "THEIR_OWN"):
        monkeypatch.delenv(name, raising=False)
    before = _environment()
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    assert _environment() == before
    os.environ["THEIR_OWN"] = "1"
    _set_environment(before)
    assert "THEIR_OWN" not in os.environ
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
