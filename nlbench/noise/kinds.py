"""The kinds of noise that need no images: each gives labels and their transition matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbench.data.class_shares import exact_share_per_class
from nlbench.errors import ConfigError
from nlbench.noise.array_files import read_array
from nlbench.noise.class_maps import resolved_map
from nlbench.noise.labels import Drawn, Labels, Matrix, counted_matrix
from nlbench.noise.own_labels import TrainingSamples, own_labels
from nlbench.plugins.versions import versioned

_CHUNK = 65536


@versioned(1)
def no_noise(clean: Labels, n_classes: int, rate: float | None, rng: np.random.Generator) -> Drawn:
    """No noise: the clean labels themselves."""
    return clean.copy(), np.eye(n_classes)


@versioned(1)
def symmetric(clean: Labels, n_classes: int, rate: float, rng: np.random.Generator) -> Drawn:
    """Exact share of every class to the other classes, uniformly; realized = nominal."""
    flips = exact_share_per_class(clean, np.full(n_classes, rate), rng)
    labels = clean.copy()
    other = rng.integers(0, n_classes - 1, size=int(flips.sum()))
    # Skipping the true class: 0..K-2 becomes 0..K-1 without it.
    labels[flips] = other + (other >= clean[flips])
    matrix = np.full((n_classes, n_classes), rate / (n_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return labels, matrix


@versioned(1)
def symmetric_inclusive(
    clean: Labels, n_classes: int, rate: float, rng: np.random.Generator
) -> Drawn:
    """DivideMix's symmetric: int(rN) samples redrawn over all classes, the true one included."""
    flips = rng.permutation(len(clean))[: int(rate * len(clean))]
    labels = clean.copy()
    labels[flips] = rng.integers(0, n_classes, size=len(flips))
    return labels, (1 - rate) * np.eye(n_classes) + rate / n_classes


@versioned(1)
def asymmetric(
    clean: Labels,
    n_classes: int,
    rate: float,
    rng: np.random.Generator,
    class_map: Mapping[int, int] | str | None = None,
    dataset: str | None = None,
) -> Drawn:
    """Look-alike classes: an exact share of each mapped class goes to its target.

    Without ``class_map`` it is the map of the data set, where there is one.
    """
    target = np.arange(n_classes)
    for source, goal in resolved_map(class_map, n_classes, dataset).items():
        target[source] = goal
    return _by_target(clean, target, rate, rng)


@versioned(1)
def pair(clean: Labels, n_classes: int, rate: float, rng: np.random.Generator) -> Drawn:
    """An exact share of every class i goes to class (i + 1) mod K."""
    return _by_target(clean, (np.arange(n_classes) + 1) % n_classes, rate, rng)


@versioned(1)
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


@versioned(1)
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


@versioned(1)
def labels(
    clean: Labels,
    n_classes: int,
    rate: float | None,
    rng: np.random.Generator,
    labels: Any = None,
    other_names: str = "refuse",
    sample_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    subset: npt.NDArray[np.bool_] | None = None,
) -> Drawn:
    """The user's own noisy labels, by file name where the file has names, else by position.

    By name: rows ``file,label`` (.csv, .tsv or .txt), or a mapping (.yaml), in any order. With or
    without a header; comma, semicolon, tab or spaces. The end of a path is enough where it is
    unique, and more than the path is fine. Every training sample must be named once; names of
    other images are an error, or passed over with ``other_names`` = ignore.

    By position: one label for each training sample, in a column or as .npy or .yaml, in the order
    of the data set: torchvision's for CIFAR, that of the lists for listed sets, that of the rows
    for parquet; folders are sorted by class, then by path ("10.png" before "2.png"). A folder
    that nlbench splits itself has an order that nobody else knows: use names.

    Labels are class ids from 0 or class names, in one file all of one kind.

    The files of Chen et al., AAAI 2021 (arXiv 2012.05458; instance-dependent noise for CIFAR-10,
    ``data/CIFAR10/label_noisy/dependent0.4.csv`` in https://github.com/chenpf1025/IDN) have the
    columns ``label`` and ``label_noisy`` and are read as they are; the clean labels in them must
    be those of the data set.

        nlbench run --dataset folder:pets --noise labels --set noise.labels=labels.csv
    """
    if other_names not in ("refuse", "ignore"):
        raise ConfigError(f"`other_names` must be refuse or ignore, got {other_names!r}.")
    samples = TrainingSamples(
        clean, n_classes, sample_names, class_names, subset, other_names == "ignore"
    )
    own = own_labels(labels, samples)
    return own, counted_matrix(clean, own, n_classes)


def _by_target(clean: Labels, target: Labels, rate: float, rng: np.random.Generator) -> Drawn:
    n_classes = len(target)
    affected = target != np.arange(n_classes)
    flips = exact_share_per_class(clean, np.where(affected, rate, 0.0), rng)
    table = np.eye(n_classes)
    table[affected, affected.nonzero()[0]] = 1 - rate
    table[affected, target[affected]] = rate
    return np.where(flips, target[clean], clean), table


def _checked_matrix(table: Matrix, n_classes: int) -> Matrix:
    if table.shape != (n_classes, n_classes):
        raise ConfigError(f"`matrix` must be {n_classes} x {n_classes}, got {table.shape}.")
    if not np.isfinite(table).all() or (table < 0).any():
        raise ConfigError("`matrix` must contain finite numbers >= 0.")
    if not np.allclose(table.sum(axis=1), 1, atol=1e-6):
        worst = int(np.abs(table.sum(axis=1) - 1).argmax())
        hint = " Its columns do: it is transposed." if np.allclose(table.sum(axis=0), 1) else ""
        raise ConfigError(
            f"rows of `matrix` must sum to 1 (row = clean class), row {worst} sums to "
            f"{table[worst].sum():.6g}.{hint}"
        )
    return table
