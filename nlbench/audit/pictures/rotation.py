"""Pictures on their side or upside down, where pictures have an up at all.

Every picture is embedded in its four orientations, and a probe learns to tell them; a picture's own
orientations are never in the folds its answer comes from. The pretext task is RotNet's (Gidaris et
al., "Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018). Each turn
of a picture is judged by all four views: the mean log probability that they, turned so, are
upright. Orientation that EXIF tells was honoured when the picture was decoded.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nlbench.audit.findings import PictureProblem
from nlbench.audit.samples import Samples
from nlbench.data.images import CENTRE, Fit, ImageSource
from nlbench.encoders.base import Encoder
from nlbench.encoders.cache import EmbeddingCache
from nlbench.encoders.features import cached_embeddings
from nlbench.scoring.probabilities import probe_probabilities, stratified_folds
from nlbench.seeds import derive_seed

TURNS = ("upright", "a quarter turn anticlockwise", "upside down", "a quarter turn clockwise")
UPRIGHT_SHARE = 0.8
"""Pictures that must seem upright, else the data have no up (or the encoder cannot see it)."""
SURE = 0.99
"""Probability of another orientation."""
FITTED = 5000
"""Pictures that the probe learns from: 20 000 rows; more make it no better."""
LEAST = 100

log = logging.getLogger("nlbench")


@dataclass(frozen=True, eq=False)
class TurnedImages(ImageSource):
    """Images turned anticlockwise by quarters."""

    images: ImageSource
    quarters: int

    def __len__(self) -> int:
        return len(self.images)

    def load(self, indices: Tensor, size: int | None = None, fit: Fit = CENTRE) -> Tensor:
        """Return uint8 images (B, C, H, W), H = W = `size` where given."""
        return self.images.load(indices, size, fit).rot90(self.quarters, (2, 3))


def rotation_problems(
    samples: Samples, encoder: Encoder, device: torch.device, cache: EmbeddingCache
) -> list[PictureProblem]:
    """Return pictures that seem to lie on their side or upside down, the surest first.

    Args:
        samples: With images; each is embedded four times, through the cache.
        encoder: Whose features tell the orientation.
        device: Where it runs.
        cache: Where the embeddings are kept.
    """
    if samples.images is None or len(samples) < LEAST:
        return []
    views = torch.stack(
        [
            cached_embeddings(
                TurnedImages(samples.images, quarters) if quarters else samples.images,
                (samples.name, samples.fingerprint + (f"/turned-{quarters}" if quarters else "")),
                encoder, device, cache,
            )
            for quarters in range(4)
        ]
    )  # fmt: skip
    turned = turn_probabilities(views)
    share = float((turned.argmax(dim=1) == 0).float().mean())
    if share < UPRIGHT_SHARE:
        log.warning(
            "%s: which pictures are turned is not judged: only %.0f %% of them look upright to %s, "
            "fewer than %.0f %%. Maybe these pictures have no up.",
            samples.name, 100 * share, encoder.name, 100 * UPRIGHT_SHARE,
        )  # fmt: skip
        return []
    sure, turn = turned.max(dim=1)
    found = ((turn > 0) & (sure >= SURE)).nonzero().squeeze(1)
    return [
        PictureProblem("rotated", (row,), f"{TURNS[int(turn[row])]}, {float(sure[row]):.1%} sure")
        for row in found[sure[found].argsort(descending=True, stable=True)].tolist()
    ]


def turn_probabilities(views: Tensor) -> Tensor:
    """Return how likely each picture is turned by so many quarters anticlockwise, (N, 4).

    Args:
        views: (4, N, d) embeddings of the pictures, turned by 0 to 3 quarters anticlockwise.
    """
    n = views.shape[1]
    order = torch.from_numpy(np.random.default_rng(derive_seed("turned pictures")).permutation(n))
    fitted, others = order[:FITTED], order[FITTED:]
    x, y = _stacked(views, fitted)
    folds = stratified_folds(torch.zeros(len(fitted), dtype=torch.long), torch.arange(len(fitted)))
    out = torch.empty(n, 4)
    out[fitted] = _agreed(probe_probabilities(x, y, 4, folds=folds.repeat(4)))
    for rows in others.split(FITTED):
        queries, _ = _stacked(views, rows)
        out[rows] = _agreed(probe_probabilities(x, y, 4, queries=queries))
    return out


def _stacked(views: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    turns = torch.arange(4).repeat_interleave(len(rows))
    return views[:, rows].flatten(0, 1), turns


def _agreed(p: Tensor) -> Tensor:
    """Return (N, 4) from what the four views of N pictures seem to be, (4 N, 4)."""
    logs = p.view(4, -1, 4).clamp_min(1e-6).log()
    votes = [sum(logs[v, :, (v + turn) % 4] for v in range(4)) for turn in range(4)]
    return torch.softmax(torch.stack(votes, dim=1) / 2, dim=1)  # type: ignore[arg-type]
