"""The checks of encoders: the bundled ones pass, and each check is shown to fail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nlbench import DataError, Encoder
from nlbench.conformance import CHECKS_BY_KIND, check_encoder
from nlbench.plugins.registry import find

NAMES = [check.__name__ for check in CHECKS_BY_KIND["encoders"]]


@pytest.mark.parametrize("check", NAMES)
@pytest.mark.parametrize("name", ["bundled-clip", "bundled-glyphs"])
def test_bundled_encoder(name: str, check: str) -> None:
    (result,) = check_encoder(find("encoders", name).load(), name, only=[check])
    assert result.status == "passed", result.report


def test_weights_that_are_not_here_are_neither_passed_nor_failed() -> None:
    def make(argument: str) -> Encoder:
        raise DataError(f"weights of {argument!r} are not here: download them.")

    (result,) = check_encoder(make, argument="big")
    assert result.status == "unchecked"
    assert result.message == "weights of 'big' are not here: download them."


class Good(Encoder):
    """Averages 4 x 4 patches and multiplies with fixed weights."""

    def __init__(self, argument: str = "") -> None:
        layer = nn.Linear(3 * 16, 8)
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(-1, 1, layer.weight.numel()).sin().view(8, -1))
            layer.bias.copy_(torch.linspace(0, 1, 8))
        super().__init__("good", nn.Sequential(layer), 16, (0.5,) * 3, (0.5,) * 3)

    def forward_images(self, batch: Tensor) -> Tensor:
        patches = nn.functional.adaptive_avg_pool2d(batch, 4).flatten(1)
        rows: Tensor = self.model(patches)
        return rows

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        rows = [[float(ord(c)) for c in text.ljust(8)[:8]] for text in texts]
        return nn.functional.normalize(torch.tensor(rows), dim=1)


def test_a_good_encoder_passes() -> None:
    results = check_encoder(Good)
    assert [r.name for r in results] == NAMES
    assert [r.report for r in results if r.status != "passed"] == []


class NoName(Good):
    def __init__(self, argument: str = "") -> None:
        super().__init__()
        self.name = ""


class InTraining(Good):
    def __init__(self, argument: str = "") -> None:
        super().__init__()
        self.model.train()


class AsksForGradients(Good):
    def __init__(self, argument: str = "") -> None:
        super().__init__()
        self.model.requires_grad_(True)


class NotNormalised(Good):
    def encode_images(self, batch: Tensor, device: torch.device) -> Tensor:
        return 2 * super().encode_images(batch, device)


class AsManyAsPixels(Good):
    def encode_images(self, batch: Tensor, device: torch.device) -> Tensor:
        return nn.functional.normalize(batch.float().flatten(1), dim=1)


class Constant(Good):
    def forward_images(self, batch: Tensor) -> Tensor:
        return torch.ones(len(batch), 8)


class Draws(Good):
    def forward_images(self, batch: Tensor) -> Tensor:
        noise = torch.rand(len(batch), 8)
        return super().forward_images(batch) + 0.01 * noise


class NormalisesByBatch(Good):
    def forward_images(self, batch: Tensor) -> Tensor:
        rows = super().forward_images(batch)
        return rows - 0.5 * rows.mean(dim=0)


class NotLoaded(Good):
    def __init__(self, argument: str = "") -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(3 * 16, 8)).eval().requires_grad_(False)


class NarrowText(Good):
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return nn.functional.normalize(super().encode_text(texts)[:, :4], dim=1)


class PadsTexts(Good):
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        rows = super().encode_text(texts) + 0.1 * len(texts)
        return nn.functional.normalize(rows, dim=1)


class ElsewhereAlways(Good):
    def encode_images(self, batch: Tensor, device: torch.device) -> Tensor:
        return super().encode_images(batch, device).to("meta")


class SetsThreads(Good):
    def encode_images(self, batch: Tensor, device: torch.device) -> Tensor:
        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().encode_images(batch, device)


def a_module(argument: str) -> Any:
    return nn.Linear(2, 2)


BROKEN: list[tuple[Any, str, str]] = [
    (NoName, "check_is_encoder", "`name` must be a text"),
    (a_module, "check_is_encoder", "must be an nlbench.Encoder, got Linear"),
    (InTraining, "check_eval_mode", "is in training mode"),
    (AsksForGradients, "check_eval_mode", "'0.weight' requires a gradient"),
    (NotNormalised, "check_embeddings", "must have length 1"),
    (AsManyAsPixels, "check_embeddings", "equally wide"),
    (Constant, "check_tells_images_apart", "the same row for all"),
    (Draws, "check_deterministic", "got two different ones"),
    (SetsThreads, "check_surroundings", "changed torch's number of threads"),
    (NormalisesByBatch, "check_batch_independent", "must not depend on the batch"),
    (NotLoaded, "check_same_weights_when_made_again", "must be the same each time"),
    (NarrowText, "check_text", r"as wide as image embeddings \(8\), got 4"),
    (PadsTexts, "check_text", "alone and among others"),
    (ElsewhereAlways, "check_device", r"must be on \w+, got meta"),
]


@pytest.mark.parametrize(
    ("encoder", "check", "says"), BROKEN, ids=[f"{b[1]}-{b[0].__name__}" for b in BROKEN]
)
def test_broken_encoder_fails_its_check(encoder: Any, check: str, says: str) -> None:
    (result,) = check_encoder(encoder, only=[check])
    assert result.status == "failed"
    assert re.search(says, result.message), result.message
    assert encoder.__name__ in result.reproduce


def test_every_check_is_shown_to_fail() -> None:
    assert {check for _, check, _ in BROKEN} == set(NAMES)
