"""Checks of a noise: its labels, its transition matrix, and that nothing else depends on it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from nlbench.conformance.harness import ConformanceFailure
from nlbench.conformance.observe import (
    lent_random_states,
    random_states,
    require_kept_surroundings,
)
from nlbench.errors import ConfigError
from nlbench.noise.corrupt import GIVEN_BY_RUNNER, noise_options, noise_takes_rate
from nlbench.noise.labels import Drawn, Labels, Matrix
from nlbench.plugins.kinds import NOISE_PARAMETERS
from nlbench.seeds import derive_seed
from nlbench.surroundings import watched

# Divisible by five, so that noises in blocks of five classes can be tried.
N_CLASSES = 10
RATE = 0.4
_COUNTS = (900, 800, 700, 700, 600, 600, 500, 500, 400, 300)
_N_DIMS = 12
_N_SD = 5.0  # standard deviations that a share may be off


@dataclass(frozen=True, eq=False)
class NoiseCase:
    """A noise with its options.

    Attributes:
        draw: The noise.
        options: Its own options, by name.
    """

    draw: Callable[..., Drawn]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawing:
    """One call of a noise: what it was given, what came out, and what it did on the way."""

    clean: Labels
    labels: Labels
    matrix: Matrix
    written: tuple[str, ...]
    random_states: tuple[str, ...]


def planted_labels(counts: tuple[int, ...] = _COUNTS) -> Labels:
    """Return clean labels with so many samples of each class, in a seeded order.

    >>> sorted(planted_labels((2, 0, 1)).tolist())
    [0, 0, 2]
    """
    rng = np.random.default_rng(derive_seed("planted", "labels of noises"))
    return rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)


def draw_once(
    case: NoiseCase, rate: float = RATE, counts: tuple[int, ...] = _COUNTS, seed: int = 0
) -> Drawing:
    """Draw on planted labels and images, and watch what is written into."""
    clean = planted_labels(counts)
    given = _inputs(case, clean, len(counts))
    before = {name: np.array(value) for name, value in {"clean": clean, **given}.items()}
    takes_rate = noise_takes_rate(case.draw)
    with lent_random_states():
        states = random_states()
        rng = np.random.default_rng(seed)
        answer = case.draw(
            clean, len(counts), rate if takes_rate else None, rng, **given, **case.options
        )
        changed = [name for name, state in random_states().items() if state != states[name]]
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise ConformanceFailure(
            "a noise must return two arrays, labels (N,) and transition matrix (K, K), got "
            f"{type(answer).__name__}: `return labels, matrix`."
        )
    after = {"clean": clean, **given}
    written = [name for name, old in before.items() if not np.array_equal(old, after[name])]
    return Drawing(planted_labels(counts), *answer, tuple(written), tuple(changed))


# Most checks look at the same drawing. One entry: they come noise by noise.
@lru_cache(maxsize=1)
def _observed(case: NoiseCase) -> Drawing:
    return draw_once(case)


def check_signature(case: NoiseCase) -> None:
    """The first parameters are clean, n_classes, rate and rng; all further ones have a default.

    The runner passes the first four by position and fills or leaves out the others by name.
    """
    parameters = list(inspect.signature(case.draw).parameters.values())
    names = tuple(parameter.name for parameter in parameters[:4])
    if names != NOISE_PARAMETERS:
        raise ConformanceFailure(
            f"the first parameters must be {', '.join(NOISE_PARAMETERS)}, got {', '.join(names)}."
        )
    if parameters[2].annotation is inspect.Parameter.empty:
        raise ConformanceFailure(
            "`rate` must have an annotation, got none: `rate: float` for a noise that has one, "
            "`rate: float | None` for one that takes none."
        )
    for parameter in parameters[4:]:
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if variadic or (parameter.default is parameter.empty and not _is_filled(parameter.name)):
            raise ConformanceFailure(
                f"`{parameter}` must be an option with a name and a default: {parameter.name}=None."
            )


def check_labels(case: NoiseCase) -> None:
    """The labels are one int64 for each sample, in [0, K).

    Every selector and trainer takes them as class ids.
    """
    drawing = _observed(case)
    _require_labels(drawing.labels, len(drawing.clean), N_CLASSES)


def check_transition_matrix(case: NoiseCase) -> None:
    """The matrix is (K, K), its values are in [0, 1] and each row sums to 1.

    Row i tells what becomes of clean class i: T[i, j] = P(noisy j | clean i).
    """
    _require_matrix(_observed(case).matrix, N_CLASSES)


def check_matrix_agrees_with_labels(case: NoiseCase) -> None:
    """The labels follow the transition matrix, class by class.

    The matrix is in the record; methods and readers compare with it.
    """
    drawing = _observed(case)
    _require_labels(drawing.labels, len(drawing.clean), N_CLASSES)
    _require_matrix(drawing.matrix, N_CLASSES)
    counts = np.bincount(drawing.clean, minlength=N_CLASSES)
    pairs = np.bincount(drawing.clean * N_CLASSES + drawing.labels, minlength=N_CLASSES**2)
    shares = pairs.reshape(N_CLASSES, N_CLASSES) / counts[:, None]
    expected = np.asarray(drawing.matrix)
    allowed = _N_SD * np.sqrt(expected * (1 - expected) / counts[:, None]) + 2 / counts[:, None]
    off = np.abs(shares - expected) - allowed
    i, j = np.unravel_index(int(off.argmax()), off.shape)
    if off[i, j] > 0:
        transposed = np.abs(shares - expected.T).max() < np.abs(shares - expected).max() / 4
        raise ConformanceFailure(
            f"of clean class {i} the share that gets label {j} must be T[{i}, {j}] = "
            f"{expected[i, j]:.3f} within {allowed[i, j]:.3f}, got {shares[i, j]:.3f}."
            + (" The matrix is transposed: row = clean class." if transposed else "")
        )


def check_rate(case: NoiseCase) -> None:
    """At rate r no more than the share r of the labels changes, and of some class nearly so many.

    A board is called by its rate, and compares with papers by it.
    """
    if not noise_takes_rate(case.draw):
        return
    for rate in (0.2, RATE):
        drawing = draw_once(case, rate)
        _require_labels(drawing.labels, len(drawing.clean), N_CLASSES)
        changed = drawing.labels != drawing.clean
        slack = _N_SD * np.sqrt(rate * (1 - rate) / len(changed)) + 0.01
        if changed.mean() > rate + slack:
            raise ConformanceFailure(
                f"at rate {rate} at most that share of the labels must change, got "
                f"{changed.mean():.3f}."
            )
        most = max(changed[drawing.clean == label].mean() for label in range(N_CLASSES))
        if most < 0.75 * rate:
            raise ConformanceFailure(
                f"at rate {rate} nearly that share of some class must change, got {most:.3f} at "
                "most. `rate` is the share of labels that become wrong."
            )


def check_rate_zero(case: NoiseCase) -> None:
    """Rate 0 changes no label.

    A sweep over rates begins at 0, where every method must see the clean labels.
    """
    if not noise_takes_rate(case.draw):
        return
    drawing = draw_once(case, 0.0)
    n_changed = int((np.asarray(drawing.labels) != drawing.clean).sum())
    if n_changed:
        raise ConformanceFailure(f"at rate 0 no label must change, got {n_changed} changed ones.")


def check_same_rng_same_labels(case: NoiseCase) -> None:
    """Two generators with the same seed give the same labels and the same matrix.

    All selectors of a board get the same noisy labels, drawn anew for each of them.
    """
    first, second = _observed(case), draw_once(case)
    for name in ("labels", "matrix"):
        if not np.array_equal(getattr(first, name), getattr(second, name)):
            raise ConformanceFailure(
                f"{name} must be the same for the same generator, got two different ones. Draw "
                "only from `rng`."
            )


def check_other_rng_other_labels(case: NoiseCase) -> None:
    """A generator with another seed gives other labels, where the noise has a rate.

    Seeds of a sweep are repetitions; with the same labels they would be one.
    """
    if not noise_takes_rate(case.draw):
        return
    if np.array_equal(_observed(case).labels, draw_once(case, seed=1).labels):
        raise ConformanceFailure(
            "labels must depend on the generator, got the same ones for two seeds. Draw from `rng`,"
            " not from a generator of your own."
        )


def check_global_random_state(case: NoiseCase) -> None:
    """The global random states stay as they are: no draw from them, no seeding of them.

    The rest of the run would change with the noise.
    """
    changed = _observed(case).random_states
    if changed:
        raise ConformanceFailure(
            f"a noise must not touch the global random state of {' and '.join(changed)}. Draw from "
            "`rng`: `rng.random(n)`, `rng.integers(...)`, `rng.permutation(...)`."
        )


def check_surroundings(case: NoiseCase) -> None:
    """Torch, NumPy and the process are afterwards as they were before.

    A switch that is left behind changes the numbers of all that run after it, under their names.
    """
    with watched() as changed:
        draw_once(case)
    require_kept_surroundings(changed, "a noise")


def check_inputs_untouched(case: NoiseCase) -> None:
    """Clean labels and all other inputs are the same after the call as before.

    The runner measures against the clean labels that it passed.
    """
    written = _observed(case).written
    if written:
        raise ConformanceFailure(
            f"a noise must leave its inputs as they are, but wrote into {', '.join(written)}. "
            "Begin with `labels = clean.copy()`."
        )


def check_absent_class(case: NoiseCase) -> None:
    """A class of the data set may have no samples at all; its row of the matrix still sums to 1.

    Subsets of data sets with many classes leave some of them out.
    """
    counts = (*_COUNTS[:3], 0, *_COUNTS[4:])
    drawing = draw_once(case, counts=counts)
    _require_labels(drawing.labels, len(drawing.clean), len(counts))
    _require_matrix(drawing.matrix, len(counts))


def check_two_classes(case: NoiseCase) -> None:
    """Two classes are enough, or are refused by a ConfigError that says so.

    Many real data sets have two classes.
    """
    counts = (300, 200)
    try:
        drawing = draw_once(case, counts=counts)
    except ConfigError:
        return
    _require_labels(drawing.labels, len(drawing.clean), 2)
    _require_matrix(drawing.matrix, 2)


NOISE_CHECKS = (
    check_signature,
    check_labels,
    check_transition_matrix,
    check_matrix_agrees_with_labels,
    check_rate,
    check_rate_zero,
    check_same_rng_same_labels,
    check_other_rng_other_labels,
    check_global_random_state,
    check_surroundings,
    check_inputs_untouched,
    check_absent_class,
    check_two_classes,
)


def what_is_missing(case: NoiseCase) -> str | None:
    """Return why a noise cannot be tried here, in its own words; None where it can."""
    try:
        draw_once(case)
    except ConfigError as error:
        own = [name for name in noise_options(case.draw) if name not in case.options]
        ways = ", ".join(f"--set {name}=..." for name in own)
        return f"{error}" + (f" Its options here: {ways}." if ways else "")
    except Exception:  # what the checks are for
        return None
    return None


def _inputs(case: NoiseCase, clean: Labels, n_classes: int) -> dict[str, Any]:
    """Return what the runner would fill in, as far as the signature asks for it."""
    rng = np.random.default_rng(derive_seed("planted", "features of noises"))
    features = rng.standard_normal((n_classes, _N_DIMS))[clean]
    values: dict[str, Any] = {
        "features": (features + rng.standard_normal(features.shape)) / 10 + 0.5,
        "subset": None,
        "dataset": None,
        "sample_names": [f"image-{i:05d}.png" for i in range(len(clean))],
        "class_names": [f"class {k}" for k in range(n_classes)],
    }
    parameters = inspect.signature(case.draw).parameters
    return {name: values[name] for name in GIVEN_BY_RUNNER if name in parameters}


def _is_filled(name: str) -> bool:
    return name in GIVEN_BY_RUNNER


def _require_labels(labels: Any, n: int, n_classes: int) -> None:
    if not isinstance(labels, np.ndarray) or labels.dtype != np.int64:
        kind = labels.dtype if hasattr(labels, "dtype") else type(labels).__name__
        raise ConformanceFailure(
            f"labels must be a NumPy array of int64, got {kind}: `labels.astype(np.int64)`."
        )
    if labels.shape != (n,):
        raise ConformanceFailure(f"labels must have shape ({n},), got {labels.shape}.")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ConformanceFailure(
            f"labels must lie in [0, {n_classes}), got values from {labels.min()} to "
            f"{labels.max()}."
        )


def _require_matrix(matrix: Any, n_classes: int) -> None:
    shape = getattr(matrix, "shape", None)
    if not isinstance(matrix, np.ndarray) or shape != (n_classes, n_classes):
        raise ConformanceFailure(
            f"the transition matrix must be a NumPy array ({n_classes}, {n_classes}), got "
            f"{type(matrix).__name__}{'' if shape is None else f' {shape}'}."
        )
    if not np.isfinite(matrix).all() or matrix.min() < 0 or matrix.max() > 1:
        raise ConformanceFailure("the transition matrix must have values in [0, 1].")
    sums = matrix.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > 1e-6:
        raise ConformanceFailure(
            f"each row of the transition matrix must sum to 1, row {worst} sums to "
            f"{sums[worst]:.6g}. Row = clean class; an absent one keeps 1 on the diagonal."
        )
