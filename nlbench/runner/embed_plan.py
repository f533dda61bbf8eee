"""What of a data set is still to be embedded, cut into parts; the manifest when all is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nlbench.config.run_config import RunConfig
from nlbench.data.content_keys import Keys, content_keys
from nlbench.data.image_data import ImageData
from nlbench.data.images import ImageSource
from nlbench.encoders.base import Encoder, Precision
from nlbench.encoders.features import encoder_identity
from nlbench.encoders.key_index import KnownImages, remembered_images
from nlbench.encoders.manifest import Manifest, write_manifest
from nlbench.encoders.older_cache import take_over
from nlbench.encoders.shards import SHARD_ROWS, in_shards
from nlbench.encoders.survey import Survey, survey
from nlbench.errors import ConfigError
from nlbench.runner.part_work import PartShard, PartWork
from nlbench.runner.workplace import Workplace

_N_PARTS = 64


@dataclass(frozen=True)
class EmbedPlan:
    """A data set's embeddings by one encoder.

    Attributes:
        config: The data set's standard run, for its source and the size of its images.
        data: The data set.
        encoder: Full name.
        identity: What the embeddings depend on.
        place: The driver's.
    """

    config: RunConfig
    data: ImageData
    encoder: str
    identity: Mapping[str, str]
    place: Workplace

    @classmethod
    def of(
        cls, config: RunConfig, data: ImageData, encoder: Encoder, precision: Precision,
        place: Workplace,
    ) -> EmbedPlan:  # fmt: skip
        """Return the plan of an encoder that is loaded."""
        return cls(config, data, encoder.name, encoder_identity(encoder, precision), place)

    @property
    def entry(self) -> Path:
        """The folder of its embeddings."""
        return self.place.embeddings.entry_of(self.identity)

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Wait for whoever computes the same embeddings; inside, they are computed by this plan."""
        cache = self.place.embeddings
        with ExitStack() as held:
            for split in self._images:
                held.enter_context(cache.reserved(self.entry, self._data_key(split)))
                held.enter_context(cache.fetched(self.entry, self._data_key(split)))
            yield

    @cached_property
    def _images(self) -> dict[str, ImageSource]:
        splits = {"train": self.data.train_images, "test": self.data.test_images}
        return {split: images for split, images in splits.items() if len(images)}

    def _data_key(self, split: str) -> str:
        return f"{self.data.fingerprint}/{split}"

    @cached_property
    def known(self) -> dict[str, KnownImages]:
        """The images of each split; kept beside the embeddings, so that runs need not look again.

        Found by the driver, not by the parts: the data set's fingerprint is made of the contents
        of all files, so that they are read and remembered before there is a part; and only whoever
        knows all of them can tell copies, and cut whole shards.
        """
        return {split: self._known(split, images) for split, images in self._images.items()}

    def _known(self, split: str, images: ImageSource) -> KnownImages:
        cache, data_key, n = self.place.embeddings, self._data_key(split), len(images)

        def look() -> Keys:
            return content_keys(images, data_key, n)

        known = remembered_images(
            self.entry, data_key, self.data.name, n, look, cache.lock(self.entry)
        )
        identity = {**self.identity, "data_key": data_key}
        with cache.lock(self.entry):
            take_over(cache.folder, self.entry, identity, known, self.identity)
        return known

    @cached_property
    def _keys(self) -> Keys:
        """(U,) the different keys of all splits, each where it comes first."""
        keys = np.concatenate([known.keys for known in self.known.values()])
        return keys[np.sort(np.unique(keys, return_index=True)[1])]

    @property
    def n_images(self) -> int:
        """Number of different images."""
        return len(self._keys)

    def stored(self, is_dry: bool = False) -> Survey:
        """Read and check what is there."""
        return survey(self.place.embeddings, self.entry, self._keys, is_dry)

    def parts(self, found: Survey, part_size: int | None = None) -> list[PartWork]:
        """Return the work that is left: the shards that one process would write, part by part.

        Args:
            found: What is there.
            part_size: Images of a part, at least, in whole shards; where left out, as many as make
                64 parts.

        Raises:
            ConfigError: if the size is below 1.
        """
        if part_size is not None and part_size < 1:
            raise ConfigError(f"part_size must be a whole number >= 1, got {part_size}.")
        shards = self._shards(self._keys[found.missing])
        n_all = sum(map(len, shards.values()))
        n = -(-n_all // _N_PARTS) if part_size is None else -(-part_size // SHARD_ROWS)
        cut = [
            (split, each[start : start + n])
            for split, each in shards.items()
            for start in range(0, len(each), max(1, n))
        ]
        return [
            self._part(split, few, f"{number} of {len(cut)}")
            for number, (split, few) in enumerate(cut, 1)
        ]

    def _shards(self, missing: Keys) -> dict[str, list[PartShard]]:
        """Return the shards to be, by split; an image of both is in the first one's."""
        shards: dict[str, list[PartShard]] = {}
        for split, known in self.known.items():
            first, lacks = known.first_positions(), np.flatnonzero(np.isin(known.keys, missing))
            shards[split] = [PartShard(first[few], known.keys[few]) for few in in_shards(lacks)]
            missing = np.setdiff1d(missing, known.keys[lacks])
        return shards

    def _part(self, split: str, shards: Sequence[PartShard], number: str) -> PartWork:
        return PartWork(
            dataset=self.config.dataset,
            fingerprint=self.data.fingerprint,
            split=split,
            encoder=self.encoder,
            identity=self.identity,
            shards=tuple(shards),
            n_pixels=len(self.data.train_labels) * self.config.protocol.image_size**2,
            title=f"{self.data.name}  {self.encoder}  part {number}",
        )

    def finish(self) -> Manifest:
        """Merge small shards, check that every image is there once, and write the manifest.

        Raises:
            RunError: if an image is missing.
        """
        cache = self.place.embeddings
        cache.pull(self.entry)
        cache.merge(self.entry, self.identity)
        found = self.stored()
        manifest = Manifest(
            data=self.data.name,
            fingerprint=self.data.fingerprint,
            encoder=dict(self.identity),
            images={split: len(images) for split, images in self._images.items()},
            different=self.n_images,
            dimensions=found.dimensions,
            shards=tuple(shard._asdict() for shard in found.shards),
        )
        write_manifest(self.entry, manifest, found)
        return manifest
