"""Label noise: every kind gives labels, its transition matrix and the rate that came out.

Convention: ``T[i, j] = P(noisy = j | clean = i)``, rows sum to 1 (the transpose of cleanlab's).
Draws depend on the clean labels, the kind, the rate and the seed (and on the images, where noise is
instance-dependent), and on nothing else: not on the selector, not on the training seed's other
uses, not on what was drawn before.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nlbench.array_files import read_array
from nlbench.class_maps import resolved_map
from nlbench.errors import ConfigError, DataError, did_you_mean
from nlbench.seeds import derive_seed
from nlbench.shares import exact_share_per_class

Labels = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float64]
Drawn = tuple[Labels, Matrix]

# What the runner gives to a kind whose signature asks for it; not settable by name.
GIVEN_BY_RUNNER = ("features", "subset")

_CHUNK = 65536


class Features(Protocol):
    """One row of numbers per sample, read when asked for; an (N, d) array is one."""

    def __len__(self) -> int:
        """Give N."""

    def __getitem__(self, positions: Any) -> Any:
        """Give the (B, d) rows at an array of B positions."""


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """Corrupted labels and what is known about them.

    Attributes:
        labels: (N,) int64.
        transition_matrix: (K, K) float64, T[i, j] = P(noisy j | clean i); for ``labels`` and
            ``human`` the one that was counted, for ``instance`` the mean over the samples of i.
        nominal_rate: The rate asked for; None for ``labels`` and ``human``, which have none.
        realized_rate: Share of samples whose label differs from the clean one; None where the
            clean labels are not known (see `nlbench.shipped`), and then the matrix is empty.
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
    **options: Any,
) -> NoisyLabels:
    """Corrupt labels.

    Args:
        clean_labels: (N,) integers in [0, K).
        n_classes: K, from the data set; never guessed from the labels that are present.
        kind: A registered noise (``nlbench list noises``).
        rate: Nominal rate in [0, 1); left out for ``none``, ``matrix``, ``labels`` and ``human``.
        seed: Seed of the noise.
        features: (N, d) for ``instance``: an array, or anything that gives rows at positions.
        subset: (M,) bool for ``human``: which of the M published samples the clean labels belong
            to; None where they are all there.
        **options: What the kind needs: ``class_map`` for ``asymmetric``, ``matrix`` (array or
            file) for ``matrix``, ``labels`` (array or file) for ``labels``, ``label_set`` and
            ``label_file`` for ``human``.

    Returns:
        The noisy labels with rates, matrix and hash.

    Raises:
        ConfigError: if a name, the rate, a label or an option is out of range.
        DataError: if a file is missing or damaged.

    >>> noisy = corrupt([0, 1, 2, 3] * 250, n_classes=4, kind="symmetric", rate=0.4, seed=0)
    >>> noisy.realized_rate
    0.4
    """
    from nlbench.registry import find

    clean = checked_labels("clean_labels", clean_labels, n_classes)
    draw: Callable[..., Drawn] = find("noises", kind).load()
    _check_rate(kind, draw, rate)
    _check_options(kind, draw, options)
    rng = np.random.default_rng(derive_seed("noise", kind, f"{rate}", seed))
    asked = inspect.signature(draw).parameters
    given = {"features": features, "subset": subset}
    labels, matrix = draw(
        clean, n_classes, rate, rng, **{k: v for k, v in given.items() if k in asked}, **options
    )
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


def no_noise(clean: Labels, n_classes: int, rate: float | None, rng: np.random.Generator) -> Drawn:
    """No noise: the clean labels themselves."""
    return clean.copy(), np.eye(n_classes)


