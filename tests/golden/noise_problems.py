"""Noises on fixed labels, through `nlbench.corrupt`, as a run draws them."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import Any

import cifar_on_disk
import numpy as np
from golden.answer_files import Answer
from golden.problem_data import case_name, rng, write

import nlbench
from nlbench.noise.class_maps import ASYMMETRIC_MAPS
from nlbench.noise.corrupt import noise_options, noise_takes_rate
from nlbench.plugins.discovery import Component

# A label flips by rounding only where a draw of 53 bits meets a limit in its last bits.
TOLERANCE = 1e-7
TOLERANCES: dict[str, float] = {}
_K, _N = 10, 120

_MATRIX = np.array([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.3, 0.4]])


def answers(component: Component) -> Answer:
    draw = component.load()
    with tempfile.TemporaryDirectory() as folder:
        cases = _SPECIAL.get(component.name)
        if cases is None:
            assert noise_takes_rate(draw) and not noise_options(draw), (
                f"no problem for noise {component.name!r}: add one to _SPECIAL in {__file__}"
            )
            return _by_rate(component.name, **_features(draw))
        return cases(component.name, Path(folder))


def _features(draw: Any) -> dict[str, Any]:
    if "features" not in inspect.signature(draw).parameters:
        return {}
    return {"features": rng(3).random((_N, 12))}


def _clean(n_classes: int = _K) -> np.ndarray:
    return rng(7).permutation(np.arange(_N) * n_classes // _N)


def _facts(clean: np.ndarray, n_classes: int, kind: str, **asked: Any) -> Answer:
    noisy = nlbench.corrupt(clean, n_classes, kind, **asked)
    # A row of the matrix for each of a few classes: a hundred of them would be a long file.
    return {
        "labels": noisy.labels,
        "matrix": noisy.transition_matrix[:4] if n_classes <= _K else [],
        "nominal rate": noisy.nominal_rate,
    }


def _by_rate(kind: str, **options: Any) -> Answer:
    return {
        f"rate {rate}, seed {seed}": _facts(_clean(), _K, kind, rate=rate, seed=seed, **options)
        for rate, seed in ((0.2, 0), (0.45, 1))
    }


def _no_noise(kind: str, folder: Path) -> Answer:
    return {"defaults": _facts(_clean(), _K, kind)}


def _asymmetric(kind: str, folder: Path) -> Answer:
    out: Answer = {}
    for name, class_map in ASYMMETRIC_MAPS.items():
        k = 100 if max(class_map) >= _K else _K
        clean = rng(7).permutation(np.arange(1000) % k) if k == 100 else _clean()
        out[f"class_map={name}"] = _facts(clean, k, kind, rate=0.4, class_map=name)
    own = {0: 1, 2: 0}
    out[case_name({"class_map": own})] = _facts(_clean(), _K, kind, rate=0.3, class_map=own)
    return out


def _matrix(kind: str, folder: Path) -> Answer:
    rows = "\n".join(",".join(map(str, row)) for row in _MATRIX.tolist())
    files = {
        "csv": write(folder / "m.csv", rows + "\n"),
        "yaml": write(folder / "m.yaml", str(_MATRIX.tolist())),
    }
    np.save(folder / "m.npy", _MATRIX)
    given = {"array": _MATRIX, "npy": folder / "m.npy", **files}
    return {name: _facts(_clean(3), 3, kind, matrix=value, seed=2) for name, value in given.items()}


def _labels(kind: str, folder: Path) -> Answer:
    theirs = (_clean() + (rng(8).random(_N) < 0.3)) % _K
    lines = "\n".join(map(str, theirs.tolist())) + "\n"
    np.save(folder / "l.npy", theirs)
    given = {
        "array": theirs,
        "npy": folder / "l.npy",
        "csv": write(folder / "l.csv", lines),
        "txt": write(folder / "l.txt", lines),
        "yaml": write(folder / "l.yaml", str(theirs.tolist())),
    }
    return {name: _facts(_clean(), _K, kind, labels=value) for name, value in given.items()}


def _human(kind: str, folder: Path) -> Answer:
    clean = cifar_on_disk.labels(cifar_on_disk.N_TRAIN)
    file = cifar_on_disk.put_human(folder)
    sets = ("aggre", "random1", "random2", "random3", "worse")
    out = {
        f"label_set={name}": _facts(clean, _K, kind, label_set=name, label_file=file)
        for name in sets
    }
    part = np.arange(len(clean)) % 3 != 1
    out["a part of the samples"] = _facts(
        clean[part], _K, kind, label_set="worse", label_file=file, subset=part
    )
    return out


_SPECIAL = {
    "none": _no_noise,
    "asymmetric": _asymmetric,
    "matrix": _matrix,
    "labels": _labels,
    "human": _human,
}
