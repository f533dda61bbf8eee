"""What a selector may see of the training data: no clean labels, no test set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from nlbench.data.images import ImageSource, TensorImages
from nlbench.errors import ConfigError, PluginError
from nlbench.seeds import derive_seed, uniform_by_key
from nlbench.selector.from_arrays import ArrayFeatures, label_tensor, tensor_of
from nlbench.selector.prompt_model import PromptModel

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
ViewKind = Literal["shift", "crop-flip"]


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

    def prompt_model(self, encoder: str) -> PromptModel:
        """Return the encoder's text tower, open at its token embeddings, and its image tower."""

    def view_embeddings(self, encoder: str, kind: ViewKind, draws: Tensor) -> Tensor:
        """Return (V, N, d) unit-norm float32 embeddings of views, by (V, N, 3) draws."""


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

    def prompt_model(self, encoder: str = "image-text") -> PromptModel:
        """Return what prompt learning needs of an image-text encoder, frozen.

        Each call returns a new object with a copy of the text tower's weights: ask once.

        Args:
            encoder: As in `embeddings`; open_clip models with a text tower of open_clip's own.

        Raises:
            ConfigError: if the encoder has no such tower, or the data came as plain arrays.
        """
        return self._features.prompt_model(encoder)

    def view_embeddings(
        self, encoder: str = "image", views: int = 2, kind: ViewKind = "crop-flip"
    ) -> Tensor:
        """Return unit-norm embeddings of augmented views of the training images.

        Computed on each call, at the price of embedding the images `views` times; draws belong to
        the sample's id and the seed, and view v is the same whatever `views` is.

        Args:
            encoder: As in `embeddings`.
            views: V, at least 1.
            kind: "shift" by up to 1/8 of the side, black outside; "crop-flip" mirrors half as well.

        Returns:
            (V, N, d) float32 on `device`.

        Raises:
            ConfigError: if `views` or `kind` is not as above, or the data came as plain arrays.
        """
        if views < 1 or kind not in get_args(ViewKind):
            raise ConfigError(
                f"`views` must be at least 1 and `kind` one of {', '.join(get_args(ViewKind))}, "
                f"got {views} and {kind!r}."
            )
        draws = [
            torch.stack([self.uniform(f"view {view} {part}") for part in range(3)], dim=1)
            for view in range(views)
        ]
        return self._features.view_embeddings(encoder, kind, torch.stack(draws))

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


def opaque_ids(names: Iterable[str]) -> Tensor:
    """Return (N,) int64 keys that stay with their samples and do not tell a file's folder."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    keys = np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64) >> np.uint64(1)
    return torch.from_numpy(keys.astype(np.int64))


def knowledge_of_rate(given: float | Literal["estimated"] | None) -> tuple[Knowledge, ...]:
    """Return the knowledge that `TrainingData.rate` uses for a setting.

    >>> knowledge_of_rate(0.2), knowledge_of_rate("estimated")
    (('noise rate',), ('image pre-training', 'estimated noise rate'))
    """
    if given == "estimated":
        return ("image pre-training", "estimated noise rate")
    return ("noise rate",)


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