def symmetric(clean: Labels, n_classes: int, rate: float, rng: np.random.Generator) -> Drawn:
    """Exact share of every class to the other classes, uniformly; realized = nominal."""
    chosen = exact_share_per_class(clean, np.full(n_classes, rate), rng)
    labels = clean.copy()
    other = rng.integers(0, n_classes - 1, size=int(chosen.sum()))
    # Skipping the true class: 0..K-2 becomes 0..K-1 without it.
    labels[chosen] = other + (other >= clean[chosen])
    matrix = np.full((n_classes, n_classes), rate / (n_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return labels, matrix


def symmetric_inclusive(
    clean: Labels, n_classes: int, rate: float, rng: np.random.Generator
) -> Drawn:
    """DivideMix's symmetric: int(rN) samples redrawn over all classes, the true one included."""
    chosen = rng.permutation(len(clean))[: int(rate * len(clean))]
    labels = clean.copy()
    labels[chosen] = rng.integers(0, n_classes, size=len(chosen))
    return labels, (1 - rate) * np.eye(n_classes) + rate / n_classes


def asymmetric(
    clean: Labels,
    n_classes: int,
    rate: float,
    rng: np.random.Generator,
    class_map: Mapping[int, int] | str | None = None,
) -> Drawn:
    """Look-alike classes: an exact share of each mapped class goes to its target."""
    target = np.arange(n_classes)
    for source, goal in resolved_map(class_map, n_classes).items():
        target[source] = goal
    return _by_target(clean, target, rate, rng)


def pair(clean: Labels, n_classes: int, rate: float, rng: np.random.Generator) -> Drawn:
    """An exact share of every class i goes to class (i + 1) mod K."""
    return _by_target(clean, (np.arange(n_classes) + 1) % n_classes, rate, rng)


def block5(clean: Labels, n_classes: int, rate: float, rng: np.random.Generator) -> Drawn:
    """Legacy CIFAR-100 'asymmetric': the next id in a circle inside blocks of five ids.

    Ids are alphabetical: only 6 of the 100 targets share the true superclass. For look-alikes
    use ``asymmetric``.
    """
    if n_classes % 5:
        raise ConfigError(
            f"noise 'block5' needs a number of classes that five divides, got {n_classes}. "
            "For the next class in a circle, use noise 'pair'."
        )
    ids = np.arange(n_classes)
    return _by_target(clean, ids // 5 * 5 + (ids + 1) % 5, rate, rng)


def matrix(
    clean: Labels,
    n_classes: int,
    rate: float | None,
    rng: np.random.Generator,
    matrix: Any = None,
) -> Drawn:
    """The user's own transition matrix, drawn sample by sample (array, .npy, .csv or .yaml)."""
    table = _checked_matrix(read_array("matrix", matrix, np.float64), n_classes)
    cumulative = np.cumsum(table, axis=1)
    cumulative[:, -1] = 1.0
    labels = np.empty_like(clean)
    for start in range(0, len(clean), _CHUNK):
        part = slice(start, start + _CHUNK)
        draws = rng.random(len(clean[part]))
        labels[part] = (draws[:, None] >= cumulative[clean[part]]).sum(axis=1)
    return labels, table


def labels(
    clean: Labels,
    n_classes: int,
    rate: float | None,
    rng: np.random.Generator,
    labels: Any = None,
) -> Drawn:
    """The user's own label file, one integer per training sample (.npy, .csv, .txt or .yaml)."""
    given = checked_labels("labels", read_array("labels", labels, np.int64), n_classes)
    if len(given) != len(clean):
        raise DataError(
            f"`labels` must have one label for each of the {len(clean)} training samples, "
            f"got {len(given)}. Check that the file belongs to this data set and split."
        )
    return given, counted_matrix(clean, given, n_classes)


def counted_matrix(clean: Labels, noisy: Labels, n_classes: int) -> Matrix:
    """Give the (K, K) shares of each noisy label within each clean class; absent classes keep 1."""
    counted = np.bincount(clean * n_classes + noisy, minlength=n_classes**2).astype(np.float64)
    counted = counted.reshape(n_classes, n_classes)
    counted[counted.sum(axis=1) == 0] = np.eye(n_classes)[counted.sum(axis=1) == 0]
    return counted / counted.sum(axis=1, keepdims=True)


def checked_labels(name: str, values: Any, n_classes: int) -> Labels:
    """Give labels as (N,) int64.

    Raises:
        ConfigError: if they are not whole numbers in [0, K) in one dimension.
    """
    if isinstance(n_classes, bool) or not isinstance(n_classes, Integral) or n_classes < 2:
        raise ConfigError(f"`n_classes` must be a whole number >= 2, got {n_classes!r}.")
    array = np.asarray(values)
    whole = array.dtype.kind in "iu" or (
        array.dtype.kind == "f" and bool(np.all(array == np.floor(array)))
    )
    if array.ndim != 1 or len(array) == 0 or not whole:
        raise ConfigError(
            f"`{name}` must be a non-empty 1-D array of whole numbers, "
            f"got shape {array.shape} of {array.dtype}."
        )
    if array.min() < 0 or array.max() >= n_classes:
        raise ConfigError(
            f"`{name}` must lie in [0, {n_classes}), got {array.min()} to {array.max()}."
        )
    return array.astype(np.int64)


def _check_rate(kind: str, draw: Callable[..., Drawn], rate: float | None) -> None:
    needs = noise_takes_rate(draw)
    if needs and rate is None:
        raise ConfigError(f"noise {kind!r} needs a rate in [0, 1): give `--noise-rate 0.4`.")
    if rate is not None and not 0 <= rate < 1:
        raise ConfigError(f"the noise rate must lie in [0, 1), got {rate}.")
    if not needs and rate:
        raise ConfigError(f"noise {kind!r} takes no rate, got {rate}: leave `--noise-rate` out.")


def noise_takes_rate(draw: Callable[..., Drawn]) -> bool:
    """Tell whether a kind of noise has a rate."""
    return inspect.signature(draw).parameters["rate"].annotation in ("float", float)


def noise_options(draw: Callable[..., Drawn]) -> list[str]:
    """Give the names of a kind's own options."""
    names = list(inspect.signature(draw).parameters)[4:]
    return [name for name in names if name not in GIVEN_BY_RUNNER]


def _check_options(kind: str, draw: Callable[..., Drawn], options: Mapping[str, Any]) -> None:
    known = noise_options(draw)
    for key in options:
        if key not in known:
            raise ConfigError(f"noise {kind!r} has no option {key!r}. {did_you_mean(key, known)}")


def _by_target(clean: Labels, target: Labels, rate: float, rng: np.random.Generator) -> Drawn:
    n_classes = len(target)
    affected = target != np.arange(n_classes)
    chosen = exact_share_per_class(clean, np.where(affected, rate, 0.0), rng)
    table = np.eye(n_classes)
    table[affected, affected.nonzero()[0]] = 1 - rate
    table[affected, target[affected]] = rate
    return np.where(chosen, target[clean], clean), table


def _checked_matrix(table: Matrix, n_classes: int) -> Matrix:
    if table.shape != (n_classes, n_classes):
        raise ConfigError(f"`matrix` must be {n_classes} x {n_classes}, got {table.shape}.")
    if not np.isfinite(table).all() or (table < 0).any():
        raise ConfigError("`matrix` must hold finite numbers >= 0.")
    if not np.allclose(table.sum(axis=1), 1, atol=1e-6):
        worst = int(np.abs(table.sum(axis=1) - 1).argmax())
        hint = " Its columns do: it is transposed." if np.allclose(table.sum(axis=0), 1) else ""
        raise ConfigError(
            f"rows of `matrix` must sum to 1 (row = clean class), row {worst} sums to "
            f"{table[worst].sum():.6g}.{hint}"
        )
    return table
