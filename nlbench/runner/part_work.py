"""A part of a data set to embed, as work for any executor: whole shards, each written once."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nlbench.config.named_files import moved_name
from nlbench.config.run_config import DataConfig
from nlbench.data.content_keys import Keys
from nlbench.data.images import ImageSource
from nlbench.encoders.base import Encoder
from nlbench.encoders.extract import PRECISION_VARIABLE, Progress, embedding_precision
from nlbench.encoders.features import computed, encoder_identity, load_encoder
from nlbench.encoders.shards import Numbers, Shard
from nlbench.errors import ConfigError, DataError, NlbenchError, PausedError, text_of
from nlbench.files import canonical_json, make_folder
from nlbench.machine import deterministic_algorithms, memory_limit_words, suitable_threads
from nlbench.plugins import registry
from nlbench.plugins.registry import Component, plugin_name
from nlbench.results.store import RunStore
from nlbench.runner.delivery import Delivery
from nlbench.runner.inputs import data_at
from nlbench.runner.pausing import pausable, why_end
from nlbench.runner.work import Outcome, Status
from nlbench.runner.workplace import Progress as StageProgress
from nlbench.runner.workplace import Workplace


class PartShard(NamedTuple):
    """A shard to be: (n,) positions of images in their split, and their (n,) keys."""

    positions: Numbers
    keys: Keys


@dataclass(frozen=True)
class PartOutcome:
    """How a part ended; `is_lost` if its process died."""

    key: str
    status: Status
    message: str = ""
    wall_s: float = 0.0
    is_lost: bool = False


@dataclass(frozen=True, eq=False)
class PartWork:
    """A part; see `Work`.

    Attributes:
        dataset: The data set.
        fingerprint: Of its content when the part was planned.
        split: "train" or "test".
        encoder: Full name.
        identity: What its embeddings depend on; names the folder in the cache.
        shards: What is to be there in the end; those that are there already are not computed.
        n_pixels: Of the training set, which decides about the threads as in a run.
        title: For people.
    """

    dataset: DataConfig
    fingerprint: str
    split: str
    encoder: str
    identity: Mapping[str, str]
    shards: tuple[PartShard, ...]
    n_pixels: int
    title: str

    @cached_property
    def key(self) -> str:
        """SHA-256 of the encoder and all images."""
        digest = hashlib.sha256(canonical_json(self.identity).encode())
        for shard in self.shards:
            digest.update(shard.keys.view(np.uint8).data)
        return digest.hexdigest()

    @property
    def n_images(self) -> int:
        """Number of its images."""
        return sum(len(shard.positions) for shard in self.shards)

    def outsiders(self) -> frozenset[str]:
        """Return the data set and the encoder, where nlbench does not ship them."""
        kind = self.encoder.partition(":")[0]
        used = plugin_name("datasets", self.dataset.name), plugin_name("encoders", kind)
        return frozenset(used) - {""}

    def components(self) -> tuple[Component, ...]:
        """Return the data set and the encoder."""
        kind = self.encoder.partition(":")[0]
        return registry.find("datasets", self.dataset.name), registry.find("encoders", kind)

    def moved(self, move: Callable[[str], str]) -> PartWork:
        """Return the same part, whose encoder's folder is elsewhere."""
        if "local-dir:" not in self.encoder:
            return self
        return replace(self, encoder=moved_name(self.encoder, move))

    def earlier(self, place: Workplace) -> None:
        """Return nothing: what was embedded before is in no part."""

    def run(self, place: Workplace, progress: StageProgress) -> PartOutcome:
        """Embed what is not there yet."""
        started = time.perf_counter()
        try:
            with (
                suitable_threads(place.device, self.n_pixels),
                deterministic_algorithms(place.device, place.deterministic),
                pausable(),
            ):
                self._embed(place, progress)
        except PausedError as error:
            return self.without_result("paused", text_of(error))
        except NlbenchError as error:
            return self.without_result("failed", text_of(error))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # of a plugin
            memory = f" {memory_limit_words()}" if isinstance(error, MemoryError) else ""
            message = f"{self.encoder} failed: {type(error).__name__}: {text_of(error)}.{memory}"
            return self.without_result("failed", message)
        return PartOutcome(self.key, "finished", wall_s=time.perf_counter() - started)

    def without_result(
        self, status: Status, message: str = "", *, is_lost: bool = False
    ) -> PartOutcome:
        """Return the part as not done."""
        return PartOutcome(self.key, status, message, is_lost=is_lost)

    def packed(self, outcome: Outcome, store: RunStore) -> Delivery:
        """Return how it ended; its shards went home one by one."""
        return Delivery(outcome.status, message=outcome.message, wall_s=outcome.wall_s)

    def home(self, place: Workplace) -> PartHome:
        """Return the driver's side, which has nothing to do."""
        return PartHome(self)

    def shared_home(self, place: Workplace) -> PartHome:
        """Return the driver's side, which has nothing to do."""
        return PartHome(self)

    def reached(self, place: Workplace) -> tuple[str, ...]:
        """Return nothing: its progress tells."""
        return ()

    def _embed(self, place: Workplace, progress: StageProgress) -> None:
        progress("data", 0, 1)
        images = self._images(place)
        encoder = load_encoder(self.encoder)
        self._require_same(encoder, place.device)
        cache = place.embeddings
        entry = cache.entry_of(self.identity)
        make_folder(entry)
        left = [shard for shard in self.shards if not cache.has(entry, shard.keys)]
        n_before = self.n_images - sum(len(shard.positions) for shard in left)

        def tell(done: int, total: int) -> None:
            progress("embed", n_before + done, self.n_images)

        tell(0, 0)
        failures: list[str] = []
        for shard, value in _each(images, encoder, place.device, left, tell, failures):
            path = cache.put(entry, Shard(shard.keys, value), self.identity)
            cache.bring_home(path)
            if shard is not left[-1]:
                _end_early_if_told(place)
        if failures:
            more = f" ({len(failures) - 1} more shards failed)" if len(failures) > 1 else ""
            raise DataError(f"{failures[0]}{more}")

    def _images(self, place: Workplace) -> ImageSource:
        data = data_at(self.dataset, place)
        if data.fingerprint != self.fingerprint:
            raise DataError(
                f"data set {data.name} on {platform.node()} is not what was planned: it has "
                "changed, or is another one there. Repeat the command when it is the same."
            )
        return data.train_images if self.split == "train" else data.test_images

    def _require_same(self, encoder: Encoder, device: torch.device) -> None:
        """Refuse an encoder, or an arithmetic, that a run on this machine would not share."""
        own, planned = embedding_precision(device, encoder), self.identity["precision"]
        if own != planned:
            raise ConfigError(
                f"{platform.node()} embeds in {own} on {device.type}, and the plan says {planned}. "
                f"Say with --device what the machines have, or set {PRECISION_VARIABLE}={planned} "
                "for this command and later ones."
            )
        # Its name may be a path, which is another one here.
        here = {**encoder_identity(encoder, own), "encoder": self.identity["encoder"]}
        differ = [key for key, value in here.items() if self.identity.get(key) != value]
        if differ:
            raise ConfigError(
                f"{self.encoder} on {platform.node()} differs in {', '.join(differ)} from the "
                "encoder of the plan. Install the same version on all machines."
            )


