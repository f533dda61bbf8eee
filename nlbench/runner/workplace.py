"""Where runs take place: all that a command settles once for its runs, and no result depends on."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from nlbench.data.pixel_file import pixel_folder
from nlbench.encoders.cache import EmbeddingCache, cache_dir
from nlbench.errors import ConfigError, RunError
from nlbench.results.store import RunStore

if TYPE_CHECKING:
    from nlbench.config.run_config import DataConfig
    from nlbench.data.image_data import ImageData
    from nlbench.machine.ranks import Ranks
    from nlbench.tracking import MlflowTracker

log = logging.getLogger("nlbench")

CHECKPOINT_EVERY_S = 30.0

# Called with (stage, steps done, steps in all).
Progress = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """Ignore how far a run is."""


class Shared(Protocol):
    """What the machines of one sweep make once and share."""

    def data(self, dataset: DataConfig) -> ImageData | None:
        """Return a data set as another machine read it; None where it is not shared."""

    def embeddings(self, folder: Path) -> EmbeddingCache:
        """Return this machine's cache, which takes from the others what they have."""


@dataclass(frozen=True)
class Workplace:
    """What all runs of a command share.

    Attributes:
        store: Where records go.
        device: Where to select and train.
        tracker: The MLflow store; None logs nothing there.
        data_dir: The folder that contains the data sets.
        force: Whether finished runs are repeated.
        deterministic: Whether a GPU gives the same bits every time, at a cost.
        shared: What other machines share with this one; None where it works alone.
        checkpoint_every_s: Seconds between two checkpoints of a run, at least; each is written at
            an epoch's end. 0 for every epoch.
        deadline: When to end early, by `time.monotonic`; None for never.
        ranks: The processes that do each run together; None where this one does.
    """

    store: RunStore
    device: torch.device
    tracker: MlflowTracker | None = None
    data_dir: Path | None = None
    force: bool = False
    deterministic: bool = False
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    deadline: float | None = None
    shared: Shared | None = None
    ranks: Ranks | None = None

    def __post_init__(self) -> None:
        if not self.checkpoint_every_s >= 0:
            raise ConfigError(
                f"checkpoint_every_s must be seconds >= 0, got {self.checkpoint_every_s}."
            )

    @property
    def embeddings(self) -> EmbeddingCache:
        """The cache of embeddings."""
        folder = cache_dir(self.store.home)
        return EmbeddingCache(folder) if self.shared is None else self.shared.embeddings(folder)

    @property
    def pixel_folder(self) -> Path:
        """Where images go that do not fit in memory."""
        return pixel_folder(cache_dir(self.store.home))


def deadline_after(seconds: float | None) -> float | None:
    """Return when so many seconds are over, by `time.monotonic`; None for never.

    Raises:
        ConfigError: if they are not above 0.
    """
    if seconds is None:
        return None
    if not 0 < seconds < math.inf:
        raise ConfigError(f"max_time_s must be seconds > 0, got {seconds}.")
    return time.monotonic() + seconds


def open_tracker(uri: str | None, store: RunStore) -> MlflowTracker | None:
    """Return the MLflow store that runs go to; warn and return None where it does not answer.

    What killed runs left open there is completed or closed first.

    Raises:
        ConfigError: if the URI is malformed.
    """
    from nlbench.tracking import MlflowTracker, settle

    try:
        tracker = MlflowTracker.open(uri, store.home)
        settle(store, tracker)
        return tracker
    except RunError as error:
        log.warning("%s Runs continue without MLflow.", error)
        return None
