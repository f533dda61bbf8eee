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


def _beta_mixture(function: Callable[..., Tensor]) -> Answer:
    return {
        **_of_score(function),
        "counts": function(-(_overlapping().abs() * 2).floor()),
        "one step": function(_overlapping(), n_iter=1),
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
        "queries": function(x[:30], labels[:30], _K, queries=x[30:]),
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
        "queries": function(x[:30], labels[:30], _K, k=5, queries=x[30:]),
    }


def _folds(function: Callable[..., Tensor]) -> Answer:
    order = torch.from_numpy(rng(6).random(_N))
    return {"2 folds": function(_labels(), order, 2), "defaults": function(_labels(), order)}


def _joint(function: Callable[..., Any]) -> Answer:
    return {
        "mixed": function(_probabilities(), _labels()),
        "an absent class": function(_probabilities(), _labels() % 2),
    }


def _issues(function: Callable[..., Tensor]) -> Answer:
    words = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning")
    return {word: function(_probabilities(), _labels(), word) for word in words}


def _hoc(function: Callable[..., Any]) -> Answer:
    x, labels = _embeddings(), _labels()
    absent = torch.tensor([0, 3, 5, 6])[labels]
    cases = {"mixed": (labels, _K), "two classes": (labels % 2, 2), "absent classes": (absent, 7)}
    out: Answer = {}
    for name, (of_case, k) in cases.items():
        answer = function(x, of_case, k)
        is_pair = isinstance(answer, tuple)
        out[name] = dict(zip(("matrix", "prior"), answer, strict=True)) if is_pair else answer
    return out


def _nearest(function: Callable[..., Any]) -> Answer:
    positions, similarities = function(_embeddings()[:20], 4)
    return {"k=4": {"positions": positions, "similarities": similarities}}


def _votes(function: Callable[..., Tensor]) -> Answer:
    votes = torch.from_numpy(rng(9).integers(0, _K, (4, _N)))
    return {"four voters": function(votes, _K), "one voter": function(votes[:1], _K)}


def _seeded(function: Callable[..., Any]) -> Answer:
    with function(torch.Generator().manual_seed(3)):
        return {"four draws": torch.rand(4)}


_PROBLEMS: dict[str, Callable[[Callable[..., Tensor]], Answer]] = {
    "confident_joint": _joint,
    "consistency": _of_probabilities,
    "log_probability": _of_probabilities,
    "entropy": lambda f: {"mixed": f(_probabilities())},
    "estimate_noise_rate": _hoc,
    "find_label_issues": _issues,
    "hoc_transition_matrix": _hoc,
    "majority_vote": _votes,
    "nearest_neighbours": _nearest,
    "noise_rate_of_joint": lambda f: {"mixed": f(torch.tensor([[5, 1], [2, 8]]))},
    "of_label": _of_probabilities,
    "margin": _of_probabilities,
    "min_max_normalise": _of_score,
    "min_max_normalise_per_class": _of_classes,
    "bmm_posterior": _beta_mixture,
    "gmm_posterior": _mixture,
    "gmm_posterior_per_class": _mixture_per_class,
    "keep_highest": lambda f: _of_score(f, 0.3),
    "keep_highest_per_class": lambda f: _of_classes(f, 0.3),
    "zero_shot_probabilities": _zero_shot,
    "probe_probabilities": _probe,
    "knn_probabilities": _neighbours,
    "gce_probe_probabilities": _robust_probe,
    "relation_reliability": _relations,
    "stratified_folds": _folds,
    "seeded": _seeded,
}
