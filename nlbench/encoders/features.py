"""Where a selector's embeddings come from: encoders by name, behind the cache."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from nlbench.data.content_keys import content_keys
from nlbench.data.images import ImageSource
from nlbench.encoders.base import Encoder, Precision
from nlbench.encoders.cache import EmbeddingCache
from nlbench.encoders.extract import Progress, embedding_precision, extract, nothing_shown
from nlbench.encoders.prompts import load_prompts, prompt_texts
from nlbench.encoders.sharing import Embeddings, found_by_first, shared_views
from nlbench.encoders.versions import encoder_version
from nlbench.encoders.views import view_embeddings
from nlbench.errors import ConfigError, PluginError
from nlbench.plugins.registry import find, plugin_name
from nlbench.selector import PromptModel, PromptSet, ViewKind
from nlbench.surroundings import kept

log = logging.getLogger("nlbench")

_banks: WeakValueDictionary[int, FeatureBank] = WeakValueDictionary()
# Not `id`: that of a bank that is gone is given to the next one, whose features a selector that
# kept its data would then get.
_numbers = itertools.count()


@dataclass(frozen=True)
class SealedFeatures:
    """A feature source that names its bank by a number instead of holding it."""

    number: int

    def embeddings(self, encoder: str) -> Tensor:
        """Return (rows, d) unit-norm float32 embeddings."""
        return self._bank().embeddings(encoder)

    def text_embeddings(
        self, prompts: PromptSet | Sequence[Sequence[str]], encoder: str
    ) -> list[Tensor]:
        """Return K tensors (P_k, d)."""
        return self._bank().text_embeddings(prompts, encoder)

    def logit_scale(self, encoder: str) -> tuple[float, float]:
        """Return the scale and the bias of the model's own logits."""
        return self._bank().logit_scale(encoder)

    def prompt_model(self, encoder: str) -> PromptModel:
        """Return the encoder's text and image tower; nothing of the bank is in it."""
        return self._bank().prompt_model(encoder)

    def view_embeddings(self, encoder: str, kind: ViewKind, draws: Tensor) -> Tensor:
        """Return (V, rows, d) unit-norm float32 embeddings."""
        return self._bank().view_embeddings(encoder, kind, draws)

    def _bank(self) -> FeatureBank:
        try:
            return _banks[self.number]
        except KeyError:
            raise PluginError(
                "training data must be used during its own run, and that run is over. Keep no "
                "training data in a selector from one run to the next."
            ) from None


@lru_cache(maxsize=4)
def load_encoder(name: str) -> Encoder:
    """Return an encoder by its full name, ``KIND`` or ``KIND:ARGUMENT``.

    Raises:
        ConfigError: if there is no such kind or model.
        DataError: if its weights are out of reach.
    """
    kind, _, argument = name.partition(":")
    make = find("encoders", kind).load()
    with kept(plugin_name("encoders", kind)):
        encoder: Encoder = make(argument)
    for message in encoder.warnings:
        log.warning("encoder %s: %s", name, message)
    return encoder


