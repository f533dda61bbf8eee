"""One call for every kind of noise: draw, check and describe what came out."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nlbench.data.labels import checked_labels
from nlbench.errors import ConfigError, did_you_mean
from nlbench.noise.labels import Drawn, Labels, Matrix
from nlbench.seeds import derive_seed

# What the runner gives to a kind whose signature asks for it; not settable by name.
GIVEN_BY_RUNNER = ("features", "subset", "dataset", "sample_names", "class_names")


class Features(Protocol):
    """One row of numbers per sample, read when asked for; an (N, d) array is one."""

    def __len__(self) -> int:
        """Return N."""

    def __getitem__(self, positions: Any) -> Any:
        """Return the (B, d) rows at an array of B positions."""


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """Corrupted labels and what is known about them.

    Attributes:
        labels: (N,) int64.
        transition_matrix: (K, K) float64, T[i, j] = P(noisy j | clean i); for ``labels`` and
            ``human`` the one that was counted, for ``instance`` the mean over the samples of i.
        nominal_rate: The rate asked for; None for ``labels`` and ``human``, which have none.
        realized_rate: Share of samples whose label differs from the clean one; None where the
            clean labels are not known (see `noise.unknown_truth`), and then the matrix is empty.
        realized_rate_per_class: (K,) the same within each clean class; NaN where it is absent.
        sha256: Hash of the labels as little-endian int64.
    """

    kind: str
    labels: Labels
    transition_matrix: Matrix
    nominal_rate: float | None
    realized_rate: float | None
    realized_rate_per_class: Matrix
    sha256: str


def corrupt(
    clean_labels: Any,
    n_classes: int,
    kind: str = "symmetric",
    rate: float | None = None,
    seed: int = 0,
    *,
    features: Features | None = None,
    subset: npt.NDArray[np.bool_] | None = None,
    dataset: str | None = None,
    dataset_label_file: Path | None = None,
    sample_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    **options: Any,
) -> NoisyLabels:
    """Corrupt labels.

    Args:
        clean_labels: (N,) integers in [0, K), or class names where `class_names` is passed.
        n_classes: K, from the data set; never guessed from the labels that are present.
        kind: A registered noise (``nlbench list noises``).
        rate: Nominal rate in [0, 1); left out for ``none``, ``matrix``, ``labels`` and ``human``.
        seed: Seed of the noise.
        features: (N, d) for ``instance``: an array, or anything that gives rows at positions.
        subset: (M,) bool for ``human`` and ``labels``: which of the M published samples the clean
            labels belong to; None where they are all there.
        dataset: Name of the data set: ``asymmetric`` has maps of look-alike classes for some.
        dataset_label_file: The data set's own file for a kind with the option ``label_file``,
            where that is left out.
        sample_names: N file names, by which ``labels`` matches a file with names.
        class_names: K names, for clean labels and ``labels`` that are names.
        **options: What the kind needs: ``class_map`` for ``asymmetric``, ``matrix`` (array or
            file) for ``matrix``, ``labels`` (array, mapping or file) and ``other_names`` for
            ``labels``, ``label_set`` and ``label_file`` for ``human``.

    Returns:
        The noisy labels with rates, matrix and hash.

    Raises:
        ConfigError: if a name, the rate, a label or an option is out of range.
        DataError: if a file is missing or damaged.

    >>> noisy = corrupt([0, 1, 2, 3] * 250, n_classes=4, kind="symmetric", rate=0.4, seed=0)
    >>> noisy.realized_rate
    0.4
    """
    from nlbench.plugins.registry import find

    clean = checked_labels("clean_labels", clean_labels, n_classes, class_names)
    draw: Callable[..., Drawn] = find("noises", kind).load()
    rate = checked_rate(kind, draw, rate)
    check_options(kind, draw, options)
    file = label_file_in_use(draw, options, dataset_label_file)
    if file is not None:
        options["label_file"] = file
    rng = np.random.default_rng(derive_seed("noise", kind, f"{rate}", seed))
    parameters = inspect.signature(draw).parameters
    values = (features, subset, dataset, sample_names, class_names)
    of_runner = zip(GIVEN_BY_RUNNER, values, strict=True)
    inputs = {name: value for name, value in of_runner if name in parameters}
    labels, matrix = draw(clean, n_classes, rate, rng, **inputs, **options)
    labels = checked_labels(f"labels of noise {kind!r}", labels, n_classes)
    return _describe(kind, clean, labels, matrix, rate)


def _describe(
    kind: str, clean: Labels, labels: Labels, matrix: Matrix, rate: float | None
) -> NoisyLabels:
    flipped = labels != clean
    counts = np.bincount(clean, minlength=len(matrix))
    with np.errstate(invalid="ignore"):
        per_class = np.bincount(clean, weights=flipped, minlength=len(matrix)) / counts
    nominal: float | None = rate
    if kind == "none":
        nominal = 0.0
    elif kind == "matrix":
        nominal = float(1 - (counts / len(clean)) @ np.diag(matrix))
    return NoisyLabels(
        kind=kind,
        labels=labels,
        transition_matrix=matrix,
        nominal_rate=nominal,
        realized_rate=float(flipped.mean()),
        realized_rate_per_class=per_class,
        sha256=hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest(),
    )


def checked_rate(kind: str, draw: Callable[..., Drawn], rate: Any) -> float | None:
    """Return the rate as a number, None for a kind that takes none.

    Args:
        kind: The name of the noise, for messages.
        draw: The noise.
        rate: A number or its text, None where it is left out.

    Raises:
        ConfigError: if it is not a number in [0, 1), is missing, or is passed to a kind that takes
            none (0 is fine there).
    """
    takes_rate = noise_takes_rate(draw)
    if rate is None:
        if takes_rate:
            raise ConfigError(f"noise {kind!r} needs a rate in [0, 1): use --noise {kind}:0.4.")
        return None
    try:
        number = float("nan" if isinstance(rate, bool) else rate)
    except (TypeError, ValueError):
        raise ConfigError(f"the noise rate must be a number, got {rate!r}.") from None
    if not 0 <= number < 1:
        raise ConfigError(f"the noise rate must lie in [0, 1), got {rate}.")
    if not takes_rate and number:
        raise ConfigError(
            f"noise {kind!r} takes no rate, got {number:g}: leave the rate (--noise-rate) out."
        )
    return number if takes_rate else None


def check_options(kind: str, draw: Callable[..., Drawn], options: Iterable[str]) -> None:
    """Refuse options that a kind does not have.

    Raises:
        ConfigError: at the first one, with near matches.
    """
    valid = noise_options(draw)
    for key in options:
        if key not in valid:
            near = [*valid, "rate"] if noise_takes_rate(draw) else valid
            raise ConfigError(f"noise {kind!r} has no option {key!r}. {did_you_mean(key, near)}")


def label_file_in_use(
    draw: Callable[..., Drawn], options: Mapping[str, Any], dataset_label_file: Path | None
) -> str | None:
    """Return the label file that a kind reads; None for a kind without such a file.

    Args:
        draw: The noise.
        options: Its options; ``label_file`` comes first.
        dataset_label_file: The data set's own, where the option is left out.
    """
    if "label_file" not in noise_options(draw):
        return None
    file = options.get("label_file") or dataset_label_file
    return None if file is None else str(file)


def noise_takes_rate(draw: Callable[..., Drawn]) -> bool:
    """Return whether a kind of noise has a rate."""
    return inspect.signature(draw).parameters["rate"].annotation in ("float", float)


def noise_options(draw: Callable[..., Drawn]) -> list[str]:
    """Return the names of a kind's own options."""
    names = list(inspect.signature(draw).parameters)[4:]
    return [name for name in names if name not in GIVEN_BY_RUNNER]
