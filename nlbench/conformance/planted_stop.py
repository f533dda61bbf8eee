"""A training that is stopped after an epoch, and one that goes on from there; nothing on disk."""

from __future__ import annotations

import io
from typing import Any

import torch

from nlbench.errors import PausedError
from nlbench.training.task import Training


class StoppedAfter:
    """Ends a training after an epoch.

    Attributes:
        content: What was saved then, as bytes; None before.
    """

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self.content: bytes | None = None

    def begin(self, training: Training) -> None:
        """Nothing: it begins at the beginning."""

    def reached(self, training: Training, n_epochs: int) -> None:
        """Save the training and end it, where the epoch has come."""
        if training.epoch == self._epoch:
            stream = io.BytesIO()
            torch.save(training.saved(), stream)
            self.content = stream.getvalue()
            raise PausedError("stopped by a check")


class TakenUp:
    """Goes on from what `StoppedAfter` saved."""

    def __init__(self, content: bytes) -> None:
        self._content: Any = torch.load(io.BytesIO(content), weights_only=True)

    def begin(self, training: Training) -> None:
        """Put back what was saved."""
        training.restore(self._content)

    def reached(self, training: Training, n_epochs: int) -> None:
        """Go on."""
