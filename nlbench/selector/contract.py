"""The contract of a selector: what it may see and what it gives back."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from nlbench.data.images import ImageSource, TensorImages
from nlbench.errors import ConfigError, PluginError
from nlbench.seeds import derive_seed, uniform_by_key
from nlbench.selector.from_arrays import ArrayFeatures, label_tensor, tensor_of

Knowledge = Literal[
    "class names",
    "image-text pre-training",
    "image pre-training",
    "noise rate",
    "estimated noise rate",
    "clean labels",
]
# The noise rate as a selector's setting: a number, HOC's estimate, or None for the nominal one.
NoiseRate = Annotated[float, Field(ge=0, lt=1)] | Literal["estimated"] | None
PromptSet = Literal["auto", "descriptions", "templates"]


class FeatureSource(Protocol):
    """Where embeddings come from: encoders behind a cache, or plain arrays."""

    def embeddings(self, encoder: str) -> Tensor:
        """Return (N, d) unit-norm float32 image embeddings."""

    def text_embeddings(
        self, prompts: PromptSet | Sequence[Sequence[str]], encoder: str
    ) -> list[Tensor]:
        """Return K tensors (P_k, d) of unit-norm float32 text embeddings."""

    def logit_scale(self, encoder: str) -> tuple[float, float]:
        """Return the scale and the bias of the model's own logits."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """All that a selector may see: no clean labels, no test set.

    Attributes:
        noisy_labels: (N,) int64 in [0, K), on `device`.
        n_classes: K, from the data set's metadata; classes may be absent from the labels.
        class_names: K names, or None.
        sample_ids: (N,) int64 opaque keys that stay with their samples.
        device: Where tensors are and where the answer must be.
        seed: The selector's seed.
    """

    noisy_labels: Tensor
    n_classes: int
    class_names: tuple[str, ...] | None
    sample_ids: Tensor
    device: torch.device
    seed: int
    _features: FeatureSource = field(repr=False)
    _images: ImageSource | None = field(default=None, repr=False)
    _noise_rate: float | None = field(default=None, repr=False)

    @classmethod
    def from_arrays(
        cls,
        noisy_labels: Any,
        n_classes: int,
        class_names: Sequence[str] | None = None,
        embeddings: Any = None,
        text_embeddings: Sequence[Any] | None = None,
        images: Any = None,
        seed: int = 0,
        sample_ids: Any = None,
        noise_rate: float | None = None,
    ) -> TrainingData:
        """Return training data made of plain arrays, for a notebook or a test.

        Arrays may be lists, NumPy arrays, tensors, or pandas objects.

        Args:
            noisy_labels: (N,) integers in [0, K), names out of `class_names`, or what
                `nlbench.corrupt` returned.
            n_classes: K.
            class_names: K names.
            embeddings: (N, d) image features; brought to unit norm.
            text_embeddings: K arrays (P_k, d), one per class; brought to unit norm.
            images: (N, C, H, W) uint8.
            seed: The selector's seed.
            sample_ids: (N,) integers; positions where left out.
            noise_rate: The noise rate, for selectors that declare it as their knowledge.

        Raises:
            ConfigError: if shapes, ranges or the number of classes do not fit together.

        >>> data = TrainingData.from_arrays(noisy_labels=[0, 1, 1], n_classes=2)
        >>> data.n_samples
        3
        """
        labels = label_tensor(noisy_labels, n_classes, class_names)
        n = len(labels)
        if class_names is not None and len(class_names) != n_classes:
            raise ConfigError(
                f"`class_names` must name all {n_classes} classes, got {len(class_names)}."
            )
        source = ArrayFeatures(labels, n_classes, embeddings, text_embeddings)
        keys = torch.arange(n) if sample_ids is None else tensor_of("sample_ids", sample_ids).long()
        for what, given in (("sample_ids", keys), ("images", images)):
            if given is not None and len(given) != n:
                raise ConfigError(f"`{what}` must have {n} entries, got {len(given)}.")
        return cls(
            noisy_labels=labels,
            n_classes=n_classes,
            class_names=None if class_names is None else tuple(class_names),
            sample_ids=keys.to(labels.device),
            device=labels.device,
            seed=seed,
            _features=source,
            _images=None if images is None else TensorImages(tensor_of("images", images)),
            _noise_rate=noise_rate,
        )

    @property
    def n_samples(self) -> int:
        """N, the number of training samples."""
        return len(self.noisy_labels)

    @property
    def noise_rate(self) -> float:
        """The nominal noise rate; only for selectors whose knowledge says "noise rate"."""
        if self._noise_rate is None:
            raise PluginError(
                "the noise rate is not given to this selector. Declare it: "
                "`knowledge = ('noise rate',)`, so that the leaderboard can show it."
            )
        return self._noise_rate

    def rate(self, given: float | Literal["estimated"] | None) -> float:
        """Return the noise rate that a selector's setting stands for.

        Args:
            given: A rate; None for the nominal one, which the selector must declare as its
                knowledge; ``"estimated"`` for HOC's estimate on the embeddings of ``"image"``,
                made once per data. `knowledge_of_rate` says what to declare.

        Raises:
            PluginError: if the nominal rate is asked for and not declared, or there are fewer than
                3 samples to estimate it from.

        >>> TrainingData.from_arrays([0, 1, 1], n_classes=2, noise_rate=0.4).rate(None)
        0.4
        """
        if given is None:
            return self.noise_rate
        return self._estimated_rate if given == "estimated" else float(given)

    @property
    def estimates_used(self) -> tuple[Knowledge, ...]:
        """What was estimated for the selector so far, in the words of its knowledge."""
        return ("estimated noise rate",) if "_estimated_rate" in vars(self) else ()

    @cached_property
    def _estimated_rate(self) -> float:
        from nlbench.scoring import estimate_noise_rate  # SciPy; only these settings need it

        return estimate_noise_rate(self.embeddings("image"), self.noisy_labels, self.n_classes)

    def embeddings(self, encoder: str = "image-text") -> Tensor:
        """Return unit-norm image embeddings.

        Args:
            encoder: ``"image-text"`` or ``"image"`` for the protocol's CLIP or image-only
                encoder, or an encoder's full name such as ``"open_clip:ViT-B-32/openai"``.

        Returns:
            (N, d) float32 on `device`. Do not write into it.
        """
        return self._features.embeddings(encoder)

    def text_embeddings(
        self,
        prompts: PromptSet | Sequence[Sequence[str]] = "auto",
        encoder: str = "image-text",
    ) -> list[Tensor]:
        """Return unit-norm text embeddings, class by class.

        Args:
            prompts: ``"descriptions"`` (CLIPCleaner's: class and visual description),
                ``"templates"`` (class name in plain templates), ``"auto"`` (descriptions where
                the data set has them, else templates), or K lists of texts.
            encoder: As in `embeddings`.

        Returns:
            K tensors (P_k, d) float32 on `device`.
        """
        return self._features.text_embeddings(prompts, encoder)

    def logit_scale(self, encoder: str = "image-text") -> tuple[float, float]:
        """Return the scale and the bias that turn cosine similarities into a model's own logits.

        The model's own logits are ``scale * (v . t) + bias``; 1 / scale is its own temperature.
        SigLIP was trained with a sigmoid for each pair, where the bias (about -16) counts. Here
        one of K classes is asked for: a softmax over the K logits, where the bias cancels.

        Args:
            encoder: As in `embeddings`.

        Raises:
            ConfigError: if the encoder has none, or the data came as plain arrays.
        """
        return self._features.logit_scale(encoder)

    def images(self, indices: Tensor, size: int | None = None) -> Tensor:
        """Return uint8 images (B, C, H, W) on `device` for (B,) positions.

        Raises:
            PluginError: if this data came without images.
        """
        if self._images is None:
            raise PluginError("this data has no images: pass `images=` to `from_arrays`.")
        return self._images.load(indices, size).to(self.device)

    def generator(self, stream: str = "") -> torch.Generator:
        """Return a fresh CPU generator, seeded by the run's seed and the stream's name."""
        return torch.Generator().manual_seed(derive_seed("selector", stream, self.seed))

    def uniform(self, stream: str = "") -> Tensor:
        """Return (N,) float64 uniform numbers in [0, 1) that stay with their samples.

        Unlike `generator`, the answer follows a permutation of the data.
        """
        keys: npt.NDArray[np.int64] = self.sample_ids.cpu().numpy()
        values = uniform_by_key(keys, derive_seed("selector", stream, self.seed))
        return torch.from_numpy(values).to(self.device)


@dataclass(frozen=True, eq=False)
class Selection:
    """A selector's answer.

    Attributes:
        keep: (N,) bool, the samples to train on.
        score: (N,) float, higher = cleaner; ranks all samples, also those not kept.
        labels: (N,) int64 corrected labels, or None to train on the noisy ones.
        weights: (N,) float >= 0, how often a kept sample is drawn relative to others, or None.
        diagnostics: JSON-serialisable facts for the record.

    Raises:
        PluginError: on construction, if a shape, dtype or value is not as above.
    """

    keep: Tensor
    score: Tensor
    labels: Tensor | None = None
    weights: Tensor | None = None
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require("keep", self.keep, self.keep, kind="bool")
        _require("score", self.score, self.keep, kind="float")
        if self.labels is not None:
            _require("labels", self.labels, self.keep, kind="int64")
        if self.weights is not None:
            _require("weights", self.weights, self.keep, kind="float")
            if bool((self.weights < 0).any()):
                raise PluginError("Selection.weights must be >= 0, got a negative one.")


@dataclass(frozen=True, eq=False)
class Dynamics:
    """What training looked like after an epoch, for online selectors.

    Attributes:
        epoch: Epochs trained so far, from 1.
        n_epochs: Epochs of the whole run.
        losses: (N,) float32 cross-entropy in nats against the noisy labels, eval mode, no
            augmentation.
        logits: (N, K) float32, same pass.
        loss_history: (H, N) float32, the latest epochs' losses, newest last, H up to the
            selector's `history_epochs`.
        peers: The same of the other networks, for selectors with `n_networks` above 1.
    """

    epoch: int
    n_epochs: int
    losses: Tensor
    logits: Tensor
    loss_history: Tensor
    peers: tuple[Dynamics, ...] = ()


class _Component(ABC):  # noqa: B024 - its subclasses differ in what they answer
    """What both kinds of selector share. A concrete selector is a dataclass."""

    knowledge: ClassVar[tuple[Knowledge, ...]] = ()
    version: ClassVar[int] = 0  # where nobody keeps one, the source counts: plugins/versions.py
    conformance_exempt: ClassVar[Mapping[str, str]] = {}
    is_bound: ClassVar[bool] = False
    # The lower reference: what every method has to beat.
    is_reference: ClassVar[bool] = False
    # What differs from the paper's method, in a few words: boards say it beside the name.
    deviation: ClassVar[str] = ""

    def knowledge_used(self) -> tuple[Knowledge, ...]:
        """Return the knowledge that these hyper-parameters use; `knowledge` unless overridden."""
        return type(self).knowledge


class Selector(_Component):
    """Chooses once, before training.

    Subclass it as a dataclass whose fields are the hyper-parameters, in a module whose name is
    the selector's name and whose docstring names the paper and every deviation from it.
    """

    @abstractmethod
    def select(self, data: TrainingData) -> Selection:
        """Choose the clean samples."""


class OnlineSelector(_Component):
    """Chooses again after every epoch, from the losses and logits of the network in training.

    With `n_networks` above 1, so many networks are trained side by side, alike but for their
    initial weights and draws. `select` is asked once for each, and sees the others in
    `dynamics.peers`. Results are of the first network.
    """

    history_epochs: ClassVar[int] = 1
    n_networks: ClassVar[int] = 1

    @abstractmethod
    def select(self, data: TrainingData, dynamics: Dynamics) -> Selection:
        """Choose the samples that the network of `dynamics` trains on in the next epoch."""


class BoundSelector(_Component):
    """A bound, not a method: it is given the clean labels, shown as a bound and never ranked."""

    is_bound: ClassVar[bool] = True
    knowledge: ClassVar[tuple[Knowledge, ...]] = ("clean labels",)

    @abstractmethod
    def select_with_truth(self, data: TrainingData, clean_labels: Tensor) -> Selection:
        """Choose with the truth at hand."""


AnySelector = Selector | OnlineSelector | BoundSelector


def checked_answer(answer: Any, data: TrainingData) -> Selection:
    """Return a selector's answer if it fits `data`.

    Raises:
        PluginError: if it is not a `Selection`, or length, device or labels do not fit, or it keeps
            nothing.
    """
    if not isinstance(answer, Selection):
        raise PluginError(
            f"select must give an nlbench.Selection, got {type(answer).__name__}: "
            "`return Selection(keep=keep, score=score)`."
        )
    if answer.keep.shape != data.noisy_labels.shape or answer.keep.device != data.device:
        raise PluginError(
            f"Selection.keep must have shape {tuple(data.noisy_labels.shape)} on "
            f"{data.device}, got {tuple(answer.keep.shape)} on {answer.keep.device}."
        )
    if not bool(answer.keep.any()):
        raise PluginError("the selector kept no sample: there is nothing to train on.")
    if answer.weights is not None and not bool((answer.weights[answer.keep] > 0).any()):
        raise PluginError("Selection.weights must be > 0 for at least one kept sample.")
    if answer.labels is not None:
        low, high = int(answer.labels.min()), int(answer.labels.max())
        if low < 0 or high >= data.n_classes:
            raise PluginError(
                f"Selection.labels must lie in [0, {data.n_classes}), got {low} to {high}."
            )
    return answer


def knowledge_of_rate(given: float | Literal["estimated"] | None) -> tuple[Knowledge, ...]:
    """Return the knowledge that `TrainingData.rate` uses for a setting.

    >>> knowledge_of_rate(0.2), knowledge_of_rate("estimated")
    (('noise rate',), ('image pre-training', 'estimated noise rate'))
    """
    if given == "estimated":
        return ("image pre-training", "estimated noise rate")
    return ("noise rate",)


def opaque_ids(names: Iterable[str]) -> Tensor:
    """Return (N,) int64 keys that stay with their samples and do not tell a file's folder."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    keys = np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64) >> np.uint64(1)
    return torch.from_numpy(keys.astype(np.int64))


def _require(name: str, value: Any, like: Any, kind: str) -> None:
    if not isinstance(value, Tensor) or value.ndim != 1:
        raise PluginError(f"Selection.{name} must be a 1-D tensor, got {type(value).__name__}.")
    fits = {
        "bool": value.dtype == torch.bool,
        "float": value.is_floating_point(),
        "int64": value.dtype == torch.int64,
    }[kind]
    if not fits:
        raise PluginError(f"Selection.{name} must be of dtype {kind}, got {value.dtype}.")
    if value.shape != like.shape or value.device != like.device:
        raise PluginError(
            f"Selection.{name} must have keep's shape {tuple(like.shape)} and device "
            f"{like.device}, got {tuple(value.shape)} on {value.device}."
        )
    if kind == "float" and not bool(torch.isfinite(value).all()):
        raise PluginError(f"Selection.{name} must be finite, got NaN or infinity.")