@dataclass(eq=False)
class FeatureBank:
    """Embeddings of one data set's training images; knows no labels.

    A selector gets the `sealed` view: file names tell the clean class, and from the bank the
    images with their file names could be reached.

    Attributes:
        images: All training images.
        data_key: The data set's fingerprint and part: what identifies its images together.
        rows: The positions that the selector sees.
        roles: "image-text" and "image" -> full encoder names.
        progress: Called with (images encoded, images that have to be).
        seconds: Time spent embedding so far.
        warnings: What libraries warned of while they built the encoders used so far.
    """

    images: ImageSource
    data_key: str
    data_name: str
    rows: Tensor
    class_names: tuple[str, ...]
    roles: dict[str, str]
    prompts: str
    device: torch.device
    cache: EmbeddingCache
    progress: Progress = nothing_shown
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    _memo: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def embeddings(self, encoder: str) -> Tensor:
        """Return (rows, d) unit-norm float32 embeddings on the device."""
        name = self._resolve(encoder)
        if name not in self._memo:
            started = time.perf_counter()
            found = cached_embeddings(
                self.images,
                (self.data_name, self.data_key),
                self.loaded(name),
                self.device,
                self.cache,
                self.rows,
                self.progress,
            )
            self._memo[name] = found.to(self.device)
            self.seconds += time.perf_counter() - started
        return self._memo[name]

    def text_embeddings(
        self, prompts: PromptSet | Sequence[Sequence[str]], encoder: str
    ) -> list[Tensor]:
        """Return K tensors (P_k, d) on the device."""
        started = time.perf_counter()
        texts = prompt_texts(load_prompts(self.prompts), self.class_names, prompts)
        model = self.loaded(self._resolve(encoder))
        model.model.to(self.device)
        with kept(plugin_name("encoders", model.name.partition(":")[0])):
            flat = model.encode_text([text for group in texts for text in group])
        self.seconds += time.perf_counter() - started
        return [part.clone() for part in flat.split([len(group) for group in texts])]

    def logit_scale(self, encoder: str) -> tuple[float, float]:
        """Return the scale and the bias of the model's own logits."""
        return self.loaded(self._resolve(encoder)).logit_scale()

    def prompt_model(self, encoder: str) -> PromptModel:
        """Return the encoder's text tower, open at its token embeddings, and its image tower."""
        return self.loaded(self._resolve(encoder)).prompt_model(self.device)

    def view_embeddings(self, encoder: str, kind: ViewKind, draws: Tensor) -> Tensor:
        """Return (V, rows, d) unit-norm float32 embeddings on the device, never cached."""
        started = time.perf_counter()
        model = self.loaded(self._resolve(encoder))
        out = shared_views(
            len(self.rows),
            lambda part: view_embeddings(
                self.images, self.rows[part], model, self.device, kind, draws[:, part]
            ),
        )
        self.seconds += time.perf_counter() - started
        return out

    def sealed(self) -> SealedFeatures:
        """Return what a selector may hold: the same methods, and no way to the images."""
        number = next(_numbers)
        _banks[number] = self
        return SealedFeatures(number)

    def loaded(self, name: str) -> Encoder:
        """Return an encoder by its full name; what libraries warned of is noted."""
        encoder = load_encoder(name)
        texts = (f"encoder {name}: {message}" for message in encoder.warnings)
        self.warnings += [text for text in texts if text not in self.warnings]
        return encoder

    def _resolve(self, encoder: str) -> str:
        name = self.roles.get(encoder, encoder)
        if not name:
            raise ConfigError(
                f"this data set's protocol names no {encoder!r} encoder: give one with "
                f"--set protocol.{encoder.replace('-', '_')}_encoder=NAME."
            )
        return name


def cached_embeddings(
    images: ImageSource,
    data: tuple[str, str],
    encoder: Encoder,
    device: torch.device,
    cache: EmbeddingCache,
    rows: Tensor | None = None,
    progress: Progress = nothing_shown,
) -> Tensor:
    """Return embeddings from the cache, which gets all images of a part, whatever the split.

    Args:
        images: All images of a part.
        data: Name of the data set; its fingerprint and part, which identify its images together.
        encoder: The encoder.
        device: Where it runs.
        cache: Where its embeddings are kept.
        rows: (R,) positions; all where left out.
        progress: Called with (images encoded, images that have to be).

    Returns:
        (R, d) unit-norm float32 on the CPU.
    """
    precision = embedding_precision(device, encoder)
    identity = {"data": data[0], "data_key": data[1], **encoder_identity(encoder, precision)}

    def compute(shards: Sequence[Tensor], told: Progress) -> Iterator[Tensor]:
        yield from computed(images, encoder, device, precision, shards, told)

    n = len(images)

    def find(shared: Embeddings) -> Tensor:
        return cache.get(identity, n, shared, rows, lambda: content_keys(images, data[1], n))

    return found_by_first(find, compute, progress)


def computed(
    images: ImageSource,
    encoder: Encoder,
    device: torch.device,
    precision: Precision,
    shards: Sequence[Tensor],
    progress: Progress = nothing_shown,
) -> Iterator[Tensor]:
    """Return what `extract` returns; a plugin's encoder changes nothing around it."""
    with kept(plugin_name("encoders", encoder.name.partition(":")[0])):
        yield from extract(images, encoder, device, precision, shards, progress)


def encoder_identity(encoder: Encoder, precision: Precision) -> dict[str, str]:
    """Return all of an encoder that its embeddings depend on; names its entry in the cache."""
    return {
        "encoder": encoder.name,
        "encoder_version": encoder_version(encoder.name),
        "weights_sha256": encoder.weights_sha256,
        "activations": encoder.activations,
        "preprocessing": encoder.preprocessing,
        "precision": precision,
    }
