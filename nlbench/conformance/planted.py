"""Planted data: small, seeded and separable, with noise whose place is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.conformance.planted_features import with_planted_model
from nlbench.errors import ConfigError
from nlbench.seeds import derive_seed
from nlbench.selector import TrainingData

Features = Literal["separable", "uninformative", "identical", "constant"]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

N_DIMS = 32
_NAMES = ("cat", "dog", "bird", "horse", "ship", "truck", "frog", "deer", "lynx", "wolf")
# Its products with itself are exact, so that constant scores are constant to the last bit.
_AXIS = np.eye(1, N_DIMS)


@dataclass(frozen=True)
class Plan:
    """What to plant; equal plans give equal data.

    Attributes:
        class_counts: Samples of each class before the noise, so K is its length and N its sum.
            0 plants an absent class and 1 a class of one sample: noise leaves both alone.
        noise_rate: Share of each other class that gets a label drawn from the rest of them. At
            1 - 1/K and with equal counts, the labels are random.
        features: ``"separable"``: classes are graded clusters, so k nearest neighbours, a probe
            and zero-shot all tell clean from noisy with an AUROC above 0.97.
            ``"uninformative"``: features say nothing about the labels. ``"identical"``: all
            images have the same embedding. ``"constant"``: so have all texts, and every score
            made from features is the same for all samples.
        seed: Seed of all draws.
    """

    class_counts: tuple[int, ...] = (140, 130, 120, 110, 100)
    noise_rate: float = 0.4
    features: Features = "separable"
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.class_counts) > N_DIMS - 2:
            raise ConfigError(
                f"`class_counts` must name at most {N_DIMS - 2} classes, "
                f"got {len(self.class_counts)}."
            )

    @property
    def n_classes(self) -> int:
        """K, absent classes included."""
        return len(self.class_counts)

    @property
    def n_samples(self) -> int:
        """N."""
        return sum(self.class_counts)


def planted_clean_labels(plan: Plan) -> Tensor:
    """Return (N,) int64 clean labels, drawn anew on each call.

    Planted data does not hold them: ask for them after the selector has answered.
    """
    labels = np.repeat(np.arange(plan.n_classes), plan.class_counts)
    return torch.from_numpy(_rng(plan, "order").permutation(labels))


def planted_data(
    plan: Plan | None = None, give_noise_rate: bool = False, seed: int = 0
) -> TrainingData:
    """Plant training data with text embeddings, images and sample ids.

    Args:
        plan: What to plant.
        give_noise_rate: For selectors that declare it as their knowledge.
        seed: The selector's seed; the data does not depend on it.

    Returns:
        Data on the CPU, from which the clean labels cannot be reached: unit-norm embeddings
        (N, 32), 3 to 7 text embeddings per class, uint8 images (N, 3, 8, 8), a planted
        `prompt_model` and `view_embeddings`.

    >>> data = planted_data(Plan(class_counts=(30, 20, 10)))
    >>> data.n_samples, data.n_classes, [len(texts) for texts in data.text_embeddings()]
    (60, 3, [3, 4, 5])
    """
    plan = plan or Plan()
    clean: Ints = planted_clean_labels(plan).numpy()
    data = TrainingData.from_arrays(
        noisy_labels=_corrupt(plan, clean),
        n_classes=plan.n_classes,
        class_names=[_name(k) for k in range(plan.n_classes)],
        embeddings=_embeddings(plan, clean),
        text_embeddings=_text_embeddings(plan),
        images=_images(plan, clean),
        seed=seed,
        sample_ids=_rng(plan, "ids").integers(2**62, size=plan.n_samples),
        noise_rate=plan.noise_rate if give_noise_rate else None,
    )
    return with_planted_model(data)


def _rng(plan: Plan, stream: str) -> np.random.Generator:
    # One stream per array: plans that differ in their features have the same labels.
    return np.random.default_rng(derive_seed("planted", stream, plan.seed))


def _name(class_id: int) -> str:
    return _NAMES[class_id] if class_id < len(_NAMES) else f"class {class_id}"


def _corrupt(plan: Plan, clean: Ints) -> Ints:
    rng, noisy = _rng(plan, "noise"), clean.copy()
    populated = np.flatnonzero(np.asarray(plan.class_counts) > 1)
    for class_id in populated:
        others = populated[populated != class_id]
        n_flipped = round(plan.noise_rate * plan.class_counts[class_id]) if len(others) else 0
        flipped = rng.permutation(np.flatnonzero(clean == class_id))[:n_flipped]
        # Even shares of the other classes, so that a label's frequency does not tell its noise.
        noisy[flipped] = np.resize(rng.permutation(others), n_flipped)
    return noisy


def _directions(plan: Plan) -> Floats:
    """Return (K + 2, d) orthonormal rows: K class centres, what images share, what texts share."""
    basis: Floats = np.linalg.qr(_rng(plan, "directions").standard_normal((N_DIMS, N_DIMS)))[0]
    return basis[: plan.n_classes + 2]


def _embeddings(plan: Plan, clean: Ints) -> Floats:
    rng, rows = _rng(plan, "embeddings"), _directions(plan)
    n = plan.n_samples
    if plan.features == "identical":
        return np.tile(rows[:-1].sum(axis=0), (n, 1))
    if plan.features == "constant":
        return np.tile(_AXIS, (n, 1))
    centres = rows[rng.integers(plan.n_classes, size=n)]
    if plan.features == "separable":
        centres = rows[clean]
    # Easy and hard samples in every class: scores are graded, not 0 or 1.
    spread = rng.uniform(0.4, 1.6, size=(n, 1)) / np.sqrt(N_DIMS)
    return centres + 0.5 * rows[-2] + spread * rng.standard_normal((n, N_DIMS))


def _text_embeddings(plan: Plan) -> list[Floats]:
    rng, rows = _rng(plan, "texts"), _directions(plan)
    n_prompts = [3 + k % 5 for k in range(plan.n_classes)]
    if plan.features == "constant":
        return [np.tile(_AXIS, (n, 1)) for n in n_prompts]
    jitter = 0.3 / np.sqrt(N_DIMS)
    return [
        rows[k] + 0.5 * rows[-1] + jitter * rng.standard_normal((n, N_DIMS))
        for k, n in enumerate(n_prompts)
    ]


def _images(plan: Plan, clean: Ints) -> npt.NDArray[np.uint8]:
    rng, shape = _rng(plan, "images"), (3, 8, 8)
    patterns = rng.integers(40, 216, size=(plan.n_classes, *shape))
    if plan.features in ("identical", "constant"):
        return np.tile(patterns[:1], (plan.n_samples, 1, 1, 1)).astype(np.uint8)
    shown = rng.integers(plan.n_classes, size=plan.n_samples)
    if plan.features == "separable":
        shown = clean
    noise: Any = rng.normal(0, 20, size=(plan.n_samples, *shape))
    return np.clip(patterns[shown] + noise, 0, 255).astype(np.uint8)