def _each(
    images: ImageSource,
    encoder: Encoder,
    device: torch.device,
    shards: Sequence[PartShard],
    progress: Progress,
    failures: list[str],
) -> Iterator[tuple[PartShard, Tensor]]:
    """Return shard after shard with its embeddings; one that cannot be read stops no other."""
    precision, left, n_done = embedding_precision(device, encoder), list(shards), 0
    while left:

        def tell(done: int, total: int, before: int = n_done) -> None:
            progress(before + done, total)

        # Copied: arrays that came over a wire may be read-only, which torch warns of.
        positions = [torch.from_numpy(shard.positions.copy()) for shard in left]
        try:
            for value in computed(images, encoder, device, precision, positions, tell):
                n_done += len(left[0].positions)
                yield left.pop(0), value
        except DataError as error:
            failures.append(text_of(error))
            left.pop(0)


def _end_early_if_told(place: Workplace) -> None:
    why = why_end(place.deadline)
    if why:
        raise PausedError(f"it ends early ({why}). The same command goes on after its last shard.")


class PartHome:
    """The driver's side of a part that is embedded elsewhere: its shards come by themselves."""

    is_taken = False

    def __init__(self, work: PartWork) -> None:
        self._work = work

    def earlier(self) -> None:
        """Return nothing."""

    def begun(self, record: str) -> None:
        """Do nothing: a part has no record."""

    def ended(self, delivery: Delivery) -> PartOutcome:
        """Return how it ended."""
        return PartOutcome(self._work.key, delivery.status, delivery.message, delivery.wall_s)

    def failed(self, message: str) -> PartOutcome:
        """Return it as failed."""
        return self._work.without_result("failed", message)

    def cancel(self) -> None:
        """Do nothing: its shards are there."""
