"""Every function of `nlbench.scoring` on fixed numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from golden.answer_files import Answer
from golden.problem_data import normal, rng, unit
from torch import Tensor

from nlbench import scoring

TOLERANCE = 1e-5
# The probe's solver stops at a gradient, so where it stops depends on the last bits.
TOLERANCES = {"probe_probabilities": 2e-4, "gce_probe_probabilities": 2e-4}
_N, _K, _D = 48, 4, 5


def answers() -> Answer:
    functions = [name for name in scoring.__all__ if callable(getattr(scoring, name))]
    missing = [name for name in functions if name not in _PROBLEMS]
    assert not missing, f"no problem for nlbench.scoring's {missing}: add one in {__file__}"
    return {name: _PROBLEMS[name](getattr(scoring, name)) for name in functions}


def _labels() -> Tensor:
    labels = torch.arange(_N) % (_K - 1)
    labels[[5, 17]] = _K - 1  # a rare class
    return labels


def _clean() -> Tensor:
    return (_labels() + torch.from_numpy(rng(1).integers(0, 4, _N) == 0)) % _K


def _embeddings() -> Tensor:
    return unit(unit(normal(_K, _D, seed=1))[_clean()] + 0.4 * normal(_N, _D, seed=2))


def _probabilities() -> Tensor:
    table = (2 * normal(_N, _K, seed=3)).softmax(dim=1)
    table[0] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    return table


def _score() -> Tensor:
    low = torch.from_numpy(rng(4).random(_N) < 0.4)
    return 0.3 * normal(_N, seed=5) + torch.where(low, -2.0, 0.0)


def _overlapping() -> Tensor:
    """Return scores of two groups that run into each other: posteriors between 0 and 1."""
    return normal(_N, seed=7) + 1.5 * (torch.from_numpy(rng(8).random(_N)) < 0.6)


def _of_probabilities(function: Callable[..., Tensor]) -> Answer:
    return {"mixed": function(_probabilities(), _labels())}


def _of_score(function: Callable[..., Tensor], *more: Any) -> Answer:
    return {
        "mixed": function(_score(), *more),
        "overlapping": function(_overlapping(), *more),
        "constant": function(torch.full((_N,), 2.0), *more),
    }


def _of_classes(function: Callable[..., Tensor], *more: Any) -> Answer:
    return _of_score(function, _labels(), *more)


def _mixture(function: Callable[..., Tensor]) -> Answer:
    divider = {"max_iter": 10, "tol": 1e-2, "reg_covar": 5e-4}
    return {
        **_of_score(function),
        "as DivideMix sets it": function(_overlapping(), **divider),
        "three values": function(_score()[:3]),
        "four values": function(_score()[:4]),
    }


def _mixture_per_class(function: Callable[..., Tensor]) -> Answer:
    divider = {"max_iter": 10, "tol": 1e-2, "reg_covar": 5e-4}
    return {
        **_of_classes(function),
        "as DivideMix sets it": function(_overlapping(), _labels(), **divider),
    }


def _zero_shot(function: Callable[..., Tensor]) -> Answer:
    texts = [unit(normal(1 + k, _D, seed=20 + k)) for k in range(_K)]
    out = {"defaults": function(_embeddings()[:16], texts)}
    return out | {
        f"temperature {t}, {reduction}": function(_embeddings()[:16], texts, t, reduction)
        for t, reduction in ((0.07, "mean"), (0.07, "sum"), (0.01, "mean"))
    }


def _probe(function: Callable[..., Tensor]) -> Answer:
    x, labels = _embeddings(), _labels()
    two = labels % 2
    return {
        "in-sample": function(x, labels, _K),
        "c=0.1": function(x, labels, _K, c=0.1),
        "folds": function(x, labels, _K, folds=torch.arange(_N) // 4 % 3),
        "two classes": function(x, two, 2),
        "an absent class": function(x, two, 3),
        "one fold, nothing to learn from": function(
            x[:4], labels[:4], _K, folds=torch.zeros(4, dtype=torch.int64)
        ),
        "one class": function(x[:4], torch.zeros(4, dtype=torch.int64), 2),
    }


def _robust_probe(function: Callable[..., Tensor]) -> Answer:
    x, labels = _embeddings(), _labels()
    return {
        "defaults": function(x, labels, _K),
        "q=0.3, c=10": function(x, labels, _K, q=0.3, c=10.0),
        "an absent class": function(x, labels % 2, 3),
        "one class": function(x[:4], torch.zeros(4, dtype=torch.int64), 2),
    }


def _ordered(function: Callable[..., tuple[Tensor, Tensor]]) -> Answer:
    out: Answer = {}
    for name, k in (("k=5", 5), ("more neighbours than samples", _N)):
        places, similarities = function(_embeddings()[:12], k)
        out[name] = {"positions": places, "similarities": similarities}
    return out


def _relations(function: Callable[..., Tensor]) -> Answer:
    graph = (_embeddings(), _probabilities(), _labels())
    return {
        "defaults": function(*graph),
        "power 2, all but the smallest": function(*graph, power=2, smallest=0.1),
        "among a third": function(*graph, among=torch.arange(_N) % 3 == 0),
    }


def _neighbours(function: Callable[..., Tensor]) -> Answer:
    x, labels = _embeddings(), _labels()
    return {
        "k=5": function(x, labels, _K, k=5),
        "not balanced": function(x, labels, _K, k=5, balance=False),
        "more neighbours than samples": function(x, labels, _K),
    }


def _folds(function: Callable[..., Tensor]) -> Answer:
    order = torch.from_numpy(rng(6).random(_N))
    return {"2 folds": function(_labels(), order, 2), "defaults": function(_labels(), order)}


_PROBLEMS: dict[str, Callable[[Callable[..., Tensor]], Answer]] = {
    "consistency": _of_probabilities,
    "log_probability": _of_probabilities,
    "margin": _of_probabilities,
    "min_max_normalise": _of_score,
    "min_max_normalise_per_class": _of_classes,
    "gmm_posterior": _mixture,
    "gmm_posterior_per_class": _mixture_per_class,
    "keep_highest": lambda f: _of_score(f, 0.3),
    "keep_highest_per_class": lambda f: _of_classes(f, 0.3),
    "zero_shot_probabilities": _zero_shot,
    "probe_probabilities": _probe,
    "knn_probabilities": _neighbours,
    "gce_probe_probabilities": _robust_probe,
    "ordered_neighbours": _ordered,
    "relation_reliability": _relations,
    "stratified_folds": _folds,
}
